"""Attacks as questions: how near does an attack come to images? Outcomes prove upper sides alone, and a failure proves nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import torch

from .api import Model
from .attacks import ATTACKS, make_attack
from .attacks.classification import LOSSES, ClassificationProblem
from .attacks.measure import closest, within
from .engines.executor import execute
from .errors import InvalidInput, how_to_install, no_such
from .network.evaluate import evaluate
from .outcome import Bracket, Outcome, Trust, Verdict
from .query import Objective
from .specification import Threat, robustness


def check_attack(name: str, loss: str, threat: Threat) -> None:
    """Refuse what no attack can be asked for.

    Raises:
        InvalidInput: there is no such attack or loss; the attack is learned, does not know the norm, or lacks its package.
    """
    for what, given, known in (("attack", name, ATTACKS), ("loss", loss, LOSSES)):
        if not isinstance(given, str) or given not in known:
            raise no_such(what, str(given), known)
    entry = ATTACKS[name]
    if entry.learned:
        raise InvalidInput(f"{name} is learned on some images and tried on others: `advverify attack` measures it")
    if entry.norms and threat.norm not in entry.norms:
        raise InvalidInput(f"the attack {name} knows the norms {', '.join(entry.norms)}, not {threat.norm}")
    if threat.radius == 0:
        raise InvalidInput("eps must be a number above 0, got 0")
    if entry.package and find_spec(entry.package) is None:
        raise InvalidInput(f"the attack {name} needs {entry.package}: {how_to_install('attacks')}")


def attack_all(
    model: Model, images: Sequence[np.ndarray], labels: Sequence[int], threat: Threat, name: str, loss: str, seed: int
) -> list[Outcome]:
    """What an attack finds: adversarial with the distance as `upper`, misclassified, or unknown.

    Args:
        model: with an output for each class.
        images: with values in [0, 1].
        labels: theirs.
        threat: norm, radius (the closest adversarial example is sought where it has none) and target.
        name: of the attack.
        loss: that it descends.
        seed: of random starts.

    Raises:
        InvalidInput: an argument that makes no sense.
    """
    check_attack(name, loss, threat)
    if model.network.output_size == 1:
        raise InvalidInput("attacks take networks with an output for each class, and this one has one output")
    regions = [
        robustness(image, label, threat, model.network.output_size, model.network.ending)
        for image, label in zip(images, labels, strict=True)
    ]
    predictions = [model.predict(image) for image in images]
    asked = [k for k, own in enumerate(predictions) if own == labels[k] or threat.target not in (None, own)]
    about = {"objective": Objective.MIN_DISTORTION.value, "attack": name, "loss": loss, **threat.to_dict()}
    outcomes: dict[int, Outcome] = {}
    if asked:
        chosen = np.stack([np.asarray(images[k], dtype=np.float64).ravel() for k in asked])
        points, seconds = _search(model, chosen, [labels[k] for k in asked], name, threat, loss, seed)
        for row, k in enumerate(asked):
            disjunct = regions[k].disjuncts[0]
            found = execute(points[row], disjunct, model.executor)
            if found is not None and found.unsafe:
                bracket = Bracket(0.0, disjunct.region.distance(found.point), found.point)
                outcomes[k] = Outcome(Verdict.ADVERSARIAL, bracket, Trust.CHECKED, name, seconds / len(asked))
            else:
                nothing, reason = Bracket(0.0, math.inf), "the attack found nothing"
                outcomes[k] = Outcome(Verdict.UNKNOWN, nothing, Trust.SOLVER, name, seconds / len(asked), reason=reason)
    for k in range(len(images)):
        if k not in outcomes:
            bracket = Bracket(0.0, 0.0, np.asarray(images[k], dtype=np.float64).ravel())
            outcomes[k] = Outcome(Verdict.MISCLASSIFIED, bracket, Trust.CHECKED, "executor", 0.0)
    return [outcomes[k].labelled(label=labels[k], prediction=predictions[k], **about) for k in range(len(images))]


def _search(
    model: Model, images: np.ndarray, labels: list[int], name: str, threat: Threat, loss: str, seed: int
) -> tuple[np.ndarray, float]:
    """What the attack proposes for each image, (N, inputs), and its seconds for all of them."""
    x, y = torch.from_numpy(images), torch.tensor(labels)
    targets = None if threat.target is None else torch.full_like(y, threat.target)
    chosen, ball = make_attack(name, model.network.input_shape), threat.ball_norm()

    def forward(points: torch.Tensor) -> torch.Tensor:
        return evaluate(model.network, points)

    if ATTACKS[name].kind == "ball" and math.isfinite(threat.radius):
        found = within(chosen, ClassificationProblem.balls(forward, x, y, ball, threat.radius, loss, targets), seed)
    else:
        found = closest(name, chosen, ClassificationProblem.unbounded(forward, x, y, ball, loss, targets), seed)
    return found.points.detach().numpy(), found.seconds

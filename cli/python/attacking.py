"""Attacks on one image or a batch; what they find is executed and compared like every counterexample."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import overload

import numpy as np
import torch

from advverify.verifier.api import Model
from advverify.verifier.attacks import ATTACKS, make_attack
from advverify.verifier.attacks.classification import LOSSES, ClassificationProblem
from advverify.verifier.attacks.measure import closest, within
from advverify.verifier.engines.executor import execute
from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
from advverify.verifier.query import Objective
from advverify.verifier.specification import Threat, robustness

from .images import BytesAs, ImageLike, LabelsLike
from .opening import ModelLike
from .outcomes import Outcomes
from .question import read_model_and_images


@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcome: ...
@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: LabelsLike,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcomes: ...
@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: None = None,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcome | Outcomes: ...
def attack(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer | LabelsLike | None = None,
    *,
    name: str = "pgd",
    norm: str | float = "inf",
    eps: float | None = None,
    target: int | None = None,
    loss: str = "margin",
    seed: int = 0,
    bytes_as: BytesAs | None = None,
) -> Outcome | Outcomes:
    """How near does an attack come? Its outcomes prove upper sides alone: their lower sides are 0, and a failure proves nothing.

    Example:
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> found = attack("zoo:digits-mlp", digits.images[:3], digits.labels[:3], name="pgd", norm="inf", eps=0.2)
        >>> found
        <Outcomes of 3 images: 3 adversarial>

    Args:
        model: as in `certify`, like `x`, `y` and `bytes_as`; inputs lie in [0, 1].
        x: images.
        y: labels.
        name: one of `advverify.verifier.attacks.ATTACKS`: pgd, fgsm, deepfool-2 and so on.
        norm: one that the attack knows.
        eps: radius; the closest adversarial example is sought where None.
        target: the class that must win; any but the label where None.
        loss: "margin", "cross-entropy" or "houdini".
        seed: of random starts.
        bytes_as: what images of uint8 become.

    Returns:
        An `Outcome` for one image, `Outcomes` for a batch: adversarial with the distance as `upper`, or unknown.

    Raises:
        InvalidInput: an argument that makes no sense; an attack that is universal, or whose package is not installed.
        InvalidModel: as in `certify`.
    """
    if name not in ATTACKS:
        raise no_such("attack", name, ATTACKS)
    if loss not in LOSSES:
        raise no_such("loss", loss, LOSSES)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInput(f"seed must be a whole number from 0, got {seed!r}")
    threat, entry = Threat(norm, eps, target=target), ATTACKS[name]
    if entry.learned:
        raise InvalidInput(f"{name} is learned on some images and tried on others: `advverify attack` measures it")
    if entry.norms and threat.norm not in entry.norms:
        raise InvalidInput(f"the attack {name} knows the norms {', '.join(entry.norms)}, not {threat.norm}")
    if threat.radius == 0:
        raise InvalidInput("eps must be a number above 0, got 0")
    opened, images = read_model_and_images(model, x, y, bytes_as)
    if opened.network.output_size == 1:
        raise InvalidInput("attacks take networks with an output for each class, and this one has one output")
    labels = images.labelled(opened.predict)
    regions = [
        robustness(v, k, threat, opened.network.output_size, opened.network.ending)
        for v, k in zip(images.values, labels, strict=True)
    ]
    predictions = [opened.predict(v) for v in images.values]
    asked = [k for k, own in enumerate(predictions) if own == labels[k] or target not in (None, own)]
    outcomes: dict[int, Outcome] = {}
    about = {"objective": Objective.MIN_DISTORTION.value, "attack": name, "loss": loss, **threat.to_dict()}
    if asked:
        points, seconds = _search(
            opened, images.values[asked], [labels[k] for k in asked], name, threat, loss, int(seed)
        )
        for row, k in enumerate(asked):
            disjunct = regions[k].disjuncts[0]
            found = execute(points[row], disjunct, opened.executor)
            kind = Verdict.UNKNOWN, Bracket(0.0, math.inf), Trust.SOLVER
            if found is not None and found.unsafe:
                kind = (
                    Verdict.ADVERSARIAL,
                    Bracket(0.0, disjunct.region.distance(found.point), found.point),
                    Trust.CHECKED,
                )
            reason = "" if kind[0] is Verdict.ADVERSARIAL else "the attack found nothing"
            outcomes[k] = Outcome(*kind, name, seconds / len(asked), reason=reason)
    for k in range(len(images)):
        if k not in outcomes:
            bracket = Bracket(0.0, 0.0, images.values[k].ravel())
            outcomes[k] = Outcome(Verdict.MISCLASSIFIED, bracket, Trust.CHECKED, "executor", 0.0)
    shaped = [
        replace(outcomes[k].labelled(label=labels[k], prediction=predictions[k], **about), shape=images.shape)
        for k in range(len(images))
    ]
    return shaped[0] if images.single else Outcomes(shaped, images.values.reshape(-1, *images.shape), opened)


def _search(
    model: Model, images: np.ndarray, labels: list[int], name: str, threat: Threat, loss: str, seed: int
) -> tuple[np.ndarray, float]:
    """What the attack proposes for each image, (N, inputs), and its seconds for all of them."""
    x, y = torch.from_numpy(images.reshape(len(images), -1)), torch.tensor(labels)
    targets = None if threat.target is None else torch.full_like(y, threat.target)
    chosen, ball = make_attack(name, model.network.input_shape), threat.ball_norm()

    def forward(points: torch.Tensor) -> torch.Tensor:
        return evaluate(model.network, points)

    if ATTACKS[name].kind == "ball" and math.isfinite(threat.radius):
        found = within(chosen, ClassificationProblem.balls(forward, x, y, ball, threat.radius, loss, targets), seed)
    else:
        found = closest(name, chosen, ClassificationProblem.unbounded(forward, x, y, ball, loss, targets), seed)
    return found.points.detach().numpy(), found.seconds

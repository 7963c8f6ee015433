"""The work of `attack`: run or learn attacks, confirm what they find by onnxruntime, and hold it against proved distances."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advverify.verifier.errors import InvalidInput

from .learned import DEFAULT_EPS, Lesson, forward_of
from .options import model_path

if TYPE_CHECKING:
    from torch import Tensor

    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.learned import Fitted, HeldOut
    from advverify.verifier.attacks.measure import Measured
    from advverify.verifier.network.nodes import Network

    from .report.attack_page import Tried
    from .saving import Gallery


def brackets_from(path: Path, sha256: str, margin: float) -> dict[tuple[int, str], tuple[float, float]]:
    """(index, norm) to bracket, from the lines of `distance --out` about this model."""
    from advverify.verifier.outcome import UNREADABLE

    known: dict[tuple[int, str], tuple[float, float]] = {}
    try:
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if (
                record["model_sha256"] == sha256
                and record.get("target") is None
                and float(record.get("margin") or 0.0) == margin
                and record["verdict"] != "misclassified"
            ):
                upper = math.inf if record["upper"] is None else float(record["upper"])
                known[int(record["index"]), str(record["norm"])] = (float(record["lower"] or 0.0), upper)
    except UNREADABLE as error:
        raise InvalidInput(f"--exact {path}: not the lines of `advverify distance --out` ({error})") from error
    if not known:
        of = f" with --margin {margin:g}" if margin else ""
        raise InvalidInput(f"--exact {path}: holds no brackets of this model{of}")
    return known


def source_from(name: str, attacked: Network) -> Network:
    """The network that attacks see instead.

    Raises:
        InvalidInput: its inputs or outputs are others.
    """
    from advverify.verifier.network.onnx_reader import read_onnx

    source = read_onnx(model_path(name))
    if (source.input_size, source.output_size) != (attacked.input_size, attacked.output_size):
        raise InvalidInput(f"--source {name}: has other inputs or outputs than the model")
    return source


def learn(lesson: Lesson, name: str, norm: str, options: dict[str, Any]) -> Fitted:
    """A learned attack, at the radius asked for or the usual one."""
    made = {"atoms": options["atoms"]} if name in ("adil", "sadil") else {}
    return lesson.learn(name, norm, options["eps"] or DEFAULT_EPS[norm], options, made)


def try_learned(
    model: Model,
    fitted: Fitted,
    x: Tensor,
    y: Tensor,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    source: Network | None,
    options: dict[str, Any],
) -> Tried:
    """A learned attack on images that it has not seen, beside its controls.

    Raises:
        InvalidInput: it has seen one, or was learned for another radius or target.
    """
    import torch

    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.learned import measure
    from advverify.verifier.norms import get_norm

    for option, own in (("eps", fitted.eps), ("target", fitted.about["target"])):
        if options[option] not in (None, own):
            raise InvalidInput(
                f"--{option}: {fitted.name} was learned for {own}; leave it out, or learn it for {options[option]}"
            )
    target = fitted.about["target"]
    targets = None if target is None else torch.full_like(y, target)
    if target is not None and bool((y == target).any()):
        raise InvalidInput(f"{fitted.name} was learned for the target {target}: give --target {target}")
    problem = ClassificationProblem.balls(
        forward_of(model.network), x, y, get_norm(fitted.norm), fitted.eps, options["loss"], targets
    ).confident(options["margin"])
    through = None if source is None else forward_of(source)
    found = measure(fitted, problem, options["seed"], options["controls"], through)
    tried = _record(model, fitted.name, fitted.norm, problem, found, indices, known, fitted.eps)
    shares = found.controls.double().mean(1)
    draws = None
    if len(shares):
        draws = {"draws": len(shares), "mean": float(shares.mean()), "largest": float(shares.max())}
    learned = {**fitted.about, "seconds": fitted.seconds, "eps": fitted.eps}
    return replace(tried, row={**tried.row, "control": draws, "learned": learned})


def try_attack(
    model: Model,
    name: str,
    norm: str,
    x: Tensor,
    y: Tensor,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    shape: tuple[int, ...],
    source: Network | None,
    options: dict[str, Any],
) -> Tried:
    """An attack that learns nothing beforehand: inside the balls of a radius, or for the closest adversarial example."""
    import torch

    from advverify.verifier.attacks import ATTACKS, make_attack
    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.measure import closest, within
    from advverify.verifier.attacks.transfer import Transfer
    from advverify.verifier.norms import get_norm

    eps, forward = options["eps"], forward_of(model.network)
    targets = None if options["target"] is None else torch.full_like(y, options["target"])
    attack = make_attack(name, shape)
    if source is not None:
        attack = Transfer(forward_of(source), attack)
    if ATTACKS[name].kind == "ball" and eps is not None:
        problem = ClassificationProblem.balls(forward, x, y, get_norm(norm), eps, options["loss"], targets)
        problem = problem.confident(options["margin"])
        found = within(attack, problem, options["seed"])
        return _record(model, name, norm, problem, found, indices, known, eps)
    problem = ClassificationProblem.unbounded(forward, x, y, get_norm(norm), options["loss"], targets)
    problem = problem.confident(options["margin"])
    found = closest(name, attack, problem, options["seed"])
    return _record(model, name, norm, problem, found, indices, known, eps)


def _record(
    model: Any,
    name: str,
    norm: str,
    problem: ClassificationProblem,
    found: Measured | HeldOut,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    eps: float | None,
) -> Tried:
    """Everything that table and page show; successes that onnxruntime does not confirm do not count."""
    import torch

    from advverify.models.comparison.statistics import wilson
    from advverify.verifier.attacks import ATTACKS
    from advverify.verifier.norms import get_norm

    from .report.attack_page import Tried

    logits = torch.from_numpy(model.executor.run(found.points.numpy()))
    confirmed = found.success & (problem.margin(logits) < 0)
    delta = found.points - problem.images
    own = get_norm(norm).length(delta)
    if eps is not None:
        confirmed &= own <= eps * (1 + 1e-9)
    lengths = {n: get_norm(n).length(delta)[confirmed] for n in ("0", "1", "2", "inf")}
    # What was executed is the point in the file's precision, and so is its distance.
    exact = get_norm(norm).length(found.points.to(torch.float32).double() - problem.images)
    ratios, below = [], []
    for k, index in enumerate(indices):
        bracket = known.get((index, norm))
        if bracket is None or not bool(confirmed[k]) or problem.targets is not None or not ATTACKS[name].norms:
            continue
        if math.isfinite(bracket[1]) and bracket[1] > 0:
            ratios.append(float(own[k]) / bracket[1])
        if float(exact[k]) < bracket[0] * (1 - 1e-9):
            below.append(index)
    squares = problem.images.square().sum(1).clamp(min=1e-12)
    entry = ATTACKS[name]
    row = {
        "attack": name,
        "norm": norm,
        "eps": eps,
        "images": len(indices),
        "margin": problem.confidence,
        "success": float(confirmed.double().mean()),
        "interval": wilson(int(confirmed.sum()), len(indices)),
        "median": {n: float(v.median()) if len(v) else math.inf for n, v in lengths.items()},
        "rmse": float((delta.square().sum(1) / squares).mean()),
        "seconds": found.seconds,
        "ratio": float(np.median(ratios)) if ratios else math.nan,
        "below": below,
        "indices": indices,
        "distances": torch.where(confirmed, own, torch.full_like(own, torch.inf)).tolist(),
    }
    classes = logits.argmax(1).numpy()
    return Tried(row, found.points.numpy(), classes, entry.kind, entry.knowledge, entry.paper)


def save(gallery: Gallery, model: Model, tried: Sequence[Tried], data: Dataset) -> None:
    """Save what attacks found and onnxruntime confirmed, one example an image and attack."""
    names = Counter[str]()
    for each in tried:
        row = each.row
        name = f"{row['attack']}-norm-{row['norm']}"
        names[name] += 1  # one that is learned here and one from a file may be of one name
        name += f"-{names[name]}" if names[name] > 1 else ""
        for point, index, distance in zip(each.points, row["indices"], row["distances"], strict=True):
            if math.isfinite(distance):
                image = data.images[index]
                gallery.add(
                    f"image-{index}-{name}",
                    point.reshape(image.shape),
                    image,
                    index=index,
                    attack=row["attack"],
                    label=int(data.labels[index]),
                    prediction=model.predict(point),
                    norm=row["norm"],
                    distance=distance,
                )

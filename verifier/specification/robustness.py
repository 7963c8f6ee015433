"""Classification robustness: "class c stays on top", as sugar for an unsafe set."""

from __future__ import annotations

import math

import numpy as np

from ..errors import InvalidInput
from ..norms import Norm
from .region import NormBall, Region
from .specification import Case, Polytope, Specification


def robustness(
    image: np.ndarray,
    label: int,
    outputs: int,
    norm: Norm,
    radius: float,
    *,
    valid: tuple[float, float] = (0.0, 1.0),
    target: int | None = None,
    margin: float = 0.0,
    ending: str = "",
) -> Specification:
    """No x with ||x - image|| <= radius inside the valid range has y_k >= y_label + margin for another class k.

    With margin 0 another class has to be strictly above. A network with one output has two classes: 1 where the output is
    above 0, else 0.

    Args:
        image: flat, inside the valid range.
        label: the class that must stay on top.
        outputs: number of outputs of the network; of classes, unless it is one.
        norm: of the ball.
        radius: >= 0; infinity asks about the whole valid range.
        valid: range of every input.
        target: the only class k that counts; None for all others.
        margin: confidence alpha >= 0 that an adversarial example must reach, in logits.
        ending: `Network.ending`: what the file applies to the logits, which keeps their order.

    Raises:
        InvalidInput: a label, target, margin, radius or image that makes no sense.
    """
    image = np.asarray(image, dtype=np.float64).ravel()
    if outputs == 1 and ending in ("Softmax", "LogSoftmax"):
        raise InvalidInput(f"the {ending} of a single output is constant, so that there are no classes to tell apart")
    classes = max(outputs, 2)
    if not 0 <= label < classes:
        raise InvalidInput(f"label {label} is out of range: the network has {classes} classes, 0 to {classes - 1}")
    if target is not None and (not 0 <= target < classes or target == label):
        raise InvalidInput(f"target {target} must be a class from 0 to {classes - 1} other than the label {label}")
    if not radius >= 0:
        raise InvalidInput(f"eps must be a number >= 0, got {radius}")
    if not margin >= 0 or math.isinf(margin):
        raise InvalidInput(f"the confidence margin must be a finite number >= 0, got {margin}")
    if not np.isfinite(image).all():
        raise InvalidInput("the image holds NaN or infinite values")
    if (image < valid[0]).any() or (image > valid[1]).any():
        low, high = float(image.min()), float(image.max())
        raise InvalidInput(
            f"the image has values from {low:g} to {high:g}, outside the valid range [{valid[0]:g}, {valid[1]:g}]; "
            "give images in the model's own units, or another --valid-range"
        )
    unsafe = []
    for k in range(classes):
        if k == label or (target is not None and k != target):
            continue
        row = _above(label, k, outputs)
        strict = np.array([margin == 0.0 and not (outputs == 1 and k == 0)])  # an output of 0 is class 0
        written = None
        if ending and (margin > 0.0 or outputs == 1):
            border = 0.5 * float(row[0, 0]) if outputs == 1 else 0.0  # a Sigmoid's; margins are of logits
            written = Polytope(row, np.array([border]), strict)
        unsafe.append(Polytope(row, np.array([-margin]), strict, f"class {k}", written=written))
    box = Region(
        np.full(len(image), float(valid[0])), np.full(len(image), float(valid[1])), NormBall(image, norm, float(radius))
    )
    return Specification((Case(box, tuple(unsafe)),))


def _above(label: int, other: int, outputs: int) -> np.ndarray:
    """The row (1, outputs) whose product with the outputs is by how much the label wins against another class."""
    row = np.zeros((1, outputs))
    if outputs == 1:
        row[0, 0] = 1.0 if label == 1 else -1.0
    else:
        row[0, label], row[0, other] = 1.0, -1.0
    return row

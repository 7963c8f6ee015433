"""Classification robustness: "class c stays on top", as sugar for an unsafe set."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidInput
from .region import NormBall, Region
from .specification import Disjunct, Polytope, Specification
from .threat import Threat, whole_number


def robustness(image: np.ndarray, label: int, threat: Threat, outputs: int, ending: str = "") -> Specification:
    """No x with ||x - image|| <= eps inside the valid range has y_k >= y_label + margin for another class k.

    With margin 0 another class has to be strictly above. A network with one output has two classes: 1 where the output is
    above 0, else 0.

    Args:
        image: any shape, inside the valid range.
        label: the class that must stay on top.
        threat: norm, radius, target, margin (in logits) and valid range.
        outputs: number of outputs of the network; of classes, unless it is one.
        ending: `Network.ending`: what the file applies to the logits, which keeps their order.

    Raises:
        InvalidInput: a label, target or image that makes no sense.
    """
    label, valid = whole_number("label", label), threat.valid_range
    target, margin = threat.target, threat.margin
    image = np.asarray(image, dtype=np.float64).ravel()
    if outputs == 1 and ending in ("Softmax", "LogSoftmax"):
        raise InvalidInput(f"the {ending} of a single output is constant, so that there are no classes to tell apart")
    classes = max(outputs, 2)
    if not 0 <= label < classes:
        raise InvalidInput(f"label {label} is out of range: the network has {classes} classes, 0 to {classes - 1}")
    if target is not None and (not 0 <= target < classes or target == label):
        raise InvalidInput(f"target {target} must be a class from 0 to {classes - 1} other than the label {label}")
    if not np.isfinite(image).all():
        raise InvalidInput("the image holds NaN or infinite values")
    if (image < valid[0]).any() or (image > valid[1]).any():
        low, high = float(image.min()), float(image.max())
        raise InvalidInput(
            f"the image has values from {low:g} to {high:g}, outside the valid range [{valid[0]:g}, {valid[1]:g}]; "
            "give images in the model's own units, or another valid range"
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
        np.full(len(image), valid[0]),
        np.full(len(image), valid[1]),
        NormBall(image, threat.ball_norm(), threat.radius),
    )
    return Specification((Disjunct(box, tuple(unsafe)),))


def _above(label: int, other: int, outputs: int) -> np.ndarray:
    """The row (1, outputs) whose product with the outputs is by how much the label wins against another class."""
    row = np.zeros((1, outputs))
    if outputs == 1:
        row[0, 0] = 1.0 if label == 1 else -1.0
    else:
        row[0, label], row[0, other] = 1.0, -1.0
    return row

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
) -> Specification:
    """No x with ||x - image|| <= radius inside the valid range has y_k >= y_label + margin for another class k.

    Args:
        image: flat, inside the valid range.
        label: the class that must stay on top.
        outputs: number of classes.
        norm: of the ball.
        radius: >= 0; infinity asks about the whole valid range.
        valid: range of every input.
        target: the only class k that counts; None for all others.
        margin: confidence alpha >= 0 that an adversarial example must reach.

    Raises:
        InvalidInput: a label, target, margin, radius or image that makes no sense.
    """
    image = np.asarray(image, dtype=np.float64).ravel()
    if not 0 <= label < outputs:
        raise InvalidInput(f"label {label} is out of range: the network has {outputs} outputs, 0 to {outputs - 1}")
    if target is not None and (not 0 <= target < outputs or target == label):
        raise InvalidInput(f"target {target} must be an output from 0 to {outputs - 1} other than the label {label}")
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
    for k in range(outputs):
        if k == label or (target is not None and k != target):
            continue
        row = np.zeros((1, outputs))
        row[0, label], row[0, k] = 1.0, -1.0
        unsafe.append(Polytope(row, np.array([-margin]), np.array([margin == 0.0]), f"class {k}"))
    box = Region(
        np.full(len(image), float(valid[0])), np.full(len(image), float(valid[1])), NormBall(image, norm, float(radius))
    )
    return Specification((Case(box, tuple(unsafe)),))

"""The threat model: which perturbations of an image count, and what they have to achieve."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass, fields
from operator import index
from typing import Any

from ..errors import InvalidInput
from ..norms import Norm, get_norm


@dataclass(frozen=True)
class Threat:
    """A threat says what counts as an adversarial example of an image; names are those of the command line's options.

    Attributes:
        norm: 0, 1, 2 or inf, in any usual spelling (`"linf"`, `math.inf`, `2`); kept as "0", "1", "2" or "inf".
        eps: radius of the ball around the image, in the units of the network's inputs; infinite for the whole valid range.
            None where a distance without a limit is asked for, the only question that needs no radius.
        target: the only class that counts as adversarial; None for all but the label.
        margin: by how much the logit of an adversarial class must be above the label's, at least.
        valid_range: lowest and highest value of every input.
        channels: entries of the image that norm 0 counts as one pixel (its colour channels), plane after plane.
        float32: robust also under the rounding errors of any execution of the file in its own precision.

    Raises:
        InvalidInput: a value that makes no sense, named.
    """

    norm: str | float = "inf"
    eps: float | None = None
    _: KW_ONLY
    target: int | None = None
    margin: float = 0.0
    valid_range: tuple[float, float] = (0.0, 1.0)
    channels: int = 1
    float32: bool = False

    def __post_init__(self) -> None:
        """Check every value, and keep it as a plain one of Python."""
        kept = {
            "norm": get_norm(self.norm).name,
            "eps": None if self.eps is None else _number("eps", self.eps),
            "target": None if self.target is None else whole_number("target", self.target),
            "margin": _number("margin", self.margin),
            "valid_range": _range(self.valid_range),
            "channels": whole_number("channels", self.channels),
            "float32": bool(self.float32),
        }
        for name, value in kept.items():
            object.__setattr__(self, name, value)
        if self.eps is not None and not self.eps >= 0:
            raise InvalidInput(f"eps must be a number >= 0, got {self.eps:g}")
        if not 0 <= self.margin < math.inf:
            raise InvalidInput(f"the confidence margin must be a finite number >= 0, got {self.margin:g}")
        if self.channels < 1:
            raise InvalidInput(f"channels must be a whole number >= 1, got {self.channels}")

    @property
    def radius(self) -> float:
        """The radius up to which the search goes; infinite where none was given."""
        return math.inf if self.eps is None else self.eps

    @property
    def note(self) -> str:
        """What is odd about the radius, and may be a slip; empty where nothing is."""
        low, high = self.valid_range
        if self.norm == "0" and 0 < self.radius < 1:
            return f"norm 0 counts the inputs that change: eps {self.radius:g} allows none to"
        if self.norm == "inf" and high - low <= self.radius < math.inf:
            return (
                f"the ball of eps {self.radius:g} holds the whole valid range from {low:g} to {high:g} around any image"
            )
        return ""

    def ball_norm(self) -> Norm:
        """The norm as an object, with its channels."""
        return get_norm(self.norm, self.channels)

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name; a radius without end is None, since JSON has no infinity."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            **values,
            "eps": self.eps if math.isfinite(self.radius) else None,
            "valid_range": list(self.valid_range),
        }


def whole_number(name: str, value: Any) -> int:
    """A class, a label or a count.

    Raises:
        InvalidInput: no whole number, or a truth value.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return index(value)
    except TypeError:
        raise InvalidInput(f"{name} must be a whole number, got {value!r}") from None


def _number(name: str, value: Any) -> float:
    try:
        if isinstance(value, str):
            raise TypeError
        return float(value)
    except (TypeError, ValueError):
        raise InvalidInput(f"{name} must be a number, got {value!r}") from None


def _range(value: Any) -> tuple[float, float]:
    try:
        low, high = value
    except (TypeError, ValueError):
        raise InvalidInput(f"valid_range must be two numbers, the lowest and the highest, got {value!r}") from None
    low, high = _number("valid_range", low), _number("valid_range", high)
    if not low <= high:
        raise InvalidInput(f"the valid range must be two numbers, the lowest first, got {low:g} and {high:g}")
    return low, high

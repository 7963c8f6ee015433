"""Input regions: a box, intersected with a norm ball where there is one.

Numbers are float64 and mean themselves: whether a point lies inside is decided in exact arithmetic, and every box that
stands for a region says on which side it was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch

from ..errors import InvalidInput
from ..norms import Norm, UnitBall
from ..norms.base import ball_box
from ..norms.l0 import L0

RATIONAL_INPUTS = 1024  # inputs above which nobody asks for rational arithmetic over a region
_DOUBT = 2.0**-50  # relative distance from the border, a coordinate, within which floating point does not decide


@dataclass(frozen=True, eq=False)
class NormBall:
    """{x : ||x - center|| <= radius}; `center` has shape (n,)."""

    center: np.ndarray
    norm: Norm
    radius: float


@dataclass(frozen=True, eq=False)
class Region:
    """A box `lower` <= x <= `upper` (each (n,), float64), intersected with `ball`.

    Where a side was written as a number that is no float64, `lower` and `upper` are rounded outward, and `decimals` may hold
    both sides of that input as they were written, for those who decide ties in rational arithmetic.
    """

    lower: np.ndarray
    upper: np.ndarray
    ball: NormBall | None = None
    decimals: Mapping[int, tuple[Fraction, Fraction]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the box and the ball make a region.

        Raises:
            InvalidInput: an empty or unbounded box, a radius below 0, NaN, or sides of different lengths.
        """
        if self.lower.shape != self.upper.shape or self.lower.ndim != 1:
            raise InvalidInput("lower and upper sides of a box must be vectors of one length")
        if np.isnan(self.lower).any() or np.isnan(self.upper).any():
            raise InvalidInput("the input region holds NaN")
        empty = np.flatnonzero(self.lower > self.upper)
        if len(empty):
            i = int(empty[0])
            raise InvalidInput(
                f"the input region is empty: input {i} has lower {self.lower[i]:g} > upper {self.upper[i]:g}"
            )
        if self.ball is not None and not self.ball.radius >= 0:
            raise InvalidInput(f"the radius must be a number >= 0, got {self.ball.radius}")
        channels = self.ball.norm.channels if self.ball is not None and isinstance(self.ball.norm, L0) else 1
        if len(self.lower) % channels:
            raise InvalidInput(f"{len(self.lower)} inputs are no pixels of {channels} channels each")
        lower, upper = self.bounding_box()
        free = np.flatnonzero(np.isinf(lower) | np.isinf(upper))
        if len(free):
            raise InvalidInput(f"input {int(free[0])} has no finite lower or upper side; give every input both")

    def sides(self, i: int) -> tuple[Fraction, Fraction]:
        """Both sides of input i in the box, exactly."""
        lower, upper = Fraction(float(self.lower[i])), Fraction(float(self.upper[i]))
        if i in self.decimals:
            lower, upper = max(lower, self.decimals[i][0]), min(upper, self.decimals[i][1])
        return lower, upper

    @property
    def is_box(self) -> bool:
        """Whether there is no ball, or one that is a box itself (norm inf)."""
        return self.ball is None or self.ball.norm.unit_ball is UnitBall.BOX

    @property
    def is_l0(self) -> bool:
        """Whether the ball counts changes (norm 0)."""
        return self.ball is not None and self.ball.norm.unit_ball is UnitBall.COUNT

    @property
    def size(self) -> int:
        """Number of inputs."""
        return len(self.lower)

    def bounding_box(self, outward: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """The region's own box, cut to the smallest box around its ball: its lower and upper sides, float64 (n,) each.

        It holds the region. A side of the ball that is no float64 is rounded away from the center; with `outward` False
        towards it, for points that are to lie inside.
        """
        if self.ball is None:
            return self.lower, self.upper
        reach = self.ball.norm.box_radius(torch.tensor(float(self.ball.radius), dtype=torch.float64))
        low, high = ball_box(torch.from_numpy(self.ball.center), reach, outward)
        return np.maximum(self.lower, low.numpy()), np.minimum(self.upper, high.numpy())

    def contains(self, x: np.ndarray) -> bool:
        """Whether x (n,) lies inside, in exact arithmetic."""
        x = np.asarray(x, dtype=np.float64)
        if not np.isfinite(x).all() or (x < self.lower).any() or (x > self.upper).any():
            return False
        for i in np.flatnonzero((x == self.lower) | (x == self.upper)) if self.decimals else ():
            lower, upper = self.sides(int(i))
            if not lower <= Fraction(float(x[i])) <= upper:
                return False
        if self.ball is None or math.isinf(self.ball.radius):
            return True
        usual = self.ball.radius == 0 or 1e-140 < self.ball.radius < 1e140  # where squares do not leave float64
        if self.ball.norm.unit_ball is not UnitBall.COUNT and usual:  # a count does not round
            doubt = self.ball.radius * (len(x) + 8) * _DOUBT
            length = self.distance(x)
            if abs(length - self.ball.radius) > doubt:
                return length < self.ball.radius
        pairs = zip(x.tolist(), self.ball.center.tolist(), strict=True)
        return self.ball.norm.within([Fraction(a) - Fraction(c) if a != c else 0.0 for a, c in pairs], self.ball.radius)

    def distance(self, x: np.ndarray) -> float:
        """Norm of x minus the ball's center, from float64 values."""
        if self.ball is None:
            raise InvalidInput("a plain box has no center to measure distances from")
        return float(self.ball.norm.length(torch.from_numpy(np.asarray(x, dtype=np.float64) - self.ball.center)))

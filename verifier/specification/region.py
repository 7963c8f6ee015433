"""Input regions: a box, intersected with a norm ball where there is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..errors import InvalidInput
from ..norms import Norm


@dataclass(frozen=True, eq=False)
class NormBall:
    """{x : ||x - center|| <= radius}; `center` has shape (n,)."""

    center: np.ndarray
    norm: Norm
    radius: float


@dataclass(frozen=True, eq=False)
class Region:
    """A box `lower` <= x <= `upper` (each (n,), float64), intersected with `ball`."""

    lower: np.ndarray
    upper: np.ndarray
    ball: NormBall | None = None

    def __post_init__(self) -> None:
        """Refuse empty boxes and values that are not numbers."""
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

    @property
    def norm(self) -> str | None:
        """Name of the ball's norm, if there is a ball."""
        return None if self.ball is None else self.ball.norm.name

    @property
    def size(self) -> int:
        """Number of inputs."""
        return len(self.lower)

    def bounding_box(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest box that holds the region's box and ball side by side (both sides float64)."""
        if self.ball is None:
            return self.lower, self.upper
        reach = float(self.ball.norm.box_radius(torch.tensor(float(self.ball.radius))))
        lower = np.maximum(self.lower, self.ball.center - reach)
        upper = np.minimum(self.upper, self.ball.center + reach)
        return lower, upper

    def contains(self, x: np.ndarray) -> bool:
        """Whether x (n,) lies inside.

        A linf ball is tested as the box [center - radius, center + radius] in float64; other balls by their norm, with
        one part in 1e12 for its rounding.
        """
        x = np.asarray(x, dtype=np.float64)
        lower, upper = self.bounding_box()
        if (x < lower).any() or (x > upper).any():
            return False
        if self.ball is None or self.ball.norm.name == "inf":
            return True
        return self.distance(x) <= self.ball.radius * (1 + 1e-12)

    def distance(self, x: np.ndarray) -> float:
        """Norm of x minus the ball's center, from float64 values."""
        if self.ball is None:
            raise InvalidInput("a plain box has no center to measure distances from")
        return float(self.ball.norm.length(torch.from_numpy(np.asarray(x, dtype=np.float64) - self.ball.center)))

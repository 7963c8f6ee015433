"""The one row of a program that is not linear: a ball of norm 2."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

ROUNDING = 1e-12  # by which distances in norm 2 and their tangents are loosened, relative to their terms


@dataclass(frozen=True, eq=False)
class QuadraticBall:
    """The row |x - center|^2 <= radius^2 over some columns; `columns` and `center` are (n,)."""

    columns: np.ndarray
    center: np.ndarray
    radius: float

    @property
    def side(self) -> float:
        """The right side of sum x^2 - 2 center x <= side."""
        return float(self.radius**2 - self.center @ self.center)

    def excess(self, x: np.ndarray) -> float:
        """How far a point (columns,) of the program lies outside; negative inside."""
        return float(np.linalg.norm(x[self.columns] - self.center)) - self.radius

    def least(self, slope: np.ndarray) -> float:
        """A lower bound on slope x over the ball, (n,), rounded down by more than its arithmetic can be off."""
        terms = float(np.abs(slope) @ np.abs(self.center)) + self.radius * float(np.linalg.norm(slope))
        share = 4 * (len(slope) + 8) * 2.0**-52
        return float(slope @ self.center) - self.radius * float(np.linalg.norm(slope)) - share * terms

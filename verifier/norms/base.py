"""What a norm must know.

Throughout, `a` are linear coefficients (..., n), `center`, `lower`, `upper` broadcast against them with
lower <= center <= upper, and `radius` has the leading shape (...). The slack of coordinate i is the distance d_i
from the center to the side of the box towards which a x falls.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import Enum
from fractions import Fraction

import torch
from torch import Tensor

TINY = float(torch.finfo(torch.float32).tiny)  # a divisor for what does not matter, in any precision


class UnitBall(Enum):
    """The shapes of balls that encodings, exact bounds and executions know; a norm has one of them."""

    BOX = "box"  # linf
    CROSS_POLYTOPE = "cross-polytope"  # l1
    EUCLIDEAN = "euclidean"  # l2: programs over it are quadratic
    COUNT = "count"  # l0: not convex, and distances are whole numbers


class Norm(ABC):
    """A norm (or, for 0, a count) on perturbations.

    Attributes:
        name: what users call it.
        unit_ball: shape of its balls, by which everything outside this folder tells norms apart.
    """

    name: str
    unit_ball: UnitBall

    @abstractmethod
    def length(self, delta: Tensor) -> Tensor:
        """Norm of perturbations (..., n); returns (...)."""

    @abstractmethod
    def within(self, delta: Sequence[float | Fraction], radius: float) -> bool:
        """Whether a perturbation has norm <= radius, decided without rounding; entries are finite."""

    @abstractmethod
    def maximizer(self, a: Tensor, slack: Tensor, radius: Tensor) -> Tensor:
        """The m, 0 <= m <= slack, of norm <= radius that maximises |a| m; exact. Shapes (..., n), (..., n), (...)."""

    @abstractmethod
    def largest_radius(self, a: Tensor, slack: Tensor, value: Tensor) -> Tensor:
        """Largest radius r at which max |a| m over 0 <= m <= slack, ||m|| <= r is at most `value`; inf if always.

        0 where `value` is not above 0, or is no number; for counts, of which 0 says something, -1.
        """

    @abstractmethod
    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """A perturbation of norm <= radius near `delta`, shrinking every entry towards 0."""

    @abstractmethod
    def ascent(self, gradient: Tensor, slack: Tensor) -> Tensor:
        """Steepest-ascent direction of unit norm; entries without slack to move are left out."""

    @property
    def key(self) -> str:
        """Tells it from others that measure differently."""
        return self.name

    def rows(self, index: Tensor) -> Norm:
        """The norm of some members of a batch; norms whose members differ override this."""
        return self

    def box_radius(self, radius: Tensor) -> Tensor:
        """Largest change of one coordinate inside the ball."""
        return radius

    def halfspace_multiplier(self, a: Tensor, f: Tensor, height: Tensor, radius: Tensor) -> Tensor | None:
        """A t >= 0 near the maximum over t of min (a + t f) x + t g over balls alone, (batch, rows); None where there is no
        formula. `a` is (batch, rows, n), `f` (batch, n), `height` = f center + g and `radius` (batch,).
        """
        return None

    def minimizer(self, a: Tensor, center: Tensor, radius: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """argmin of a x over ball ∩ box; exact up to rounding, shape of `a`."""
        slack = torch.where(a > 0, center - lower, upper - center)
        return center - torch.sign(a) * self.maximizer(a, slack, radius)

    def least(self, a: Tensor, center: Tensor, radius: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """min of a (x - center) over ball ∩ box, or a little less; (...), with the roundings of (2 n + 16) operations."""
        with torch.no_grad():
            move = self.minimizer(a, center, radius, lower, upper) - center
        return (a * move).sum(-1)

    def certified_radius(self, a: Tensor, value: Tensor, center: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Largest r for which value + a (x - center) > 0 within less than r, in the box; `value` is the one at the center."""
        slack = torch.where(a > 0, center - lower, upper - center)
        return self.largest_radius(a, slack, value)


def held(radius: Tensor, value: Tensor, otherwise: float = 0.0) -> Tensor:
    """What `largest_radius` comes to: `otherwise` unless the value at the center is a number above 0.

    Nothing is proved by NaN, nor by a function that is 0 everywhere: an input whose violation is 0 may be unsafe.
    """
    return torch.where(value > 0, radius, torch.full_like(radius, otherwise))


def lost_squares(vector: Tensor) -> float:
    """What a Euclidean length may lose where squares of entries are too small to be told from 0."""
    return float(vector.shape[-1] * torch.finfo(vector.dtype).tiny ** 0.5)


def ball_box(center: Tensor, reach: Tensor, outward: bool = True) -> tuple[Tensor, Tensor]:
    """center - reach and center + reach (any shapes that broadcast) in their own precision, off by no more than has to be.

    What is no number of that precision is rounded away from the center or, with `outward` False, towards it. Radius 0
    leaves the center itself. An infinite reach gives infinite sides.
    """
    sides = []
    for sign in (-1.0, 1.0):
        step = sign * reach
        side = center + step
        # Knuth's two-sum: side + error is center + step without rounding.
        back = side - center
        error = (center - (side - back)) + (step - back)
        towards = torch.full_like(side, sign * torch.inf if outward else -sign * torch.inf)
        wrong = (error * sign > 0) if outward else (error * sign < 0)
        sides.append(torch.where(wrong, torch.nextafter(side, towards), side))
    return sides[0], sides[1]


def far(like: Tensor) -> float:
    """A breakpoint beyond all others whose square is still finite."""
    return float(torch.finfo(like.dtype).max ** 0.5 * 1e-4)


def first_exceeding(values: Tensor, limit: Tensor) -> Tensor:
    """Index of the first entry of the non-decreasing rows `values` (..., n) above `limit` (...); n if none is."""
    return torch.searchsorted(values.contiguous(), limit.unsqueeze(-1).contiguous(), right=True).squeeze(-1)


def pick(values: Tensor, index: Tensor) -> Tensor:
    """values[..., index] row by row."""
    return values.gather(-1, index.clamp(max=values.shape[-1] - 1).unsqueeze(-1)).squeeze(-1)


def after(values: Tensor) -> Tensor:
    """Sum of what follows each entry, for values >= 0 (..., n); without the cancellation of a difference of sums."""
    return torch.cat([values[..., 1:].flip(-1).cumsum(-1).flip(-1), torch.zeros_like(values[..., :1])], -1)


def before(cumulative: Tensor, index: Tensor) -> Tensor:
    """Sum of the first `index` entries, given inclusive cumulative sums."""
    return torch.where(index > 0, pick(cumulative, (index - 1).clamp(min=0)), torch.zeros_like(cumulative[..., 0]))

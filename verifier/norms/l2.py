"""The Euclidean norm.

Over ball ∩ box the best move is m_i = min(d_i, t |a_i|) for one t >= 0 (the dual of one variable that
box-ignoring concretisations drop); t follows exactly from sweeping the breakpoints d_i / |a_i|.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from .base import TINY, Norm, UnitBall, after, before, far, first_exceeding, held, lost_squares, pick

_SWEEPS = 20  # where a rough t will do; most rows need three or four


def _sorted(a: Tensor, slack: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(breakpoints, |a|, slack) sorted by breakpoint; coordinates without weight come last."""
    w = a.abs()
    ratio = torch.where(w > 0, slack / w.clamp(min=TINY), torch.full_like(w, torch.inf))
    ratio, order = ratio.sort(-1)
    return ratio, w.gather(-1, order), slack.gather(-1, order)


def _level(w: Tensor, slack: Tensor, radius: Tensor, sweeps: int | None) -> tuple[Tensor, Tensor]:
    """The t at which min(d, t |a|) has the norm of the radius, and which moves stop at d; `sweeps` limits the rounds.

    From below: where t |a| reaches d the move stops, which leaves more for the others, so t and the set of those that
    have stopped only grow (as in Michelot's projection onto a simplex, J. Optim. Theory Appl. 50, 1986).
    """
    squares, slacks, whole = w * w, slack * slack, radius * radius
    t = (radius / squares.sum(-1).sqrt().clamp(min=TINY)).clamp(max=far(radius))
    stopped = torch.zeros_like(w, dtype=torch.bool)
    while sweeps is None or sweeps > 0:
        reached = t.unsqueeze(-1) * w >= slack
        if bool((reached == stopped).all()):
            break
        stopped = reached
        left = torch.where(stopped, 0.0, squares).sum(-1)
        rest = (whole - torch.where(stopped, slacks, 0.0).sum(-1)).clamp(min=0)
        t = torch.maximum(t, (rest / left.clamp(min=TINY)).sqrt().clamp(max=far(t)))
        sweeps = None if sweeps is None else sweeps - 1
    return t, stopped


class L2(Norm):
    """Square root of the sum of squares."""

    name = "2"
    unit_ball = UnitBall.EUCLIDEAN

    def length(self, delta: Tensor) -> Tensor:
        """||delta||_2."""
        length: Tensor = torch.linalg.vector_norm(delta, dim=-1)
        return length

    def within(self, delta: Sequence[float | Fraction], radius: float) -> bool:
        """Compare squares, as fractions."""
        if math.isinf(radius):
            return True
        return sum((Fraction(d) ** 2 for d in delta), Fraction(0)) <= Fraction(radius) ** 2

    def maximizer(self, a: Tensor, slack: Tensor, radius: Tensor) -> Tensor:
        """min(d, t |a|) with t such that the norm is the radius."""
        w = a.abs()
        t, stopped = _level(w, slack, radius, None)
        return torch.where(stopped, slack, torch.minimum(slack, t.unsqueeze(-1) * w))

    def least(self, a: Tensor, center: Tensor, radius: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """By weak duality: |a| is the sum of what the ball pays for and what the box pays for, and any such sum is a bound.

        So t may be rough, and is found in float32.
        """
        slack, w = torch.where(a > 0, center - lower, upper - center), a.abs()
        with torch.no_grad():
            t, _ = _level(w.float(), slack.float(), radius.float(), _SWEEPS)
        outer = torch.minimum(w, slack / t.to(a.dtype).clamp(min=TINY).unsqueeze(-1))
        rounding = 1 + (a.shape[-1] + 8) * torch.finfo(a.dtype).eps
        ball: Tensor = radius * (torch.linalg.vector_norm(outer, dim=-1) * rounding + lost_squares(outer))
        box = -(w * slack).sum(-1)  # where the ball hardly cuts the box no t that float32 finds is near enough
        return torch.maximum(box, -((w - outer) * slack).sum(-1) - ball)

    def largest_radius(self, a: Tensor, slack: Tensor, value: Tensor) -> Tensor:
        """The value is piecewise linear in t; the radius follows from t.

        Over weights of size 1, whose squares can be told from 0 where they matter.
        """
        size = a.abs().amax(-1).clamp(min=torch.finfo(a.dtype).tiny)
        farthest = slack.clamp(max=1e150).amax(-1)
        a, value = a / size.unsqueeze(-1), value / size - 4 * lost_squares(a) * farthest
        t, w, d = _sorted(a, slack)
        gone = torch.isinf(t)
        w, d = torch.where(gone, torch.zeros_like(w), w), torch.where(gone, torch.zeros_like(d), d)
        finite = torch.where(gone, torch.full_like(t, far(t)), t)
        gained, squares = (w * d).cumsum(-1), w * w
        rest = after(squares)
        k = first_exceeding(gained + finite * rest, value)
        left = pick(rest + squares, k)
        step = (value - before(gained, k)).clamp(min=0) / left.clamp(min=TINY)
        radius = (before((d * d).cumsum(-1), k) + step * step * left).sqrt()
        everything = (value >= gained[..., -1]) | (k >= t.shape[-1])
        radius = torch.where(everything, torch.full_like(radius, torch.inf), radius)
        return held(radius, value)

    def halfspace_multiplier(self, a: Tensor, f: Tensor, height: Tensor, radius: Tensor) -> Tensor:
        """With s = t + a f / |f|^2 and d = |a|^2 - (a f)^2 / |f|^2 the value is height t - r sqrt(|f|^2 s^2 + d) but for a
        constant, and its maximum lies where s = height sqrt(d) / (|f| sqrt(r^2 |f|^2 - height^2)); beyond |height| = r |f|
        there is none.
        """
        h, r = height.unsqueeze(1), radius.unsqueeze(1)
        squares = (f * f).sum(-1, keepdim=True).clamp(min=TINY)
        along = torch.matmul(a, f.unsqueeze(-1)).squeeze(-1) / squares
        across = ((a * a).sum(-1) - along * along * squares).clamp(min=0)
        slack = (r * r * squares - h * h).clamp(min=0)
        return (h * (across / (squares * slack).clamp(min=TINY)).sqrt() - along).clamp(min=0)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Scale down to the sphere."""
        length = self.length(delta).clamp(min=TINY)
        return delta * (radius / length).clamp(max=1).unsqueeze(-1)

    def ascent(self, gradient: Tensor, slack: Tensor) -> Tensor:
        """Normalised gradient over the coordinates that can move."""
        g = torch.where(slack > 0, gradient, torch.zeros_like(gradient))
        return g / self.length(g).clamp(min=TINY).unsqueeze(-1)

"""The sum of absolute values. Over ball ∩ box a linear function is a fractional knapsack: fill by |a|, largest first."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from .base import TINY, Norm, UnitBall, before, first_exceeding, held, pick


class L1(Norm):
    """Sum of absolute entries."""

    name = "1"
    unit_ball = UnitBall.CROSS_POLYTOPE

    def length(self, delta: Tensor) -> Tensor:
        """sum |delta_i|."""
        return delta.abs().sum(-1)

    def within(self, delta: Sequence[float | Fraction], radius: float) -> bool:
        """Add up fractions."""
        return sum((abs(Fraction(d)) for d in delta), Fraction(0)) <= radius

    def maximizer(self, a: Tensor, slack: Tensor, radius: Tensor) -> Tensor:
        """Spend the radius on the heaviest coordinates."""
        order = a.abs().argsort(-1, descending=True)
        d = slack.gather(-1, order)
        spent = d.cumsum(-1) - d
        filled = torch.minimum((radius.unsqueeze(-1) - spent).clamp(min=0), d)
        return torch.zeros_like(filled).scatter(-1, order, filled)

    def largest_radius(self, a: Tensor, slack: Tensor, value: Tensor) -> Tensor:
        """Spend until the value is gone."""
        w, order = a.abs().sort(-1, descending=True)
        d = slack.gather(-1, order)
        gained = (w * d).cumsum(-1)
        k = first_exceeding(gained, value)
        radius = before(d.cumsum(-1), k) + (value - before(gained, k)).clamp(min=0) / pick(w, k).clamp(min=TINY)
        radius = torch.where(k >= d.shape[-1], torch.full_like(radius, torch.inf), radius)
        return held(radius, value)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Euclidean projection on the l1 ball (Duchi et al., ICML 2008, fig. 1)."""
        magnitude = delta.abs()
        u = magnitude.sort(-1, descending=True).values
        total = u.cumsum(-1) - radius.unsqueeze(-1)
        count = torch.arange(1, u.shape[-1] + 1, device=u.device, dtype=u.dtype)
        rho = ((u - total / count) > 0).sum(-1).clamp(min=1)
        theta = (pick(total, rho - 1) / rho).clamp(min=0)
        outside = magnitude.sum(-1) > radius
        shrunk = (magnitude - theta.unsqueeze(-1)).clamp(min=0) * delta.sign()
        return torch.where(outside.unsqueeze(-1), shrunk, delta)

    def ascent(self, gradient: Tensor, slack: Tensor) -> Tensor:
        """Spread over the steepest twentieth of the coordinates: one at a time is too slow for PGD."""
        g = torch.where(slack > 0, gradient, torch.zeros_like(gradient))
        keep = max(1, g.shape[-1] // 20)
        threshold = g.abs().topk(keep, -1).values[..., -1:]
        chosen = g.sign() * (g.abs() >= threshold.clamp(min=TINY))
        return chosen / chosen.abs().sum(-1, keepdim=True).clamp(min=1)

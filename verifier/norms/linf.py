"""The maximum norm."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor

from .base import TINY, Norm, UnitBall, after, before, first_exceeding, held, pick


class Linf(Norm):
    """Largest absolute entry."""

    name = "inf"
    unit_ball = UnitBall.BOX

    def length(self, delta: Tensor) -> Tensor:
        """max |delta_i|."""
        return delta.abs().amax(-1)

    def within(self, delta: Sequence[float | Fraction], radius: float) -> bool:
        """Entry by entry; comparisons do not round."""
        return all(-radius <= d <= radius for d in delta)

    def maximizer(self, a: Tensor, slack: Tensor, radius: Tensor) -> Tensor:
        """Every coordinate as far as it may."""
        return torch.minimum(slack, radius.unsqueeze(-1))

    def largest_radius(self, a: Tensor, slack: Tensor, value: Tensor) -> Tensor:
        """Piecewise linear in r, with a breakpoint where a coordinate meets its side of the box."""
        order = slack.argsort(-1)
        d, w = slack.gather(-1, order), a.abs().gather(-1, order)
        filled = (d * w).cumsum(-1)  # coordinates that have met the box, each with its full contribution
        rest = after(w)
        k = first_exceeding(filled + d * rest, value)
        radius = (value - before(filled, k)).clamp(min=0) / pick(rest + w, k).clamp(min=TINY)
        radius = torch.minimum(radius, pick(d, k))
        radius = torch.where(k >= d.shape[-1], torch.full_like(radius, torch.inf), radius)
        return held(radius, value)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Clip."""
        r = radius.unsqueeze(-1)
        return torch.minimum(torch.maximum(delta, -r), r)

    def ascent(self, gradient: Tensor, slack: Tensor) -> Tensor:
        """Sign of the gradient."""
        return gradient.sign()

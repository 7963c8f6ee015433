"""The Euclidean norm.

Over ball ∩ box the best move is m_i = min(d_i, t |a_i|) for one t >= 0 (the dual of one variable that
box-ignoring concretisations drop); t follows exactly from sorting the breakpoints d_i / |a_i|.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import TINY, Norm, before, far, first_exceeding


def _sorted(a: Tensor, room: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(breakpoints, |a|, room) sorted by breakpoint; coordinates without weight come last."""
    w = a.abs()
    ratio = torch.where(w > 0, room / w.clamp(min=TINY), torch.full_like(w, torch.inf))
    ratio, order = ratio.sort(-1)
    return ratio, w.gather(-1, order), room.gather(-1, order)


class L2(Norm):
    """Square root of the sum of squares."""

    name = "2"

    def length(self, delta: Tensor) -> Tensor:
        """||delta||_2."""
        length: Tensor = torch.linalg.vector_norm(delta, dim=-1)
        return length

    def moves(self, a: Tensor, room: Tensor, radius: Tensor) -> Tensor:
        """min(d, t |a|) with t such that the norm is the radius."""
        t, w, d = _sorted(a, room)
        weighted = torch.where(torch.isinf(t), torch.zeros_like(w), w)
        full = torch.where(torch.isinf(t), torch.zeros_like(d), d * d).cumsum(-1)
        rest = (weighted * weighted).flip(-1).cumsum(-1).flip(-1) - weighted * weighted
        finite = torch.where(torch.isinf(t), torch.full_like(t, far(t)), t)
        squared = full + finite * finite * rest
        k = first_exceeding(squared, radius * radius)
        left = (weighted * weighted).sum(-1) - before((weighted * weighted).cumsum(-1), k)
        step = ((radius * radius - before(full, k)).clamp(min=0) / left.clamp(min=TINY)).sqrt()
        step = torch.where(k >= t.shape[-1], torch.full_like(step, torch.inf), step)
        free = step.unsqueeze(-1) * a.abs()
        return torch.minimum(room, torch.where(a == 0, torch.zeros_like(free), free))

    def reach(self, a: Tensor, room: Tensor, value: Tensor) -> Tensor:
        """The value is piecewise linear in t; the radius follows from t."""
        t, w, d = _sorted(a, room)
        gone = torch.isinf(t)
        w, d = torch.where(gone, torch.zeros_like(w), w), torch.where(gone, torch.zeros_like(d), d)
        finite = torch.where(gone, torch.full_like(t, far(t)), t)
        gained, squares = (w * d).cumsum(-1), (w * w).cumsum(-1)
        rest = (squares[..., -1:] - squares).clamp(min=0)
        k = first_exceeding(gained + finite * rest, value)
        left = squares[..., -1] - before(squares, k)
        step = (value - before(gained, k)).clamp(min=0) / left.clamp(min=TINY)
        radius = (before((d * d).cumsum(-1), k) + step * step * left).sqrt()
        everything = (value >= gained[..., -1]) | (k >= t.shape[-1])
        radius = torch.where(everything, torch.full_like(radius, torch.inf), radius)
        return torch.where(value < 0, torch.zeros_like(radius), radius)

    def tilt(self, a: Tensor, f: Tensor, height: Tensor, radius: Tensor) -> Tensor:
        """With s = t + a f / |f|^2 and d = |a|^2 - (a f)^2 / |f|^2 the value is height t - r sqrt(|f|^2 s^2 + d) but for a
        constant, and its maximum lies where s = height sqrt(d) / (|f| sqrt(r^2 |f|^2 - height^2)); beyond |height| = r |f|
        there is none.
        """
        h, r = height.unsqueeze(1), radius.unsqueeze(1)
        squares = (f * f).sum(-1, keepdim=True).clamp(min=TINY)
        along = torch.matmul(a, f.unsqueeze(-1)).squeeze(-1) / squares
        across = ((a * a).sum(-1) - along * along * squares).clamp(min=0)
        room = (r * r * squares - h * h).clamp(min=0)
        return (h * (across / (squares * room).clamp(min=TINY)).sqrt() - along).clamp(min=0)

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Scale down to the sphere."""
        length = self.length(delta).clamp(min=TINY)
        return delta * (radius / length).clamp(max=1).unsqueeze(-1)

    def ascent(self, gradient: Tensor, room: Tensor) -> Tensor:
        """Normalised gradient over the coordinates that can move."""
        g = torch.where(room > 0, gradient, torch.zeros_like(gradient))
        return g / self.length(g).clamp(min=TINY).unsqueeze(-1)

"""Bounds on the part of a region where a linear function is not positive: the rest holds nothing that is looked for.

An unsafe point lies where a lower bound on its violation is at most 0, so every other bound may be taken over that part
alone (Kotha et al., "Provably bounding neural network preimages", NeurIPS 2023; Zhou et al., "Clip-and-Verify", NeurIPS
2025). With one multiplier,

    min {a x + c : x in region, f x + g <= 0}  >=  max_{t >= 0}  min {(a + t f) x + c + t g : x in region}.

The right side is concave and piecewise linear in t; a few steps to where two tangents meet come near its maximum, and any
t gives a bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .products import inner
from .underflow import tiny

_STEPS = 2
_LEAST = 1e-30  # a divisor for what does not matter
_UNIT = 2.0**-53

Tangent = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class HalfSpaces:
    """coefficients (batch, n) x + offset (batch,) <= 0, one a region."""

    coefficients: Tensor
    offset: Tensor

    def rows(self, index: Tensor) -> HalfSpaces:
        """Some of the batch."""
        return HalfSpaces(self.coefficients[index], self.offset[index])

    def to(self, dtype: torch.dtype) -> HalfSpaces:
        """In another precision, rounded: for searching, not for proving."""
        return HalfSpaces(self.coefficients.to(dtype), self.offset.to(dtype))


def added(
    coefficients: Tensor, offset: Tensor, halfspace: HalfSpaces, times: Tensor, size: Tensor
) -> tuple[Tensor, Tensor]:
    """coefficients + t f (batch, rows, n) and offset + t g (batch, rows) in float64, the latter lowered by the rounding.

    `times` are the t (batch, rows); `size` (batch, n) bounds |x| over the regions.
    """
    a, t, f = coefficients.to(torch.float64), times.to(torch.float64), halfspace.coefficients.unsqueeze(1)
    # One product and one addition an entry, and the same for the offset.
    magnitude = inner(a.abs(), size) + offset.abs()
    magnitude = magnitude + t * ((halfspace.coefficients.abs() * size).sum(-1) + halfspace.offset.abs()).unsqueeze(1)
    rounding = torch.where(t == 0, 0.0, 8 * (_UNIT * magnitude + tiny(a.dtype) * (1 + size.sum(-1, keepdim=True))))
    return torch.addcmul(a, t.unsqueeze(-1), f), offset + t * halfspace.offset.unsqueeze(1) - rounding


def box_multipliers(lower: Tensor, upper: Tensor, coefficients: Tensor, halfspace: HalfSpaces) -> Tensor:
    """Good t >= 0, (batch, rows), for boxes (batch, n); in float32, since any t is valid."""
    low = torch.float32
    a, f = coefficients.to(low), halfspace.coefficients.to(low).unsqueeze(1)
    middle, reach = (((upper + sign * lower) / 2).to(low) for sign in (1, -1))
    g = halfspace.offset.to(low).unsqueeze(1)
    spread = f.squeeze(1) * reach
    height = inner(f, middle) + g
    at_middle = inner(a, middle)

    def tangent(t: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.addcmul(a, t.unsqueeze(-1), f)
        value = torch.addcmul(at_middle, t, height) - inner(v.abs(), reach)
        return value, height - inner(v.sign(), spread)

    lowest = middle - torch.where(f.squeeze(1) > 0, reach, -reach)
    return _climb(tangent, inner(a, lowest), inner(f, lowest) + g)


def multipliers(
    minimizer: Callable[[Tensor], Tensor], coefficients: Tensor, halfspace: HalfSpaces, guess: Tensor | None = None
) -> Tensor:
    """Good t >= 0, (batch, rows), for regions given by what minimises linear functions over them.

    A `guess` (batch, rows) is tried first.
    """
    f, g = halfspace.coefficients.unsqueeze(1), halfspace.offset.unsqueeze(1)

    def tangent(t: Tensor) -> tuple[Tensor, Tensor]:
        v = torch.addcmul(coefficients, t.unsqueeze(-1), f)
        x = minimizer(v)
        return (v * x).sum(-1) + t * g, (f * x).sum(-1) + g

    lowest = minimizer(f)
    slope = ((f * lowest).sum(-1) + g).expand(coefficients.shape[:2])
    return _climb(tangent, (coefficients * lowest).sum(-1), slope, guess)


def _climb(tangent: Tangent, right_value: Tensor, right_slope: Tensor, guess: Tensor | None = None) -> Tensor:
    """Near the maximum of a concave function of t >= 0, row by row; its tangent at infinity is right_value + right_slope t."""
    zero = torch.zeros_like(right_value)
    left_value, left_slope = tangent(zero)
    useful = (left_slope > 0) & (right_slope < 0)
    left, right, best, highest = zero, zero, zero, left_value
    for step in range(_STEPS):
        gap = right_value - right_slope * right - left_value + left_slope * left
        meet = gap / (left_slope - right_slope).clamp(min=_LEAST)
        meet = meet if guess is None or step > 0 else guess
        at = torch.where(useful & torch.isfinite(meet), meet.clamp(min=0), zero)
        value, slope = tangent(at)
        best, highest = torch.where(value > highest, at, best), torch.maximum(highest, value)
        up = slope > 0
        left, right = torch.where(up, at, left), torch.where(up, right, at)
        left_value, right_value = torch.where(up, value, left_value), torch.where(up, right_value, value)
        left_slope, right_slope = torch.where(up, slope, left_slope), torch.where(up, right_slope, slope)
    return best

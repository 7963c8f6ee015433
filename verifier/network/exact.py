"""Sums and products of float64 arrays that are exact, or none.

What bounds, programs and proofs say is about the weights that they are given, so whatever changes weights may not round them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def exact_product(a: Tensor, b: Tensor) -> Tensor | None:
    """a * b (float64, shapes that broadcast), or None where that rounds.

    By Dekker's product (Numerische Mathematik 18, 1971), which has no error of its own between the ranges looked at here.
    """
    a, b = torch.broadcast_tensors(a, b)
    product = a * b
    inside = (product.abs() > 1e-250) & (a.abs() < 1e150) & (b.abs() < 1e150)
    if not bool((inside | (a == 0) | (b == 0)).all()):
        return None
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return product if bool((error == 0).all()) else None


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    """Veltkamp's split into two numbers of 26 bits."""
    shifted = x * (2.0**27 + 1.0)
    high = shifted - (shifted - x)
    return high, x - high


def exact_sum(a: Tensor, b: Tensor) -> Tensor | None:
    """a + b, or None where that rounds (Knuth's two-sum)."""
    total = a + b
    back = total - a
    error = (a - (total - back)) + (b - back)
    return total if bool((error == 0).all()) else None

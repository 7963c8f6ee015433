"""Products of every member's rows with a vector of its own."""

from __future__ import annotations

import torch
from torch import Tensor


def inner(rows: Tensor, vectors: Tensor) -> Tensor:
    """rows (batch, count, n) times vectors (batch or 1, n): (batch, count).

    The vector stands on the left: on CPUs torch takes three to ten times as long where it is a column on the right.
    """
    if len(vectors) == 1:
        return torch.matmul(rows, vectors[0])
    return torch.matmul(vectors.unsqueeze(1), rows.transpose(1, 2)).squeeze(1)

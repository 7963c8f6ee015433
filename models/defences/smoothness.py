"""Weights that change little from block to block, as a discretised dynamical system has them.

Haber & Ruthotto, Inverse Problems 34:014004, 2017, section 4: h/2 sum_j ||(K_{j+1} - K_j) / h||^2, and the same for b.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from ..architectures.residual import ResidualBlock
from .base import Step


@dataclass(frozen=True)
class Smoothness:
    """No options of its own."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        """Sum over neighbouring blocks of equal shapes.

        Raises:
            InvalidInput: the network has no two such blocks.
        """
        blocks = [m for m in step.network.modules() if isinstance(m, ResidualBlock) and m.smooth()]
        terms = []
        for kind in dict.fromkeys((type(b), getattr(b, "moves_second", None)) for b in blocks):
            alike = [b for b in blocks if (type(b), getattr(b, "moves_second", None)) == kind]
            for before, after in pairwise(alike):
                if [k.shape for k in before.smooth()] != [k.shape for k in after.smooth()]:
                    continue  # of two stages
                h = float(getattr(before, "step", 1.0))
                pairs = zip(before.smooth(), after.smooth(), strict=True)
                terms += [(k2 - k1).square().sum() / (2 * h) for k1, k2 in pairs]
        if not terms:
            raise InvalidInput("smoothness: the architecture has no two blocks of a dynamical system")
        return torch.stack(terms).sum()

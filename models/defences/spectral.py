"""Spectral norms of all weights, squared: a bound on how much each layer can stretch, as a term of the loss.

Yoshida & Miyato, "Spectral norm regularization for improving the generalizability of deep learning", 2017. Kernels count as the
matrix (out, in k k).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..architectures.residual import ResidualBlock
from .base import Step


@dataclass(frozen=True)
class Spectral:
    """No options of its own."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        """Half the sum of the squares."""
        norms = [torch.linalg.matrix_norm(w.flatten(1), 2) for w in weights(step.network)]
        return torch.stack(norms).square().sum() / 2


def weights(network: nn.Module) -> list[Tensor]:
    """Matrices and kernels as they are applied: those that blocks make of their parameters, and those of plain layers."""
    found: list[Tensor] = []
    inside: set[int] = set()
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            terms = module.terms()
            found += [terms.inner, *([] if terms.outer is None else [terms.outer])]
            inside |= {id(child) for child in module.modules()}
        elif isinstance(module, nn.Linear | nn.Conv2d) and id(module) not in inside:
            found.append(module.weight)
    return found

"""The Jacobian of the logits, in Frobenius norm: how fast outputs change with the input, at the images.

Hoffman, Roberts & Yaida, "Robust learning with Jacobian regularization", 2019: ||J||^2 is the number of classes times the mean of
||v^T J||^2 over unit vectors v, of which a few are drawn.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from .base import Step


@dataclass(frozen=True)
class Jacobian:
    """`draws` of random directions of the outputs, an image."""

    weight: float
    draws: int = 1

    def __post_init__(self) -> None:
        """Check the number."""
        if self.draws < 1:
            raise InvalidInput(f"jacobian: draws must be at least 1, got {self.draws}")

    def __call__(self, step: Step) -> Tensor:
        """Half the mean over the batch of the estimated squared norm."""
        x = step.clean.detach().requires_grad_(True)
        logits = step.network(x)
        total = logits.new_zeros(())
        for _ in range(self.draws):
            v = torch.randn_like(logits)
            v = v / v.norm(dim=1, keepdim=True).clamp(min=1e-12)
            (slope,) = torch.autograd.grad((logits * v).sum(), x, create_graph=True)
            total = total + slope.flatten(1).square().sum(1).mean()
        half: Tensor = logits.shape[1] * total / (2 * self.draws)
        return half

"""L1 norm of all weights: sparse networks have fewer unstable ReLUs and smaller programs (Xiao et al., ICLR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Step


@dataclass(frozen=True)
class L1:
    """Biases are left alone."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        """Sum of absolute values of matrices and kernels."""
        return torch.stack([p.abs().sum() for p in step.network.parameters() if p.ndim > 1]).sum()

"""ReLU stability loss: -sum tanh(1 + l u) over the ReLUs, which is low where both bounds have one sign.

Xiao et al., "Training for faster adversarial robustness verification via inducing ReLU stability", ICLR 2019, eq. 8,
with the interval bounds that the verifier itself computes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.bounds.ibp import ibp
from advverify.verifier.errors import InvalidInput

from ..from_torch import from_torch
from .base import Step
from .certified import ball


@dataclass(frozen=True)
class ReluStability:
    """`eps` is the linf radius at which the network will be verified."""

    weight: float
    eps: float

    def __post_init__(self) -> None:
        """Check the radius."""
        if self.eps <= 0:
            raise InvalidInput(f"relu-stability: eps must be above 0, got {self.eps:g}")

    def __call__(self, step: Step) -> Tensor:
        """Mean over the batch of the sum over the ReLUs."""
        network = from_torch(step.network, tuple(step.clean.shape[1:]))
        bounds = ibp(network, ball(step.clean, self.eps))
        intervals = [bounds[node] for node in network.bounded]
        return -sum((torch.tanh(1 + i.lower * i.upper).sum(1).mean() for i in intervals), torch.zeros(()))

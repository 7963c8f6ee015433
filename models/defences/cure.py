"""CURE: small curvature of the loss along the direction in which it rises.

Moosavi-Dezfooli et al., "Robustness via curvature regularization, and vice versa", CVPR 2019:
||grad l(x + h z) - grad l(x)||^2 with z = sign(grad l(x)) / ||sign(grad l(x))||_2; the factor 1/h^2 is in the weight.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from .base import Step


@dataclass(frozen=True)
class Cure:
    """`h` is the finite difference's step, in the images' units (ReLU networks have no curvature at a point)."""

    weight: float
    h: float = 0.5

    def __post_init__(self) -> None:
        """Check the step."""
        if self.h <= 0:
            raise InvalidInput(f"cure: h must be above 0, got {self.h:g}")

    def __call__(self, step: Step) -> Tensor:
        """Mean over the batch of the squared norm."""
        x = step.clean.detach().requires_grad_(True)
        here = _gradient(step, x)
        direction = here.detach().sign().flatten(1)
        direction = direction / direction.norm(dim=1, keepdim=True).clamp(min=1e-12)
        there = _gradient(step, (x.detach() + self.h * direction.view_as(x)).requires_grad_(True))
        return (there - here).flatten(1).square().sum(1).mean()


def _gradient(step: Step, x: Tensor) -> Tensor:
    """Gradient of each image's own loss."""
    total = step.loss(step.network(x), step.labels) * len(x)
    (gradient,) = torch.autograd.grad(total, x, create_graph=True)
    return gradient

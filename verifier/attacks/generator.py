"""A network that makes perturbations: x + eps g(x), trained to fool (Baluja & Fischer, AAAI 2018; Sarkar et al., UPSET and
ANGRI, 2017). One hidden layer; trained on the images it is asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .base import project
from .classification import ClassificationProblem


@dataclass(frozen=True)
class Generator:
    """Options: hidden neurons, steps and rate of Adam; `universal` ignores the image, as UPSET does."""

    hidden: int = 64
    steps: int = 150
    rate: float = 5e-3
    universal: bool = False

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """Every image with its perturbation."""
        images, inputs = problem.images, problem.inputs
        size = images.shape[1]
        first = _layer(size, self.hidden, generator, images)
        second = _layer(self.hidden, size, generator, images)
        optimiser = torch.optim.Adam([*first, *second], lr=self.rate)
        assert inputs.norm is not None and inputs.radius is not None
        inside = images.mean(0, keepdim=True).expand_as(images) if self.universal else images
        reach = inputs.norm.box_radius(inputs.radius).unsqueeze(1)
        for _ in range(self.steps):
            delta = reach * torch.tanh(torch.relu(inside @ first[0] + first[1]) @ second[0] + second[1])
            if not inputs.is_box:  # scaled back into the ball, differentiably
                length = inputs.norm.length(delta).unsqueeze(1)
                delta = delta * (inputs.radius.unsqueeze(1) / length.clamp(min=1e-12)).clamp(max=1)
            x = torch.minimum(torch.maximum(images + delta, inputs.lower), inputs.upper)
            loss = problem.violation(x).clamp(min=-0.1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return project(inputs, x.detach())


def _layer(inner: int, outer: int, generator: torch.Generator, like: Tensor) -> tuple[nn.Parameter, nn.Parameter]:
    weight = torch.randn(inner, outer, generator=generator, dtype=like.dtype, device=like.device) / inner**0.5
    return nn.Parameter(weight), nn.Parameter(torch.zeros(outer, dtype=like.dtype, device=like.device))

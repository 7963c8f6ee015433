"""Contrastive loss on the embedding: same class together, other classes at least `distance` apart.

Hadsell et al., CVPR 2006, over all pairs of a batch; distances are divided by the square root of the embedding's size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from .base import Step


@dataclass(frozen=True)
class Contrastive:
    """`distance` beyond which other classes repel no more."""

    weight: float
    distance: float = 2.0

    def __post_init__(self) -> None:
        """Check the distance."""
        if self.distance <= 0:
            raise InvalidInput(f"contrastive: distance must be above 0, got {self.distance:g}")

    def __call__(self, step: Step) -> Tensor:
        """Mean over the pairs of different images."""
        points = step.embedding.flatten(1)
        points = points / points.shape[1] ** 0.5
        squared = (points.unsqueeze(0) - points.unsqueeze(1)).square().sum(-1)
        same = step.labels.unsqueeze(0) == step.labels.unsqueeze(1)
        apart = (self.distance - (squared + 1e-12).sqrt()).clamp(min=0).square()
        other = ~torch.eye(len(points), dtype=torch.bool, device=points.device)
        return torch.where(same, squared, apart)[other].mean()

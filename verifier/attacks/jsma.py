"""Jacobian saliency map attack: the most salient pixel to the end of its range, one after the other.

Papernot et al., EuroS&P 2016; without targets, towards the strongest other class. A pixel's saliency is (d target) minus (d
others), times the room it has in that direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .classification import ClassificationProblem, gradients


@dataclass(frozen=True)
class Jsma:
    """Options: most pixels that may be changed."""

    most: int = 64

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One point a problem."""
        x, inputs = problem.images.clone(), problem.inputs
        free = torch.ones_like(x, dtype=torch.bool)
        for _ in range(min(self.most, x.shape[1])):
            with torch.no_grad():
                open_ = problem.violation(x) >= 0
            if not bool(open_.any()):
                break
            logits, slopes = gradients(problem, x)
            target = problem.targets
            if target is None:
                target = logits.scatter(1, problem.labels.view(-1, 1), -torch.inf).argmax(1)
            rows = torch.arange(len(x), device=x.device)
            towards = slopes[rows, target] - slopes[rows, problem.labels]
            slack = torch.where(towards > 0, inputs.upper - x, x - inputs.lower)
            gain = (towards.abs() * slack).masked_fill(~free, -torch.inf)
            pixel = gain.argmax(1)
            end = torch.where(towards > 0, inputs.upper, inputs.lower)
            new = x.clone()
            new[rows, pixel] = end[rows, pixel]
            free[rows, pixel] = False
            x = torch.where(open_.unsqueeze(1), new, x)
        return x

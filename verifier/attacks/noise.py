"""Random points of the ball, most of them far out: what an attacker without gradients and without patience finds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Problem, project
from .pgd import ball_step


@dataclass(frozen=True)
class Noise:
    """Options: how many random directions to try for each problem."""

    tries: int = 50

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        """The try of the smallest violation."""
        inputs = problem.inputs
        center = (inputs.lower + inputs.upper) / 2 if inputs.center is None else inputs.center
        best, lowest = center, torch.full((len(problem),), torch.inf, dtype=center.dtype, device=center.device)
        for _ in range(self.tries):
            direction = torch.randn(center.shape, generator=generator, dtype=center.dtype, device=center.device)
            x = project(inputs, center + ball_step(inputs, center, direction))
            with torch.no_grad():
                value = problem.violation(x)
            better = value < lowest
            best, lowest = torch.where(better.unsqueeze(-1), x, best), torch.where(better, value, lowest)
        return best

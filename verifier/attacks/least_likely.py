"""Iterated small steps towards the class that the network thinks least likely (Kurakin et al., ICLR workshop 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .classification import ClassificationProblem
from .pgd import Pgd


@dataclass(frozen=True)
class LeastLikely:
    """Options: steps, and their length as a share of the radius."""

    steps: int = 20
    step: float = 0.125

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One point a problem; given targets are kept."""
        if problem.targets is None:
            with torch.no_grad():
                problem = problem.towards(problem.forward(problem.images).argmin(1))
        descent = Pgd(self.steps, 1, self.step, self.step, 0.0)
        return descent(problem, generator)

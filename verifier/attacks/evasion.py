"""One projected gradient step on the class's own score: min f_y(a) within the ball (Biggio et al., ECML 2013)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import project
from .classification import ClassificationProblem
from .pgd import border_step


@dataclass(frozen=True)
class Evasion:
    """No options: the step is long enough to reach the border of the ball."""

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One point a problem; with targets, one step up the target's score."""
        x = problem.images.detach().requires_grad_(True)
        logits = problem.forward(x)
        chosen = problem.labels if problem.targets is None else problem.targets
        score = logits.gather(1, chosen.unsqueeze(1)).sum()
        (gradient,) = torch.autograd.grad(score if problem.targets is None else -score, x)
        with torch.no_grad():
            return project(problem.inputs, x + border_step(problem.inputs, x, -gradient))

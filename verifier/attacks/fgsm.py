"""The fast gradient method: one step to the border of the ball, x + eps sign(gradient) for linf.

Goodfellow et al., ICLR 2015; with other norms, the steepest direction in that norm. `random_start` makes it the attack of
fast adversarial training (Wong et al., ICLR 2020): a random point first, then a step of 1.25 eps, projected.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Problem, project
from .pgd import border_step, starts


@dataclass(frozen=True)
class Fgsm:
    """Options: whether to start at a random point of the region instead of at its center."""

    random_start: bool = False

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        """One point a problem."""
        inputs = problem.inputs
        x = project(inputs, starts(inputs, self.random_start, 1, generator)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(problem.losses(x)[0].sum(), x)
        with torch.no_grad():
            step = border_step(inputs, x, -gradient)
            return project(inputs, x + (1.25 if self.random_start else 1.0) * step)

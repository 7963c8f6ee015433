"""One perturbation for many images: by a loop of DeepFool steps, or by stochastic gradient descent.

Moosavi-Dezfooli et al., CVPR 2017; Shafahi et al., AAAI 2020.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ..norms import UnitBall
from .base import project
from .classification import ClassificationProblem
from .deepfool import DeepFool


@dataclass(frozen=True)
class Perturbation:
    """One perturbation (1, n) for all images."""

    delta: Tensor

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """Every image with the perturbation, inside its own ball."""
        return project(problem.inputs, problem.images + self.delta)

    def flipped(self, signs: Tensor) -> Self:
        """The same absolute values with other signs."""
        return replace(self, delta=self.delta * signs)


@dataclass(frozen=True)
class Universal:
    """Options.

    Attributes:
        method: "deepfool" or "sgd".
        passes: over the images.
        batch: images of a step of "sgd".
        stop: fooling rate at which "deepfool" is content.
    """

    method: str = "sgd"
    passes: int = 10
    batch: int = 32
    stop: float = 0.8

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> Perturbation:
        """A perturbation within the radius of the problem (all alike)."""
        delta = self._loop(problem) if self.method == "deepfool" else self._descend(problem, generator)
        return Perturbation(delta.detach())

    def _clip(self, problem: ClassificationProblem, delta: Tensor) -> Tensor:
        inputs = problem.inputs
        assert inputs.norm is not None and inputs.radius is not None
        return inputs.norm.project(delta, inputs.radius[:1])

    def _loop(self, problem: ClassificationProblem) -> Tensor:
        x0 = problem.images
        delta = torch.zeros_like(x0[:1])
        norm = "inf" if problem.inputs.norm is None or problem.inputs.norm.unit_ball is UnitBall.BOX else "2"
        for _ in range(self.passes):
            for b in range(len(problem)):
                one = problem.rows_of(torch.tensor([b]))
                x = project(one.inputs, x0[b : b + 1] + delta)
                with torch.no_grad():
                    if float(one.violation(x)[0]) < 0:
                        continue
                step = DeepFool(norm, steps=10)._step(one, x)
                delta = self._clip(problem, delta + 1.02 * step)
            with torch.no_grad():
                if float((problem.violation(project(problem.inputs, x0 + delta)) < 0).double().mean()) >= self.stop:
                    break
        return delta

    def _descend(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        delta = torch.zeros_like(problem.images[:1])
        norm, radius = problem.inputs.norm, problem.inputs.radius
        assert norm is not None and radius is not None
        radius = radius[:1].unsqueeze(1)
        for number in range(self.passes):
            order = torch.randperm(len(problem), generator=generator, device=delta.device)
            for index in order.split(self.batch):
                part = problem.rows_of(index)
                moved = delta.detach().requires_grad_(True)
                x = torch.minimum(torch.maximum(part.images + moved, torch.zeros(())), torch.ones(()))
                # A margin that is gone counts no more: the others are still to be fooled.
                (gradient,) = torch.autograd.grad(part.losses(x)[1].clamp(min=-0.1).sum(), moved)
                with torch.no_grad():
                    step = norm.ascent(-gradient, torch.ones_like(gradient)) * radius
                    delta = self._clip(problem, delta + 0.3 * 0.8**number * step)
        return delta

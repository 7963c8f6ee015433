"""UPSET: one universal perturbation for each target class, made by a network that sees the class alone.

Sarkar, Bansal, Mahbub & Chellappa, "UPSET and ANGRI: breaking high performance image classifiers", 2017:
x' = clip(x + s R(t)), trained on the cross-entropy of t plus a term for the size of R(t); here s is the radius.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..norms import get_norm
from .classification import ClassificationProblem
from .generator import ball_of, batches, classes_of, fresh, into_box, perturbation
from .learned import best_of


@dataclass(frozen=True)
class PerTarget:
    """Perturbations (classes, n) by target class; those that were no target are 0."""

    deltas: Tensor
    targets: list[int]

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The perturbation of the problem's targets, or of the target of the smallest violation."""
        if problem.targets is not None:
            return best_of(problem, [problem.images + self.deltas[problem.targets]])
        return best_of(problem, (problem.images + self.deltas[t] for t in self.targets))

    def flipped(self, signs: Tensor) -> Self:
        """All with the same signs."""
        return replace(self, deltas=self.deltas * signs)


@dataclass(frozen=True)
class Upset:
    """Options: hidden neurons, steps, images of a step, rate of Adam, weight of the perturbation's size (in radii)."""

    hidden: int = 64
    steps: int = 600
    batch: int = 64
    rate: float = 1e-2
    fidelity: float = 0.01

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> PerTarget:
        """Lower the cross-entropy of random target classes, plus the fidelity term."""
        (norm, eps), (classes, targets), images = ball_of(problem), classes_of(problem), problem.images
        weights = fresh(classes, self.hidden, images.shape[1], generator, images)
        optimiser, one = torch.optim.Adam(weights, lr=self.rate), torch.eye(classes).to(images)
        for index, goal in batches(problem, targets, self.steps, self.batch, generator):
            delta = perturbation(weights, one, norm, eps)[goal]
            loss = F.cross_entropy(problem.forward(into_box(problem, images[index] + delta)), goal)
            loss = loss + self.fidelity * get_norm(norm).length(delta).mean() / eps
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            deltas = perturbation(weights, one, norm, eps)
        known = torch.zeros(classes, 1).to(images)
        known[targets] = 1
        return PerTarget(deltas * known, targets)

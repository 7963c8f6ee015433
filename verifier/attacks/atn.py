"""Adversarial transformation networks: a network a target class, from images to perturbed images, with reranked outputs.

Baluja & Fischer, "Learning to attack: adversarial transformation networks", AAAI 2018 (P-ATN): for target t

    beta ||x' - x||^2 + ||y' - r(y, t)||^2,    r_k = alpha max y for k = t and y_k else, normalised,

with y and y' the class probabilities of x and x': apart from the target the order of the classes is to stay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .classification import ClassificationProblem
from .generator import ball_of, classes_of, fresh, into_box, perturbation
from .learned import best_of


@dataclass(frozen=True)
class Transformer:
    """Learned networks, one a target: weights (targets, ...)."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    signs: Tensor
    targets: list[int]
    norm: str
    eps: float

    def towards(self, images: Tensor, place: int) -> Tensor:
        """Perturbations (B, n) of images (B, n) by the network of targets[place]."""
        weights = [self.w1[place], self.b1[place], self.w2[place], self.b2[place]]
        return perturbation(weights, images, self.norm, self.eps) * self.signs

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """By the network of the problem's target, or of the target of the smallest violation."""
        images, places = problem.images, range(len(self.targets))
        with torch.no_grad():
            if problem.targets is None:
                return best_of(problem, (images + self.towards(images, k) for k in places))
            moved = images.clone()
            for k in places:
                chosen = problem.targets == self.targets[k]
                moved[chosen] = images[chosen] + self.towards(images[chosen], k)
            return best_of(problem, [moved])

    def flipped(self, signs: Tensor) -> Self:
        """Every perturbation with the same signs."""
        return replace(self, signs=self.signs * signs)


@dataclass(frozen=True)
class Atn:
    """Options: hidden neurons, steps, images of a step and rate of Adam for each target; alpha and beta of the loss."""

    hidden: int = 64
    steps: int = 300
    batch: int = 64
    rate: float = 5e-3
    alpha: float = 1.5
    beta: float = 0.001

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> Transformer:
        """One network after another."""
        (norm, eps), (_, targets), images = ball_of(problem), classes_of(problem), problem.images
        made = [self._network(problem, t, norm, eps, generator) for t in targets]
        w1, b1, w2, b2 = (torch.stack([weights[k].detach() for weights in made]) for k in range(4))
        return Transformer(w1, b1, w2, b2, torch.ones_like(images[0]), targets, norm, eps)

    def _network(
        self, problem: ClassificationProblem, target: int, norm: str, eps: float, generator: torch.Generator
    ) -> list[Tensor]:
        images = problem.images[problem.labels != target]
        weights = fresh(problem.images.shape[1], self.hidden, problem.images.shape[1], generator, problem.images)
        if not len(images):
            return weights
        with torch.no_grad():
            wanted = reranked(torch.softmax(problem.forward(images), 1), target, self.alpha)
        optimiser = torch.optim.Adam(weights, lr=self.rate)
        for _ in range(self.steps):
            index = torch.randint(0, len(images), (self.batch,), generator=generator, device=generator.device)
            x = images[index]
            moved = into_box(problem, x + perturbation(weights, x, norm, eps))
            probabilities = torch.softmax(problem.forward(moved), 1)
            loss = self.beta * (moved - x).square().sum(1).mean()
            loss = loss + (probabilities - wanted[index]).square().sum(1).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return weights


def reranked(probabilities: Tensor, target: int, alpha: float) -> Tensor:
    """r(y, t): the target gets alpha times the largest probability, and all are normalised; (B, classes)."""
    wanted = probabilities.clone()
    wanted[:, target] = alpha * probabilities.amax(1)
    return wanted / wanted.sum(1, keepdim=True)

"""What generating attacks share: perturbations that networks of one hidden layer make, inside a ball by construction.

    delta = eps * tanh(relu(z W1 + b1) W2 + b2), scaled back into the ball where that is no box

ANGRI (Sarkar et al., "UPSET and ANGRI", 2017) sees the image and the target class together: z = (x, one-hot t).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..norms import get_norm
from .classification import ClassificationProblem
from .learned import best_of

Weights = list[Tensor]  # W1, b1, W2, b2


def fresh(inner: int, hidden: int, size: int, generator: torch.Generator, like: Tensor) -> Weights:
    """Weights of a network from `inner` to `size` values, small at its end, so that it begins near no perturbation."""

    def layer(before: int, after: int, scale: float) -> Weights:
        weight = torch.randn(before, after, generator=generator, dtype=like.dtype, device=like.device)
        return [(weight * scale / before**0.5).requires_grad_(True), like.new_zeros(after).requires_grad_(True)]

    return [*layer(inner, hidden, 1.0), *layer(hidden, size, 0.1)]


def perturbation(weights: Weights, z: Tensor, norm: str, eps: float) -> Tensor:
    """Perturbations (B, n) of a ball of radius eps, differentiable."""
    delta = eps * torch.tanh(torch.relu(z @ weights[0] + weights[1]) @ weights[2] + weights[3])
    if norm == "inf":
        return delta
    length = get_norm(norm).length(delta).unsqueeze(1)
    return delta * (eps / length.clamp(min=1e-12)).clamp(max=1)


def into_box(problem: ClassificationProblem, points: Tensor) -> Tensor:
    """Points (B, n) clipped to the valid range, differentiable; the radius is kept by construction."""
    return torch.minimum(torch.maximum(points, torch.zeros_like(points)), torch.ones_like(points))


def ball_of(problem: ClassificationProblem) -> tuple[str, float]:
    """Norm and radius, which all images have in common."""
    inputs = problem.inputs
    assert inputs.norm is not None and inputs.radius is not None
    return inputs.norm.name, float(inputs.radius[0])


def classes_of(problem: ClassificationProblem) -> tuple[int, list[int]]:
    """Number of classes, and those that are targets: the problem's, or all."""
    with torch.no_grad():
        classes = problem.forward(problem.images[:1]).shape[1]
    wanted = range(classes) if problem.targets is None else sorted({int(t) for t in problem.targets})
    return classes, list(wanted)


def batches(
    problem: ClassificationProblem, targets: list[int], steps: int, batch: int, generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Images' indices and target classes of every step; a target is never the image's own label."""
    device, choices = problem.labels.device, torch.tensor(targets, device=problem.labels.device)
    drawn = []
    for _ in range(steps):
        index = torch.randint(0, len(problem), (batch,), generator=generator, device=generator.device).to(device)
        pick = torch.randint(0, len(targets), (batch,), generator=generator, device=generator.device).to(device)
        goal = choices[pick]
        right = goal != problem.labels[index]
        if bool(right.any()):
            drawn.append((index[right], goal[right]))
    return drawn


@dataclass(frozen=True)
class Generator:
    """A learned network from image and target class to perturbation; without a target it tries its targets in turn."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    signs: Tensor
    classes: int
    targets: list[int]
    norm: str
    eps: float

    def towards(self, images: Tensor, goal: Tensor) -> Tensor:
        """Perturbations (B, n) of images (B, n) towards classes (B,)."""
        z = torch.cat([images, F.one_hot(goal, self.classes).to(images)], 1)
        return perturbation([self.w1, self.b1, self.w2, self.b2], z, self.norm, self.eps) * self.signs

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """Towards the problem's targets, or the target of the smallest violation."""
        images = problem.images
        with torch.no_grad():
            if problem.targets is not None:
                return best_of(problem, [images + self.towards(images, problem.targets)])
            goals = [torch.full_like(problem.labels, t) for t in self.targets]
            return best_of(problem, (images + self.towards(images, goal) for goal in goals))

    def flipped(self, signs: Tensor) -> Self:
        """Every perturbation with the same signs."""
        return replace(self, signs=self.signs * signs)


@dataclass(frozen=True)
class Angri:
    """Options: hidden neurons, steps, images of a step, rate of Adam, weight of the perturbation's size (in radii)."""

    hidden: int = 128
    steps: int = 800
    batch: int = 64
    rate: float = 3e-3
    fidelity: float = 0.01

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> Generator:
        """Lower the cross-entropy of random target classes, plus the fidelity term."""
        (norm, eps), (classes, targets), images = ball_of(problem), classes_of(problem), problem.images
        size = images.shape[1]
        weights = fresh(size + classes, self.hidden, size, generator, images)
        optimiser = torch.optim.Adam(weights, lr=self.rate)
        for index, goal in batches(problem, targets, self.steps, self.batch, generator):
            x = images[index]
            delta = perturbation(weights, torch.cat([x, F.one_hot(goal, classes).to(x)], 1), norm, eps)
            loss = F.cross_entropy(problem.forward(into_box(problem, x + delta)), goal)
            loss = loss + self.fidelity * get_norm(norm).length(delta).mean() / eps
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        w1, b1, w2, b2 = (w.detach() for w in weights)
        return Generator(w1, b1, w2, b2, torch.ones_like(images[0]), classes, targets, norm, eps)

"""How close does an attack come? Distances of re-evaluated successes, whatever the attack was made for."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import Norm
from . import ATTACKS, Attack, run
from .classification import ClassificationProblem

_ROUNDS = 9


@dataclass(frozen=True)
class Measured:
    """Points (B, n), which succeeded (B,), and seconds."""

    points: Tensor
    success: Tensor
    seconds: float

    def distance(self, images: Tensor, norm: Norm) -> Tensor:
        """Distances (B,), inf where the attack failed."""
        length = norm.length(self.points - images)
        return torch.where(self.success, length, torch.full_like(length, torch.inf))


def closest(name: str, attack: Attack, problem: ClassificationProblem, seed: int = 0) -> Measured:
    """The closest success of each image: ball-filling attacks are bisected on the radius, and every success is pulled back.

    `problem` has balls as large as the largest radius of interest; universal and spatial attacks are run once.
    """
    began = time.perf_counter()
    if ATTACKS[name].kind != "ball":
        found = run(attack, problem, seed)
        points = found.points
        if ATTACKS[name].kind == "minimal" and problem.inputs.norm is not None and problem.inputs.norm.name != "0":
            points = _pulled(problem, found.points, found.success)
        return Measured(points, found.success, time.perf_counter() - began)
    assert problem.inputs.radius is not None and problem.inputs.norm is not None
    norm = problem.inputs.norm
    high, low = problem.inputs.radius.clone(), torch.zeros_like(problem.inputs.radius)
    best, distance = problem.images.clone(), torch.full_like(high, torch.inf)
    radius = high
    for step in range(_ROUNDS):
        found = run(attack, problem.with_radius(radius), seed + step)
        points = _pulled(problem, found.points, found.success)
        length = norm.length(points - problem.images)
        better = found.success & (length < distance)
        best = torch.where(better.unsqueeze(1), points, best)
        distance = torch.where(better, length, distance)
        low = torch.where(found.success, low, torch.maximum(low, radius))
        top = torch.minimum(distance, high)
        low = torch.minimum(low, 0.98 * top)
        # Where even the whole range failed, small balls may still hold something: an attack of one long step overshoots.
        radius = torch.where(torch.isinf(distance), radius * 0.6, (low + top) / 2)
        low = torch.where(torch.isinf(distance), torch.zeros_like(low), low)
    return Measured(best, torch.isfinite(distance), time.perf_counter() - began)


def within(attack: Attack, problem: ClassificationProblem, seed: int = 0) -> Measured:
    """One run at the problem's radius."""
    began = time.perf_counter()
    found = run(attack, problem, seed)
    return Measured(found.points, found.success, time.perf_counter() - began)


def _pulled(problem: ClassificationProblem, points: Tensor, success: Tensor, steps: int = 12) -> Tensor:
    """The nearest unsafe point that bisection finds on the segment from the image."""
    center = problem.images
    safe, unsafe = torch.zeros_like(points[:, 0]), torch.ones_like(points[:, 0])
    with torch.no_grad():
        for _ in range(steps):
            middle = (safe + unsafe) / 2
            inside = problem.violation(center + middle.unsqueeze(1) * (points - center)) < 0
            unsafe, safe = torch.where(inside, middle, unsafe), torch.where(inside, safe, middle)
    return torch.where(success.unsqueeze(1), center + unsafe.unsqueeze(1) * (points - center), points)

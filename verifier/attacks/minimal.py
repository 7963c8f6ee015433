"""Small adversarial perturbations: bisection on the radius around an attack, with a line search after each success."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Attack, AttackProblem, run
from .greedy_l0 import GreedyL0
from .pgd import Pgd


@dataclass(frozen=True)
class MinimalResult:
    """Closest unsafe points found (B, n) and their distances (B,), inf where there is none."""

    points: Tensor
    distance: Tensor


def minimal(problem: AttackProblem, rounds: int = 9, attack: Attack | None = None, seed: int = 0) -> MinimalResult:
    """Shrink each problem's ball around the best point found; the problems' radii are the largest ones of interest."""
    inputs = problem.inputs
    assert inputs.norm is not None and inputs.center is not None and inputs.radius is not None
    if inputs.norm.name == "0":
        found = run(GreedyL0(), problem, seed)
        distance = inputs.norm.length(found.points - inputs.center)
        return MinimalResult(found.points, torch.where(found.success, distance, torch.inf))
    attack = attack or Pgd(steps=25, restarts=2)
    # The radius beyond which the box stops mattering: no larger ball is worth a round.
    room = torch.maximum(inputs.center - inputs.lower, inputs.upper - inputs.center)
    high = torch.minimum(inputs.radius, inputs.norm.length(room))
    best = inputs.center.clone()
    distance = torch.full_like(high, torch.inf)
    low = torch.zeros_like(high)
    radius = high
    for step in range(rounds):
        attempt = problem.with_radius(radius)
        found = run(attack, attempt, seed + step)
        points = _pull_back(problem, found.points, found.success)
        length = inputs.norm.length(points - inputs.center)
        better = found.success & (length < distance)
        best = torch.where(better.unsqueeze(-1), points, best)
        distance = torch.where(better, length, distance)
        low = torch.where(found.success, low, torch.maximum(low, radius))
        limit = torch.minimum(distance, high)
        low = torch.minimum(low, limit * 0.98)
        radius = torch.where(torch.isinf(distance), high, (low + limit) / 2)
        if step == 0 and bool(torch.isinf(distance).all()) and rounds > 3:
            attack = Pgd(steps=80, restarts=6)  # nothing at all yet: look harder before shrinking
    return MinimalResult(best, distance)


def _pull_back(problem: AttackProblem, points: Tensor, success: Tensor, steps: int = 12) -> Tensor:
    """The point nearest to the center on the segment from it that is still unsafe (bisection keeps it unsafe)."""
    center = problem.inputs.center
    assert center is not None
    safe, unsafe = torch.zeros(len(points), dtype=points.dtype, device=points.device), torch.ones_like(points[:, 0])
    with torch.no_grad():
        for _ in range(steps):
            middle = (safe + unsafe) / 2
            value = problem.violation(center + middle.unsqueeze(-1) * (points - center))
            inside = value < 0
            unsafe, safe = torch.where(inside, middle, unsafe), torch.where(inside, safe, middle)
        pulled = center + unsafe.unsqueeze(-1) * (points - center)
    return torch.where(success.unsqueeze(-1), pulled, points)

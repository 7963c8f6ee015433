"""Small adversarial perturbations: bisection on the radius around an attack, with a line search after each success."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from ..norms import UnitBall
from .base import Attack, AttackProblem, Problem, never, run
from .greedy_l0 import GreedyL0
from .pgd import Pgd

_STRONGER = Pgd(steps=80, restarts=6)


class BallProblem(Problem, Protocol):
    """A problem whose regions are balls that can be made smaller."""

    def with_radius(self, radius: Tensor) -> Self:
        """The same problems with smaller balls."""


@dataclass(frozen=True)
class MinimalResult:
    """Closest unsafe points found (B, n) and their distances (B,), inf where there is none."""

    points: Tensor
    distance: Tensor


def minimal(
    problem: AttackProblem,
    rounds: int = 9,
    attack: Pgd | None = None,
    seed: int = 0,
    first: bool = False,
    stop: Callable[[], bool] = never,
) -> MinimalResult:
    """The best of PGD at shrinking radii, or of the greedy search for norm 0; harder where the first round finds nothing.

    `first`, for norm 0: the problems are targets of one image, of which the nearest alone is wanted. Once `stop` says so what
    was found until then is returned.
    """
    inputs = problem.inputs
    assert inputs.norm is not None and inputs.center is not None
    if inputs.norm.unit_ball is UnitBall.COUNT:
        found = run(GreedyL0(first=first, stop=stop), problem, seed)
        distance = inputs.norm.length(found.points - inputs.center)
        return MinimalResult(found.points, torch.where(found.success, distance, torch.inf))
    weak, strong = replace(attack or Pgd(steps=25, restarts=2), stop=stop), replace(_STRONGER, stop=stop)
    return bisected(problem, weak, rounds, seed, stronger=strong, stop=stop)


def bisected(
    problem: BallProblem,
    attack: Attack,
    rounds: int = 9,
    seed: int = 0,
    stronger: Attack | None = None,
    retreat: float = 1.0,
    stop: Callable[[], bool] = never,
) -> MinimalResult:
    """Shrink each problem's ball around the best point found.

    Args:
        problem: balls of the largest radii of interest.
        attack: run at every radius.
        rounds: radii.
        seed: of the first round.
        stronger: takes over when the first round finds nothing anywhere.
        retreat: factor of the radius while nothing is found; below 1 for attacks of one long step, which overshoot.
        stop: looked at before every radius but the first.
    """
    inputs = problem.inputs
    assert inputs.norm is not None and inputs.center is not None and inputs.radius is not None
    # The radius beyond which the box stops mattering: no larger ball is worth a round.
    slack = torch.maximum(inputs.center - inputs.lower, inputs.upper - inputs.center)
    high = torch.minimum(inputs.radius, inputs.norm.length(slack))
    best = inputs.center.clone()
    distance = torch.full_like(high, torch.inf)
    low = torch.zeros_like(high)
    radius = high
    for step in range(rounds):
        if step and stop():
            break
        found = run(attack, problem.with_radius(radius), seed + step)
        points = pulled_back(problem, found.points, found.success)
        length = inputs.norm.length(points - inputs.center)
        better = found.success & (length < distance)
        best = torch.where(better.unsqueeze(-1), points, best)
        distance = torch.where(better, length, distance)
        low = torch.where(found.success, low, torch.maximum(low, radius))
        limit = torch.minimum(distance, high)
        low = torch.minimum(low, limit * 0.98)
        nothing = torch.isinf(distance)
        if retreat < 1:
            low = torch.where(nothing, torch.zeros_like(low), low)
        radius = torch.where(nothing, radius * retreat, (low + limit) / 2)
        if step == 0 and stronger is not None and bool(nothing.all()) and rounds > 3:
            attack = stronger  # look harder before shrinking
    return MinimalResult(best, distance)


def pulled_back(problem: Problem, points: Tensor, success: Tensor, steps: int = 12) -> Tensor:
    """The point nearest to the center on the segment from it that is still unsafe (bisection keeps it unsafe)."""
    center = problem.inputs.center
    assert center is not None
    safe, unsafe = torch.zeros(len(points), dtype=points.dtype, device=points.device), torch.ones_like(points[:, 0])
    with torch.no_grad():
        for _ in range(steps):
            middle = (safe + unsafe) / 2
            inside = problem.violation(center + middle.unsqueeze(-1) * (points - center)) < 0
            unsafe, safe = torch.where(inside, middle, unsafe), torch.where(inside, safe, middle)
        pulled = center + unsafe.unsqueeze(-1) * (points - center)
    return torch.where(success.unsqueeze(-1), pulled, points)

"""How close does an attack come? Distances of re-evaluated successes, whatever the attack was made for."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms import Norm, UnitBall
from . import ATTACKS, Attack, run
from .classification import ClassificationProblem
from .minimal import bisected, pulled_back


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

    `problem` has balls as large as the largest radius of interest; spatial attacks are run once. Attacks that are learned are
    `learned.measure`'s to judge.
    """
    assert not ATTACKS[name].learned, "learned on some images, measured on others"
    began = time.perf_counter()
    kind, norm = ATTACKS[name].kind, problem.inputs.norm
    if kind == "ball":
        small = bisected(problem, attack, seed=seed, retreat=0.6)
        return Measured(small.points, torch.isfinite(small.distance), time.perf_counter() - began)
    found = run(attack, problem, seed)
    points = found.points
    if kind == "minimal" and norm is not None and norm.unit_ball is not UnitBall.COUNT:
        points = pulled_back(problem, points, found.success)
    return Measured(points, found.success, time.perf_counter() - began)


def within(attack: Attack, problem: ClassificationProblem, seed: int = 0) -> Measured:
    """One run at the problem's radius."""
    began = time.perf_counter()
    found = run(attack, problem, seed)
    return Measured(found.points, found.success, time.perf_counter() - began)

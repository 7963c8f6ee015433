"""What engines that attack share: problems from subproblems, where descents begin, and how points are offered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..attacks import AttackProblem
from ..attacks.base import Attack
from ..attacks.greedy_l0 import GreedyL0
from ..attacks.guided import Guided
from ..attacks.pgd import Pgd
from ..specification import Region
from .state import SearchState, Subproblem

_BEYOND = (0.0, 1e-6, 1e-5, 1e-4)  # relative steps over the boundary


def late(state: SearchState, deadline: float) -> Callable[[], bool]:
    """Says when an engine's time is over."""
    return lambda: state.elapsed > deadline


def attack_problem(
    state: SearchState, subproblems: Sequence[Subproblem], regions: Sequence[Region] | None = None
) -> AttackProblem:
    """Subproblems of a state, or of several like it, for attacks; over parts of their regions where these are given."""
    regions = [subproblem.region for subproblem in subproblems] if regions is None else regions
    polytopes = [subproblem.polytope for subproblem in subproblems]
    return AttackProblem.build(state.region_bounds.float32_network, list(zip(regions, polytopes, strict=True)))


def guided(attack: Pgd | GreedyL0, subproblems: Sequence[Subproblem]) -> Attack:
    """An attack that begins at the inputs where bounds of the subproblems are lowest as well, where these are known."""
    lowest = [subproblem.lowest for subproblem in subproblems if subproblem.lowest is not None]
    if isinstance(attack, GreedyL0) or len(lowest) < len(subproblems):
        return attack
    return Guided(attack, torch.from_numpy(np.stack(lowest))[:, None])


def found_points(found: Tensor, subproblems: Sequence[Subproblem]) -> np.ndarray:
    """What attacks found, in float64: entries that they left where the center is are the center's own."""
    points = found.double().cpu().numpy()
    if any(subproblem.region.ball is None for subproblem in subproblems):
        return points
    center = np.stack(
        [subproblem.region.ball.center for subproblem in subproblems if subproblem.region.ball is not None]
    )
    return np.where(points == center.astype(np.float32), center, points)


def offer_ray(state: SearchState, point: np.ndarray, engine: str) -> None:
    """A point at the boundary as float32 sees it; where the executor disagrees, points a little farther out."""
    (disjunct,) = state.query.specification.disjuncts
    assert disjunct.region.ball is not None
    center = disjunct.region.ball.center
    for beyond in _BEYOND:
        if state.add_counterexample(center + (1 + beyond) * (point - center), engine):
            return

"""Descents that begin where bound propagation would look: at inputs where a linear bound of the violation is lowest.

Networks that were trained to be robust have flat, saturated neighbourhoods around their images: gradients there say little, and
descents from the center or from random points end far above what the ball holds. A relaxation sees the ball as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Problem
from .pgd import Pgd, starts


@dataclass(frozen=True)
class Guided:
    """PGD whose descents begin at `points` (B, k, n), brought into the regions, and at as many others as `pgd` has restarts."""

    pgd: Pgd
    points: Tensor

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        """Best point of all descents for each problem."""
        count, given = len(problem), self.points.to(problem.inputs.lower)
        group = given.shape[1] + self.pgd.restarts
        batch = problem.rows_of(torch.arange(count, device=given.device).repeat_interleave(group))
        begin = starts(batch.inputs, self.pgd.random_start, group, generator).view(count, group, -1)
        begin[:, self.pgd.restarts :] = given
        points, lowest = self.pgd.descend(batch, begin.flatten(0, 1), group)
        winner = lowest.view(count, group).argmin(-1)
        return points.view(count, group, -1)[torch.arange(count, device=points.device), winner]

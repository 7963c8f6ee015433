"""Greedy search for few changed pixels: try every pixel at both ends of its range, keep the best, repeat; then prune."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..norms.l0 import L0
from .base import AttackProblem


@dataclass(frozen=True)
class GreedyL0:
    """Options: how many pixels to try at most, and how many trial points to evaluate at once."""

    most: int = 64
    chunk: int = 8192

    def __call__(self, problem: AttackProblem, generator: torch.Generator) -> Tensor:
        """One point a problem; deterministic."""
        assert problem.inputs.center is not None and problem.inputs.radius is not None
        budgets = problem.inputs.radius.clamp(max=self.most).long().tolist()
        return torch.stack([self._one(problem.rows_of(torch.tensor([b])), budget) for b, budget in enumerate(budgets)])

    def _one(self, problem: AttackProblem, budget: int) -> Tensor:
        inputs = problem.inputs
        assert inputs.center is not None and isinstance(inputs.norm, L0)
        x, center = inputs.center[0].clone(), inputs.center[0]
        pixels = len(center) // inputs.norm.channels
        free = torch.ones(pixels, dtype=torch.bool)
        for _ in range(min(self.most, budget, pixels)):
            trials = self._trials(x, inputs, free)
            values = self._violations(problem, trials)
            x = trials[int(values.argmin())]
            changed = inputs.norm.pixels((x != center).double()) > 0
            free = ~changed
            if float(values.min()) < 0:
                break
        return self._prune(problem, x)

    def _trials(self, x: Tensor, inputs: object, free: Tensor) -> Tensor:
        """Every free pixel at each end (all its channels together, and each channel's own end by gradient-free choice)."""
        from ..bounds import InputSet

        assert isinstance(inputs, InputSet) and isinstance(inputs.norm, L0)
        index = torch.nonzero(free).squeeze(-1)
        masks = inputs.norm.spread(torch.eye(len(free), dtype=torch.bool)[index])
        low = torch.where(masks, inputs.lower[0], x)
        high = torch.where(masks, inputs.upper[0], x)
        return torch.cat([low, high])

    def _violations(self, problem: AttackProblem, points: Tensor) -> Tensor:
        values = []
        for part in points.split(self.chunk):
            repeated = problem.rows_of(torch.zeros(len(part), dtype=torch.long))
            with torch.no_grad():
                values.append(repeated.violation(part))
        return torch.cat(values)

    def _prune(self, problem: AttackProblem, x: Tensor) -> Tensor:
        """Restore pixels that turn out not to be needed."""
        inputs = problem.inputs
        assert inputs.center is not None and isinstance(inputs.norm, L0)
        center = inputs.center[0]
        while True:
            changed = torch.nonzero(inputs.norm.pixels((x != center).double()) > 0).squeeze(-1)
            if len(changed) <= 1:
                return x
            masks = inputs.norm.spread(torch.eye(len(center) // inputs.norm.channels, dtype=torch.bool)[changed])
            trials = torch.where(masks, center, x)
            values = self._violations(problem, trials)
            if float(values.min()) >= 0:
                return x
            x = trials[int(values.argmin())]

"""Greedy search for few changed pixels: try every pixel at the ends of its range, keep the best, repeat; then prune."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..norms.l0 import L0
from .base import Problem, never


@dataclass(frozen=True)
class GreedyL0:
    """Options.

    Attributes:
        most: pixels to change at most.
        chunk: trial points that are evaluated at once.
        first: stop everywhere as soon as one problem is solved, for the targets of one image.
        stop: once it says so nothing more is changed.
    """

    most: int = 64
    chunk: int = 8192
    first: bool = False
    stop: Callable[[], bool] = field(default=never, compare=False)

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        """One point a problem; deterministic."""
        inputs = problem.inputs
        assert inputs.center is not None and inputs.radius is not None and isinstance(inputs.norm, L0)
        pixels = inputs.center.shape[1] // inputs.norm.channels
        budget = torch.floor(inputs.radius.clamp(max=min(self.most, pixels)) + 1e-9).long()
        x = inputs.center.clone()
        solved = torch.zeros_like(budget, dtype=torch.bool)
        for step in range(int(budget.max())):
            index = torch.nonzero(~solved & (budget > step)).squeeze(-1)
            if len(index) == 0 or (self.first and bool(solved.any())) or self.stop():
                break
            for part in index.split(max(1, self.chunk // (pixels * len(_ends(inputs.norm.channels))))):
                x[part], value = self._changed(problem.rows_of(part), x[part])
                solved[part] = value < 0
        for b in torch.nonzero(solved).squeeze(-1).tolist() if not self.stop() else ():
            x[b] = self._pruned(problem.rows_of(torch.tensor([b], device=x.device)), x[b])
        return x

    def _changed(self, problem: Problem, x: Tensor) -> tuple[Tensor, Tensor]:
        """Each point (B, n) with the one pixel changed, of those that are not yet, that lowers the violation most; (B,) too."""
        inputs = problem.inputs
        assert inputs.center is not None and isinstance(inputs.norm, L0)
        norm, count = inputs.norm, len(x)
        masks = norm.spread(torch.eye(x.shape[1] // norm.channels, dtype=torch.bool, device=x.device))
        trials = []
        for ends in _ends(norm.channels):
            high = torch.tensor(ends, device=x.device).repeat_interleave(len(masks))
            moved = torch.where(high, inputs.upper, inputs.lower)
            trials.append(torch.where(masks, moved.unsqueeze(1), x.unsqueeze(1)))
        points = torch.cat(trials, 1)
        values = self._violations(problem, points.flatten(0, 1), points.shape[1]).view(count, -1)
        free = norm.pixels((x != inputs.center).double()) == 0
        values = values.masked_fill(~free.repeat(1, len(trials)), torch.inf)
        lowest, best = values.min(1)
        return points[torch.arange(count, device=x.device), best], lowest

    def _violations(self, problem: Problem, points: Tensor, each: int) -> Tensor:
        """Of points (B * each, n), those of one problem after those of another."""
        owner = torch.arange(len(problem), device=points.device).repeat_interleave(each)
        parts = zip(owner.split(self.chunk), points.split(self.chunk), strict=True)
        with torch.no_grad():
            return torch.cat([problem.rows_of(index).violation(part) for index, part in parts])

    def _pruned(self, problem: Problem, x: Tensor) -> Tensor:
        """A point (n,) with the pixels restored that turn out not to be needed."""
        inputs = problem.inputs
        assert inputs.center is not None and isinstance(inputs.norm, L0)
        center = inputs.center[0]
        while True:
            changed = torch.nonzero(inputs.norm.pixels((x != center).double()) > 0).squeeze(-1)
            if len(changed) <= 1:
                return x
            eye = torch.eye(len(center) // inputs.norm.channels, dtype=torch.bool, device=x.device)
            trials = torch.where(inputs.norm.spread(eye[changed]), center, x)
            values = self._violations(problem, trials, len(trials))
            if float(values.min()) >= 0:
                return x
            x = trials[int(values.argmin())]


def _ends(channels: int) -> list[tuple[bool, ...]]:
    """Which channels of a pixel go to their upper ends: every choice where there are few, else all or none."""
    if channels <= 4:
        return list(itertools.product((False, True), repeat=channels))
    return [(False,) * channels, (True,) * channels]

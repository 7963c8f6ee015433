"""Carlini & Wagner (IEEE S&P 2017): distance plus a hinge on the margin, the weight found by bisection.

l2: x = (1 + tanh w) / 2 keeps the valid range. linf: only what exceeds a threshold tau is penalised, and tau falls. l0: the
l2 attack over and over, each time without the pixels that mattered least.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .classification import ClassificationProblem

_EDGE = 0.999  # pixels at the end of their range start a little inside, where tanh still has a slope


@dataclass(frozen=True)
class CarliniWagner:
    """Options.

    Attributes:
        norm: "2", "inf" or "0".
        confidence: margin by which the adversarial class must win.
        rounds: of the bisection on the weight.
        steps: of Adam a round.
        rate: of Adam.
        weight: the first one.
    """

    norm: str = "2"
    confidence: float = 0.0
    rounds: int = 7
    steps: int = 120
    rate: float = 0.05
    weight: float = 1.0

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The closest success of each problem, or its last point."""
        free = torch.ones_like(problem.images, dtype=torch.bool)
        if self.norm == "2":
            return self._minimise(problem, free, None)[0]
        if self.norm == "inf":
            return self._infinity(problem, free)
        return self._zero(problem, free)

    def _minimise(self, problem: ClassificationProblem, free: Tensor, tau: Tensor | None) -> tuple[Tensor, Tensor]:
        """Points (B, n) and which succeeded; `free` (B, n) may move, `tau` (B,) is what linf does not penalise."""
        x0, inputs = problem.images, problem.inputs
        width = (inputs.upper - inputs.lower).clamp(min=1e-12)
        start = torch.atanh(((x0 - inputs.lower) / width * 2 - 1).clamp(-_EDGE, _EDGE))
        best, shortest = x0.clone(), torch.full_like(x0[:, 0], torch.inf)
        weight = torch.full_like(shortest, self.weight)
        low, high = torch.zeros_like(weight), torch.full_like(weight, torch.inf)
        last = x0
        for _ in range(self.rounds):
            w = start.clone().requires_grad_(True)
            optimiser = torch.optim.Adam([w], lr=self.rate)
            succeeded = torch.zeros_like(weight, dtype=torch.bool)
            for _ in range(self.steps):
                x = torch.where(free, inputs.lower + width * (torch.tanh(w) + 1) / 2, x0)
                margin = problem.violation(x)
                delta = x - x0
                size = delta.square().sum(1) if tau is None else (delta.abs() - tau.unsqueeze(1)).clamp(min=0).sum(1)
                loss = size + weight * (margin + self.confidence).clamp(min=0)
                optimiser.zero_grad()
                loss.sum().backward()
                with torch.no_grad():
                    done = margin < -self.confidence
                    length = delta.norm(dim=1) if tau is None else delta.abs().amax(1)
                    better = done & (length < shortest)
                    best = torch.where(better.unsqueeze(1), x, best)
                    shortest = torch.where(better, length, shortest)
                    succeeded |= done
                    last = x.detach()
                optimiser.step()
            high = torch.where(succeeded, torch.minimum(high, weight), high)
            low = torch.where(succeeded, low, torch.maximum(low, weight))
            weight = torch.where(torch.isinf(high), weight * 10, (low + high.clamp(max=1e12)) / 2)
        found = torch.isfinite(shortest)
        return torch.where(found.unsqueeze(1), best, last), found

    def _infinity(self, problem: ClassificationProblem, free: Tensor) -> Tensor:
        x0 = problem.images
        tau = torch.full_like(x0[:, 0], 0.5)
        best, smallest = x0.clone(), torch.full_like(tau, torch.inf)
        for _ in range(10):
            x, found = self._minimise(problem, free, tau)
            largest = (x - x0).abs().amax(1)
            better = found & (largest < smallest)
            best = torch.where((better | ~torch.isfinite(smallest)).unsqueeze(1), x, best)
            smallest = torch.where(better, largest, smallest)
            tau = torch.minimum(smallest, tau) * 0.8
        return best

    def _zero(self, problem: ClassificationProblem, free: Tensor) -> Tensor:
        x0, best = problem.images, None
        while True:
            x, found = self._minimise(problem, free, None)
            best = x if best is None else torch.where(found.unsqueeze(1), x, best)
            if not bool(found.any()):
                return best
            point = x.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(problem.violation(point).sum(), point)
            matters = ((x - x0) * gradient).abs().masked_fill(~free, torch.inf)
            moved = free & (x != x0)
            drop = (moved.sum(1) // 4).clamp(min=1)  # a quarter of the pixels at a time
            order = matters.argsort(1).argsort(1)
            fewer = free & (order >= drop.unsqueeze(1))
            free = torch.where(found.unsqueeze(1), fewer, torch.zeros_like(free))
            if not bool(free.any()):
                return best

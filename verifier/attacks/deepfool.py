"""DeepFool: the closest boundary of the linearised classifier, again and again.

Moosavi-Dezfooli et al., CVPR 2016. With w_k, f_k differences of gradients and logits against the label, the step is
|f_k| / ||w_k||_2^2 w_k in l2 and |f_k| / ||w_k||_1 sign(w_k) in linf, for the nearest k, relative to the valid range.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import project
from .classification import ClassificationProblem, gradients


@dataclass(frozen=True)
class DeepFool:
    """Options: the norm it minimises ("2" or "inf"), iterations, and by how much the boundary is overshot."""

    norm: str = "2"
    steps: int = 50
    overshoot: float = 0.02

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One point a problem."""
        x0 = problem.images
        moved, x = torch.zeros_like(x0), x0.clone()
        for _ in range(self.steps):
            with torch.no_grad():
                open_ = problem.violation(x) >= 0
            if not bool(open_.any()):
                break
            index = torch.nonzero(open_).squeeze(-1)
            moved[index] = moved[index] + self._step(problem.rows_of(index), x[index])
            x = torch.where(open_.unsqueeze(-1), project(problem.inputs, x0 + (1 + self.overshoot) * moved), x)
            moved = torch.where(open_.unsqueeze(-1), (x - x0) / (1 + self.overshoot), moved)
        return x

    def _step(self, problem: ClassificationProblem, x: Tensor) -> Tensor:
        logits, slopes = gradients(problem, x)
        labels = problem.labels.view(-1, 1)
        f = logits - logits.gather(1, labels) - problem.confidence
        w = slopes - slopes.gather(1, labels.unsqueeze(-1).expand(-1, 1, x.shape[1]))
        inside, outside = problem.inputs.lower.unsqueeze(1), problem.inputs.upper.unsqueeze(1)
        at = x.unsqueeze(1)
        stuck = ((w > 0) & (at >= outside)) | ((w < 0) & (at <= inside))
        w = torch.where(stuck, torch.zeros_like(w), w)  # what sits at the edge of the valid range cannot move on
        size = w.square().sum(-1).sqrt() if self.norm == "2" else w.abs().sum(-1)
        distance = f.abs() / size.clamp(min=1e-12)
        distance = distance.scatter(1, labels, torch.inf)
        if problem.targets is not None:
            only = torch.full_like(distance, torch.inf)
            distance = only.scatter(1, problem.targets.view(-1, 1), distance.gather(1, problem.targets.view(-1, 1)))
        nearest = distance.argmin(1)
        rows = torch.arange(len(x), device=x.device)
        direction, length = w[rows, nearest], (distance[rows, nearest] + 1e-6).unsqueeze(-1)
        if self.norm == "2":
            scale: Tensor = direction.norm(dim=1, keepdim=True)
            return length * direction / scale.clamp(min=1e-12)
        return length * direction.sign()

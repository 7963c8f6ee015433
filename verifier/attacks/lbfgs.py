"""Box-constrained L-BFGS on c ||a - x||^2 plus the loss, c by bisection (Szegedy et al., ICLR 2014)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .classification import ClassificationProblem


@dataclass(frozen=True)
class Lbfgs:
    """Options: rounds of the bisection, iterations of each run."""

    rounds: int = 8
    steps: int = 30

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One image after the other, by scipy; the closest success, or the last point.

        Without targets, towards the runner-up: the label's own cross-entropy has no slope where the network is sure.
        """
        problem = replace(problem, loss="cross-entropy")
        if problem.targets is None:
            with torch.no_grad():
                logits = problem.forward(problem.images)
            problem = problem.towards(logits.scatter(1, problem.labels.view(-1, 1), -torch.inf).argmax(1))
        rows = [self._one(problem.rows_of(torch.tensor([b]))) for b in range(len(problem))]
        return torch.stack(rows)

    def _one(self, problem: ClassificationProblem) -> Tensor:
        from scipy.optimize import minimize

        x0 = problem.images[0]
        start = x0.double().cpu().numpy()
        limits = list(zip(problem.inputs.lower[0].tolist(), problem.inputs.upper[0].tolist(), strict=True))
        best, shortest, last = x0, np.inf, x0
        low, high, weight = 0.0, np.inf, 1.0
        for _ in range(self.rounds):

            def value(a: np.ndarray, c: float = weight) -> tuple[float, np.ndarray]:
                x = torch.from_numpy(a).to(x0).unsqueeze(0).requires_grad_(True)
                total = c * (x - x0).square().sum() + problem.losses(x)[0].sum()
                (gradient,) = torch.autograd.grad(total, x)
                return float(total.detach()), gradient[0].double().cpu().numpy()

            found = minimize(value, start, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": self.steps})
            last = torch.from_numpy(found.x).to(x0)
            with torch.no_grad():
                success = float(problem.violation(last.unsqueeze(0))[0]) < 0
            length = float((last - x0).norm())
            if success:
                low = weight  # a larger weight stays closer to the image
                if length < shortest:
                    best, shortest = last, length
            else:
                high = weight
            weight = weight * 4 if np.isinf(high) else weight / 4 if low == 0 else (low + high) / 2
        return best if np.isfinite(shortest) else last

"""One pixel, found by differential evolution without gradients (Su et al., IEEE Trans. Evol. Comp. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .classification import ClassificationProblem


@dataclass(frozen=True)
class OnePixel:
    """Options: generations, members of the population, colour channels that make a pixel."""

    generations: int = 20
    population: int = 10
    channels: int = 1

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """One image after the other, by scipy."""
        seed = int(torch.randint(0, 2**31 - 1, (1,), generator=generator, device=generator.device))
        return torch.stack([self._one(problem.rows_of(torch.tensor([b])), seed + b) for b in range(len(problem))])

    def _one(self, problem: ClassificationProblem, seed: int) -> Tensor:
        from scipy.optimize import differential_evolution

        x0, inputs = problem.images[0], problem.inputs
        pixels = len(x0) // self.channels

        def points(members: np.ndarray) -> Tensor:
            """(members, n) from (1 + channels, members)."""
            x = x0.repeat(members.shape[1], 1)
            place = torch.from_numpy(np.minimum(members[0], pixels - 1).astype(np.int64))
            for c in range(self.channels):
                index = place + c * pixels
                share = torch.from_numpy(members[1 + c]).to(x0)
                low, high = inputs.lower[0][index], inputs.upper[0][index]
                x[torch.arange(len(x)), index] = low + share * (high - low)
            return x

        def value(members: np.ndarray) -> np.ndarray:
            members = members.reshape(1 + self.channels, -1)
            with torch.no_grad():
                repeated = problem.rows_of(torch.zeros(members.shape[1], dtype=torch.long))
                margins: np.ndarray = repeated.violation(points(members)).double().cpu().numpy()
            return margins

        limits = [(0, pixels)] + [(0, 1)] * self.channels
        found = differential_evolution(
            value,
            limits,
            maxiter=self.generations,
            popsize=self.population,
            rng=np.random.default_rng(seed),
            polish=False,
            vectorized=True,
            updating="deferred",
            callback=lambda intermediate_result: bool(intermediate_result.fun < 0),
        )
        return points(found.x.reshape(-1, 1))[0]

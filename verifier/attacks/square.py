"""Square attack: random squares pushed to the border of the linf ball, kept where the margin falls; no gradients.

Andriushchenko et al., ECCV 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import project
from .classification import ClassificationProblem


@dataclass(frozen=True)
class Square:
    """Options: shape of an image, queries, share of the image that the first squares cover."""

    image: tuple[int, int, int]
    queries: int = 500
    share: float = 0.3

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The point of the lowest margin after all queries."""
        assert problem.inputs.is_box and problem.inputs.radius is not None, "the squares are those of the linf ball"
        channels, height, width = self.image
        count, x0 = len(problem), problem.images

        def signs(*shape: int) -> Tensor:
            return torch.randint(0, 2, shape, generator=generator, device=x0.device).to(x0) * 2 - 1

        radius = problem.inputs.radius.view(-1, 1, 1, 1)
        best = project(
            problem.inputs, x0 + (radius * signs(count, channels, 1, width)).expand(-1, -1, height, -1).flatten(1)
        )
        with torch.no_grad():
            lowest = problem.violation(best)
            for query in range(self.queries):
                side = self._side(query, height, width)
                top = int(torch.randint(0, height - side + 1, (1,), generator=generator, device=generator.device))
                left = int(torch.randint(0, width - side + 1, (1,), generator=generator, device=generator.device))
                x = best.unflatten(1, self.image).clone()
                patch = x0.unflatten(1, self.image)[:, :, top : top + side, left : left + side]
                x[:, :, top : top + side, left : left + side] = patch + radius * signs(count, channels, 1, 1)
                moved = project(problem.inputs, x.flatten(1))
                value = problem.violation(moved)
                better = value < lowest
                best, lowest = torch.where(better.unsqueeze(1), moved, best), torch.where(better, value, lowest)
                if bool((lowest < 0).all()):
                    break
        return best

    def _side(self, query: int, height: int, width: int) -> int:
        """Squares shrink as the queries go on."""
        halvings = sum(
            query * 10_000 > stone * self.queries for stone in (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
        )
        area = self.share * height * width / 2**halvings
        side: int = min(round(area**0.5), height, width)
        return max(1, side)

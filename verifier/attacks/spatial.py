"""Spatial transformations: a flow of small displacements, or one rotation and translation of the whole image.

Xiao et al., "Spatially transformed adversarial examples", ICLR 2018 (margin plus tau times the flow's total variation);
Engstrom et al., ICML 2019 (grid). Distances in a norm say little about them; their size is the displacement in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .classification import ClassificationProblem


@dataclass(frozen=True)
class Flow:
    """Options: shape of an image, weight of smoothness, steps and rate of Adam."""

    image: tuple[int, int, int]
    tau: float = 0.05
    steps: int = 150
    rate: float = 0.02

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The transformed images that fool with the smoothest flow, or the last ones."""
        images = problem.images.unflatten(1, self.image)
        count, _, height, width = images.shape
        base = _grid(height, width, images).expand(count, -1, -1, -1)
        flow = torch.zeros(count, height, width, 2, dtype=images.dtype, device=images.device, requires_grad=True)
        best, roughest = problem.images.clone(), torch.full((count,), torch.inf, dtype=images.dtype)
        optimiser = torch.optim.Adam([flow], lr=self.rate)
        for _ in range(self.steps):
            x = F.grid_sample(images, base + flow, padding_mode="border", align_corners=True).flatten(1)
            margin = problem.violation(x)
            rough = _variation(flow)
            loss = (margin + 0.01).clamp(min=0) + self.tau * rough
            with torch.no_grad():
                better = (margin < 0) & (rough < roughest)
                roughest = torch.where(better, rough, roughest)
                best = torch.where((better | ~torch.isfinite(roughest)).unsqueeze(1), x, best)
            optimiser.zero_grad()
            loss.sum().backward()
            optimiser.step()
        return best.detach()


@dataclass(frozen=True)
class Rotation:
    """Options: shape of an image, largest angle in degrees and shift in pixels, steps of the grid on each side."""

    image: tuple[int, int, int]
    angle: float = 30.0
    shift: float = 1.5
    side: int = 3

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The transformation of the smallest margin."""
        images = problem.images.unflatten(1, self.image)
        height, width = self.image[1:]
        best, lowest = problem.images, torch.full_like(problem.images[:, 0], torch.inf)
        shares = [k / self.side for k in range(-self.side, self.side + 1)]
        for turn in shares:
            for right in shares:
                for down in shares:
                    radians = math.radians(turn * self.angle)
                    cos, sin = math.cos(radians), math.sin(radians)
                    x_shift, y_shift = 2 * right * self.shift / width, 2 * down * self.shift / height
                    matrix = images.new_tensor([[cos, -sin, x_shift], [sin, cos, y_shift]])
                    grid = F.affine_grid(matrix.expand(len(images), -1, -1), list(images.shape), align_corners=True)
                    x = F.grid_sample(images, grid, align_corners=True).flatten(1)
                    with torch.no_grad():
                        value = problem.violation(x)
                    better = value < lowest
                    best, lowest = torch.where(better.unsqueeze(1), x, best), torch.where(better, value, lowest)
        return best


def _grid(height: int, width: int, like: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, height, dtype=like.dtype, device=like.device)
    columns = torch.linspace(-1, 1, width, dtype=like.dtype, device=like.device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), -1).unsqueeze(0)


def _variation(flow: Tensor) -> Tensor:
    """Total variation of a flow (B, height, width, 2), (B,)."""
    down = (flow[:, 1:] - flow[:, :-1]).square().sum(-1)
    right = (flow[:, :, 1:] - flow[:, :, :-1]).square().sum(-1)
    return (down + 1e-12).sqrt().sum((1, 2)) + (right + 1e-12).sqrt().sum((1, 2))

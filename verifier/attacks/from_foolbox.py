"""Attacks of foolbox (Rauber et al., JOSS 2020; extra `[attacks]`) on our problems, to check ours against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InvalidInput, how_to_install
from .classification import ClassificationProblem


class Wrapped(nn.Module):
    """A problem's network as a module."""

    def __init__(self, problem: ClassificationProblem) -> None:
        """In evaluation mode, as both packages demand."""
        super().__init__()
        self.problem = problem
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) of points (B, n) in the points' own precision."""
        return self.problem.forward(x.to(self.problem.images.dtype)).to(x.dtype)


def by_radius(problem: ClassificationProblem) -> list[tuple[float, Tensor]]:
    """Radii with the positions of their problems: both packages know one radius a run."""
    radius = problem.inputs.radius
    assert radius is not None
    return [(float(r), (radius == r).nonzero().squeeze(1)) for r in radius.unique()]


@dataclass(frozen=True)
class Foolbox:
    """Options: foolbox's class by norm, its arguments, and whether it fills a ball of given radius."""

    classes: dict[str, str]
    arguments: dict[str, Any] = field(default_factory=dict)
    ball: bool = False

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """foolbox's points; where it gives up, the images.

        Raises:
            InvalidInput: foolbox is not installed.
        """
        try:
            import foolbox
        except ImportError as error:
            raise InvalidInput(f"attacks of foolbox need: {how_to_install('attacks')}") from error
        norm = problem.inputs.norm
        assert norm is not None
        attack = getattr(foolbox.attacks, self.classes[norm.name])(**self.arguments)
        device = problem.images.device
        model = foolbox.PyTorchModel(Wrapped(problem), bounds=(0, 1), device=device)
        points = problem.images.clone()
        groups = by_radius(problem) if self.ball else [(None, torch.arange(len(points), device=device))]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(generator.initial_seed())
            for radius, rows in groups:
                if problem.targets is None:
                    goal = foolbox.criteria.Misclassification(problem.labels[rows])
                else:
                    goal = foolbox.criteria.TargetedMisclassification(problem.targets[rows])
                found, _, success = attack(model, problem.images[rows], goal, epsilons=radius)
                points[rows] = torch.where(success.unsqueeze(1), found.detach(), points[rows])
        return points

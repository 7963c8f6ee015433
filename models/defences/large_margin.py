"""Max-margin training: images are to be at least so far from the boundary of the linearised network.

Elsayed et al., "Large margin deep networks for classification", NeurIPS 2018: the distance to the boundary between the label and
the nearest other class k is (f_y - f_k) / ||grad (f_y - f_k)||_q, q dual to the norm of perturbations.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from .base import Step

DUAL = {"inf": 1.0, "2": 2.0, "1": float("inf")}


@dataclass(frozen=True)
class LargeMargin:
    """`distance` that is asked for, in `norm`."""

    weight: float
    distance: float
    norm: str = "inf"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.norm not in DUAL:
            raise InvalidInput(f"large-margin: norm is one of {', '.join(DUAL)}, got '{self.norm}'")
        if self.distance <= 0:
            raise InvalidInput(f"large-margin: distance must be above 0, got {self.distance:g}")

    def __call__(self, step: Step) -> Tensor:
        """Mean over the batch of what is missing, as a share of the distance."""
        return (1 - linear_distance(step, self.norm) / self.distance).clamp(min=0).mean()


def linear_distance(step: Step, norm: str) -> Tensor:
    """Signed distances (B,) to the boundary of the linearised network between the label and the strongest other class."""
    x = step.clean.detach().requires_grad_(True)
    logits = step.network(x)
    own = logits.gather(1, step.labels.unsqueeze(1)).squeeze(1)
    other = logits.scatter(1, step.labels.unsqueeze(1), -torch.inf).amax(1)
    gap = own - other
    (slope,) = torch.autograd.grad(gap.sum(), x, create_graph=True)
    length = torch.linalg.vector_norm(slope.flatten(1), DUAL[norm], dim=1)
    distance: Tensor = gap / (length + 1e-6)
    return distance

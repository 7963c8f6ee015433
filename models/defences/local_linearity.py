"""Local linearity: the loss near an image is to be its tangent, and the tangent flat.

Qin et al., "Adversarial robustness through local linearization", NeurIPS 2019: gamma = max over ||d||_inf <= eps of
|l(x + d) - l(x) - d . grad l(x)|, plus |d . grad l(x)| at the d that attains it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from .base import Step


@dataclass(frozen=True)
class LocalLinearity:
    """`eps` is the radius in norm inf, `steps` those of the search for d, `flat` the weight of the tangent's own change."""

    weight: float
    eps: float
    steps: int = 3
    flat: float = 1.0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.eps <= 0 or self.steps < 1 or self.flat < 0:
            raise InvalidInput("local-linearity: needs eps > 0, steps >= 1 and flat >= 0")

    def __call__(self, step: Step) -> Tensor:
        """Mean over the batch; the search itself is not differentiated."""
        x = step.clean.detach().requires_grad_(True)
        here = _losses(step, x)
        (slope,) = torch.autograd.grad(here.sum(), x, create_graph=True)
        d = self.eps * (2 * torch.rand_like(x) - 1)
        fixed, value = slope.detach(), here.detach()
        for _ in range(self.steps):
            moved = d.detach().requires_grad_(True)
            gap = (_losses(step, x.detach() + moved) - value - (moved * fixed).flatten(1).sum(1)).abs()
            (up,) = torch.autograd.grad(gap.sum(), moved)
            d = (d + self.eps / 2 * up.sign()).clamp(-self.eps, self.eps)
        d = d.detach()
        along = (d * slope).flatten(1).sum(1)
        gap = (_losses(step, x + d) - here - along).abs()
        return (gap + self.flat * along.abs()).mean()


def _losses(step: Step, x: Tensor) -> Tensor:
    """Cross-entropy of each image."""
    return F.cross_entropy(step.network(x), step.labels, reduction="none")

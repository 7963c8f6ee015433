"""Perturbations within subspaces, random or structured: attacked here, exact in `verifier.subspace`.

For random subspaces of dimension m, sqrt(m / d) ||r_S|| / ||r*|| is about 1 where the boundary is flat at the scale of the
perturbations (Fawzi et al., NeurIPS 2016, theorem 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from advverify.verifier.attacks.classification import margins

Forward = Callable[[Tensor], Tensor]


def random_subspace(size: int, dimension: int, generator: torch.Generator) -> Tensor:
    """An orthonormal basis (size, dimension), uniform."""
    q, r = torch.linalg.qr(torch.randn(size, dimension, generator=generator, dtype=torch.float64))
    basis: Tensor = q * torch.sign(torch.diagonal(r))
    return basis


def distance_within(
    forward: Forward, images: Tensor, labels: Tensor, basis: Tensor, steps: int = 60, overshoot: float = 1e-4
) -> Tensor:
    """l2 distances (N,) of the nearest misclassified points x + D v that DeepFool within the span, pulled back by bisection
    and refined along the boundary, finds; inf where none. The valid range is not imposed.

    `basis` is (n, m) for all images, or (N, n, m), one for each.
    """
    codes = torch.zeros(len(images), basis.shape[-1], dtype=images.dtype)
    best = torch.full((len(images),), torch.inf, dtype=images.dtype)
    for _ in range(steps):
        v = codes.detach().requires_grad_(True)
        logits = forward(images + _spread(basis, v))
        margin = margins(logits, labels)
        with torch.no_grad():
            length = codes.norm(dim=1)
            best = torch.where((margin < 0) & (length < best), length, best)
        (slope,) = torch.autograd.grad(margin.sum(), v)
        with torch.no_grad():
            size = slope.square().sum(1, keepdim=True).clamp(min=1e-12)
            # The nearest point of the linearised boundary to the origin of the span, not to the present point.
            target = (margin.unsqueeze(1) - (slope * codes).sum(1, keepdim=True)) / size
            codes = 0.5 * codes - 0.5 * target * slope * (1 + overshoot)
            codes = torch.where((margin < 0).unsqueeze(1), codes, codes - overshoot * slope / size.sqrt())
            codes = _pulled(forward, images, labels, basis, codes)
    return best


def _spread(basis: Tensor, codes: Tensor) -> Tensor:
    """D v, (N, n)."""
    if basis.ndim == 2:
        return codes @ basis.T
    return torch.einsum("inm,im->in", basis, codes)


def _pulled(forward: Forward, images: Tensor, labels: Tensor, basis: Tensor, codes: Tensor) -> Tensor:
    """Along the ray through the codes, to just behind the boundary where it is within three times their length."""
    low, high = torch.zeros_like(codes[:, 0]), torch.full_like(codes[:, 0], 3.0)
    moved = _spread(basis, codes)

    def fooled(scale: Tensor) -> Tensor:
        return margins(forward(images + scale.unsqueeze(1) * moved), labels) < 0

    reached = fooled(high)
    for _ in range(30):
        middle = (low + high) / 2
        inside = fooled(middle)
        low, high = torch.where(inside, low, middle), torch.where(inside, middle, high)
    return torch.where(reached.unsqueeze(1), high.unsqueeze(1) * codes, codes)


@dataclass(frozen=True)
class SubspaceLaw:
    """sqrt(m / d) r_S / r* for each dimension m: median and quartiles over images and subspaces.

    In few dimensions the ratio has a heavy tail (a subspace may miss every normal), so its mean says little.
    """

    dimensions: tuple[int, ...]
    median: np.ndarray
    quartiles: np.ndarray


def subspace_law(
    forward: Forward,
    images: Tensor,
    labels: Tensor,
    dimensions: tuple[int, ...],
    generator: torch.Generator,
    draws: int = 3,
) -> SubspaceLaw:
    """`draws` fresh random subspaces an image and dimension."""
    size = images.shape[1]
    whole = distance_within(forward, images, labels, torch.eye(size, dtype=images.dtype))
    found = []
    for m in dimensions:
        ratios = []
        for _ in range(draws):
            bases = torch.stack([random_subspace(size, m, generator) for _ in images]).to(images)
            ratios.append((m / size) ** 0.5 * distance_within(forward, images, labels, bases) / whole)
        found.append(np.quantile(torch.cat(ratios).numpy(), [0.25, 0.5, 0.75], method="nearest"))
    quantiles = np.array(found)
    return SubspaceLaw(dimensions, quantiles[:, 1], quantiles[:, [0, 2]])

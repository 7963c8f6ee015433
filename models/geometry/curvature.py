"""Curvature by finite differences at a stated step h: a ReLU network has none at a point.

Principal curvatures of a level set are the eigenvalues of P H P / ||grad F|| on the tangent space, P = I - n n^T; the profile
of Moosavi-Dezfooli et al. (CVPR 2019) is the mean sorted spectrum of the loss's Hessian.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .boundary import gradient, unit

Value = Callable[[Tensor], Tensor]


def finite_hessian(value: Value, x: Tensor, h: float) -> Tensor:
    """Symmetric (n, n) at one point (n,): central differences of gradients along the axes."""
    size = len(x)
    steps = h * torch.eye(size, dtype=x.dtype)
    slope = (gradient(value, x + steps) - gradient(value, x - steps)) / (2 * h)
    return (slope + slope.T) / 2


def principal_curvatures(value: Value, x: Tensor, h: float) -> Tensor:
    """Sorted (n - 1,) curvatures at x (n,) of the level set of `value` through x, positive where {value <= c} is convex."""
    slope = gradient(value, x.unsqueeze(0))[0]
    normal = unit(slope)
    tangent = torch.linalg.svd(normal.unsqueeze(0), full_matrices=True).Vh[1:].T  # orthonormal, (n, n - 1)
    inside = tangent.T @ finite_hessian(value, x, h) @ tangent
    curvatures: Tensor = torch.linalg.eigvalsh(inside / slope.norm())
    return curvatures


def curvature_profile(hessians: Sequence[Tensor]) -> Tensor:
    """Mean over points of the sorted eigenvalues (n,) of their Hessians (n, n)."""
    return torch.stack([torch.linalg.eigvalsh(hessian) for hessian in hessians]).mean(0)


def shared_curved_directions(
    value_of: Callable[[int], Value], points: Tensor, hessians: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Eigenvalues (n,) and eigenvectors (n, n) in columns, largest first, of the mean of P H P / ||grad|| over points (N, n)
    with their Hessians; `value_of(i)` is point i's function.

    Moosavi-Dezfooli et al., "Robustness of classifiers to universal perturbations", ICLR 2018.
    """
    size = points.shape[1]
    mean = torch.zeros(size, size, dtype=points.dtype)
    for i, x in enumerate(points):
        slope = gradient(value_of(i), x.unsqueeze(0))[0]
        normal = unit(slope)
        project = torch.eye(size, dtype=points.dtype) - torch.outer(normal, normal)
        mean += project @ hessians[i] @ project / slope.norm().clamp(min=1e-12) / len(points)
    values, vectors = torch.linalg.eigh(mean)
    return values.flip(0), vectors.flip(1)

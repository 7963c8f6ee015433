"""Linear maps given by a weight alone: a matrix (out, in), or a kernel (out, in, k, k) of a convolution that keeps the
image's size. What holds for both is written once, so that every residual block exists dense and convolutional.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GRID = 64  # frequencies an axis


def apply(weight: Tensor, z: Tensor, bias: Tensor | None = None, stride: int = 1) -> Tensor:
    """W z + b; z is (batch, in) or (batch, in, height, width)."""
    if weight.ndim == 2:
        return F.linear(z, weight, bias)
    return F.conv2d(z, weight, bias, stride=stride, padding=weight.shape[-1] // 2)


def transposed(weight: Tensor) -> Tensor:
    """The weight of the adjoint map; with odd kernels and zero padding it is exact at the borders too."""
    return weight.T if weight.ndim == 2 else weight.transpose(0, 1).flip(2, 3)


def identity(like: Tensor) -> Tensor:
    """The weight of the identity, in the shape of a square weight."""
    one = torch.eye(like.shape[0], dtype=like.dtype, device=like.device)
    if like.ndim == 2:
        return one
    result = torch.zeros_like(like)
    result[:, :, like.shape[2] // 2, like.shape[3] // 2] = one
    return result


def scaled(weight: Tensor, factors: Tensor) -> Tensor:
    """diag(factors) W."""
    return factors.reshape(-1, *[1] * (weight.ndim - 1)) * weight


def empty(outer: int, inner: int, kernel: int | None) -> Tensor:
    """An uninitialised weight."""
    return torch.empty(outer, inner) if kernel is None else torch.empty(outer, inner, kernel, kernel)


def initialised(outer: int, inner: int, kernel: int | None) -> nn.Parameter:
    """A parameter with Kaiming's uniform initialisation as torch's layers have it."""
    weight = empty(outer, inner, kernel)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
    return nn.Parameter(weight)


def as_layer(weight: Tensor, bias: Tensor | None, stride: int = 1) -> nn.Module:
    """A plain Linear or Conv2d with these parameters, detached."""
    layer: nn.Linear | nn.Conv2d
    if weight.ndim == 2:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    else:
        side = int(weight.shape[-1])
        layer = nn.Conv2d(weight.shape[1], weight.shape[0], side, stride, padding=side // 2, bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    return layer


def spectral_bound(weight: Tensor) -> float:
    """An upper bound on the spectral norm, in float64: that of a matrix; of a convolution on images of any size.

    A zero-padded or strided convolution is a part of the one on the infinite grid, whose norm is the largest singular
    value of K(w) = sum_t k_t exp(i w t) over all frequencies w. On a grid of N an axis the largest value is missed by no
    more than the factor cos(pi d / N)^2, d = (side - 1) / 2: a real trigonometric polynomial of degree d falls from its
    maximum no faster than the cosine (M. Riesz, 1914).
    """
    weight = weight.detach().double().cpu()
    if weight.ndim == 2:
        return float(torch.linalg.matrix_norm(weight, 2)) * (1 + 1e-12)
    degree = (max(weight.shape[-2:]) - 1) / 2
    transform = torch.fft.fft2(weight, s=(_GRID, _GRID)).permute(2, 3, 0, 1)
    largest = float(torch.linalg.matrix_norm(transform, 2).max())
    return largest / math.cos(math.pi * degree / _GRID) ** 2 * (1 + 1e-12)


class PowerIteration(nn.Module):
    """The spectral norm of a weight while it is trained: one step of the power method a forward pass, kept between them.

    In evaluation it is the bound that `spectral_bound` proves. The gradient flows through u^T W v.
    """

    vector: Tensor

    def __init__(self, inner: int, side: int | None) -> None:
        """`side`: of a square image for convolutions."""
        super().__init__()
        start = torch.randn(1, inner) if side is None else torch.randn(1, inner, side, side)
        self.register_buffer("vector", start / start.norm())

    def forward(self, weight: Tensor) -> Tensor:
        """Estimate (training) or upper bound (evaluation)."""
        if not self.training:
            return torch.tensor(spectral_bound(weight), dtype=weight.dtype, device=weight.device)
        with torch.no_grad():
            image = apply(weight, self.vector)
            back = apply(transposed(weight), image)
            self.vector = back / back.norm().clamp(min=1e-12)
            image = apply(weight, self.vector)
            image = image / image.norm().clamp(min=1e-12)
        norm: Tensor = (image * apply(weight, self.vector)).sum()
        return norm

"""Networks that are 1-Lipschitz in l2 by construction, up to a head of rows of unit length.

    convex potential   z <- z - h K^T relu(K z + b), h = step / ||K||^2, step <= 2     (CPL; Meunier et al., ICML 2022)
    SLL                z <- z - 2 K^T T relu(K z + b), T = diag(1 / sum_j |K K^T|_ij q_j / q_i)  (Araujo et al., ICLR 2023)
    spectral, orthogonal   relu(W z + b) with W / ||W||, or W^T W = I

The Jacobian of the first two is I - K^T T D K with 0 <= D <= I, whose eigenvalues lie in [-1, 1]. The ReLU and mean
pooling scaled to sums over 2x2 divided by 2 keep lengths too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from . import linear_maps
from .linear_maps import PowerIteration
from .residual import ResidualBlock, Shape, Terms, check_depth, staged

STABILITY = "non-expansive: 1-Lipschitz in l2 up to the head, whose rows have length 1"
_SAFE = 1 - 1e-6  # room for the rounding of folded weights to float32
LAYERS = ("spectral", "orthogonal")


class ConvexPotentialBlock(ResidualBlock):
    """A step of the gradient flow of a convex potential."""

    def __init__(self, width: int, hidden: int, kernel: int | None, side: int | None, step: float) -> None:
        """`step` is in units of 1 / ||K||^2."""
        super().__init__()
        self.weight = linear_maps.initialised(hidden, width, kernel)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.norm = PowerIteration(width, side)
        self.step = step

    def terms(self) -> Terms:
        """W = -h K^T."""
        factor = _SAFE * self.step / (self.norm(self.weight).square() + 1e-12)
        return Terms(self.weight, self.bias, -factor * linear_maps.transposed(self.weight))

    def smooth(self) -> tuple[Tensor, ...]:
        """Kernel and bias."""
        return self.weight, self.bias


class SllBlock(ResidualBlock):
    """SDP-based Lipschitz layer; no power method."""

    def __init__(self, width: int, hidden: int, kernel: int | None, step: float) -> None:
        """`hidden` ReLUs (channels); `step` takes the place of the 2."""
        super().__init__()
        self.step = step
        self.weight = linear_maps.initialised(hidden, width, kernel)
        self.bias = nn.Parameter(torch.zeros(hidden))
        self.log_q = nn.Parameter(torch.zeros(hidden))

    def terms(self) -> Terms:
        """W = -2 K^T T; the rows of |K K^T| of a convolution are those of the infinite grid, which bound the others."""
        weight = self.weight
        if weight.ndim == 2:
            gram = (weight @ weight.T).abs()
        else:
            gram = F.conv2d(weight, weight, padding=weight.shape[-1] - 1).abs().sum((2, 3))
        q = self.log_q.exp()
        scale = _SAFE / ((gram * (q / q.unsqueeze(1))).sum(1) + 1e-12)
        return Terms(weight, self.bias, -self.step * linear_maps.transposed(linear_maps.scaled(weight, scale)))


class UnitSpectral(nn.Module):
    """W z + b with ||W|| = 1: a weight divided by its spectral norm.

    A strided convolution is divided by the norm of the same without a stride, of whose outputs it has a part.
    """

    def __init__(
        self, inner: int, outer: int, kernel: int | None = None, side: int | None = None, stride: int = 1
    ) -> None:
        """`side` of square images for convolutions."""
        super().__init__()
        self.stride = stride
        self.weight = linear_maps.initialised(outer, inner, kernel)
        self.bias = nn.Parameter(torch.zeros(outer))
        self.norm = PowerIteration(inner, side)

    def effective(self) -> Tensor:
        """The divided weight."""
        norm: Tensor = self.norm(self.weight)
        return self.weight * (_SAFE / norm.clamp(min=1e-12))

    def forward(self, z: Tensor) -> Tensor:
        """Apply."""
        return linear_maps.apply(self.effective(), z, self.bias, self.stride)

    def fold(self) -> nn.Module:
        """A plain layer."""
        return linear_maps.as_layer(self.effective(), self.bias, self.stride)


class Orthogonal(nn.Module):
    """W z + b with orthonormal rows or columns, by Cayley's map of a free matrix."""

    def __init__(self, inner: int, outer: int) -> None:
        """Any shape."""
        super().__init__()
        layer = nn.Linear(inner, outer)
        nn.init.orthogonal_(layer.weight)
        nn.utils.parametrizations.orthogonal(layer, orthogonal_map="cayley")
        self.layer = layer

    @property
    def bias(self) -> Tensor:
        """Of the layer."""
        return self.layer.bias

    def effective(self) -> Tensor:
        """The orthogonal weight."""
        weight: Tensor = self.layer.weight
        return weight * _SAFE

    def forward(self, z: Tensor) -> Tensor:
        """Apply."""
        return F.linear(z, self.effective(), self.bias)

    def fold(self) -> nn.Module:
        """A plain layer."""
        return linear_maps.as_layer(self.effective(), self.bias)


class UnitRows(nn.Module):
    """A head whose rows have length 1, so that margins divided by ||w_y - w_k|| <= 2 are distances."""

    def __init__(self, inner: int, outer: int) -> None:
        """Features to classes."""
        super().__init__()
        self.weight = linear_maps.initialised(outer, inner, None)
        self.bias = nn.Parameter(torch.zeros(outer))

    def effective(self) -> Tensor:
        """The normalised weight."""
        return F.normalize(self.weight, dim=1)

    def forward(self, z: Tensor) -> Tensor:
        """Apply."""
        return F.linear(z, self.effective(), self.bias)

    def fold(self) -> nn.Module:
        """A plain layer."""
        return linear_maps.as_layer(self.effective(), self.bias)


class MeanPool(nn.Module):
    """Sums over p x p squares divided by p, which keeps lengths: p times mean pooling."""

    def __init__(self, side: int) -> None:
        """`side` is p."""
        super().__init__()
        self.side = side

    def forward(self, z: Tensor) -> Tensor:
        """Pool."""
        return F.avg_pool2d(z, self.side) * self.side


def convex_potential(
    shape: Shape, blocks: int, outputs: int, hidden: int | None = None, step: float = 2.0
) -> nn.Module:
    """Convex potential layers between a lift of spectral norm 1 and a head of unit rows.

    Raises:
        InvalidInput: a step outside (0, 2]: beyond it the layer may expand.
    """
    if not 0 < step <= 2:
        raise InvalidInput(
            f"cpl: step must lie in (0, 2], in units of 1/||K||^2, got {step:g}: 2 is the stability bound"
        )

    def block(stage: Shape) -> nn.Module:
        side = None if stage.kernel is None else max(stage.sides)
        return ConvexPotentialBlock(stage.width, stage.rows(hidden), stage.kernel, side, step)

    return _network(shape, blocks, outputs, block)


def sll(shape: Shape, blocks: int, outputs: int, hidden: int | None = None, step: float = 2.0) -> nn.Module:
    """SDP-based Lipschitz layers between a lift of spectral norm 1 and a head of unit rows.

    Raises:
        InvalidInput: a step outside (0, 2]: beyond it the layer may expand.
    """
    if not 0 < step <= 2:
        raise InvalidInput(f"sll: step must lie in (0, 2], got {step:g}: 2 is the stability bound")

    def block(stage: Shape) -> nn.Module:
        return SllBlock(stage.width, stage.rows(hidden), stage.kernel, step)

    return _network(shape, blocks, outputs, block)


def _network(shape: Shape, blocks: int, outputs: int, block: Callable[[Shape], nn.Module]) -> nn.Module:
    check_depth(blocks, outputs)
    channels, height, width = shape.image
    layers: list[nn.Module]
    if shape.kernel is None:
        layers = [nn.Flatten()]
        if shape.width != channels * height * width:
            layers.append(UnitSpectral(channels * height * width, shape.width))
    else:
        layers = [UnitSpectral(channels, shape.width, shape.lift, max(height, width), shape.stride)]
    layers += staged(shape, blocks, block, _bridge)
    if shape.kernel is not None:
        layers += [*([MeanPool(shape.pool)] if shape.pool > 1 else []), nn.Flatten()]
    return nn.Sequential(*layers, UnitRows(shape.features, outputs))


def _bridge(before: Shape, after: Shape) -> list[nn.Module]:
    """From one stage to the next without growth: strided, or pooling that keeps lengths and 1x1, of spectral norm 1."""
    if before.between == "stride":
        return [UnitSpectral(before.width, after.width, 3, max(before.sides), 2)]
    return [MeanPool(2), UnitSpectral(before.width, after.width, 1, max(after.sides))]


def lipschitz_mlp(image: list[int], hidden: list[int], outputs: int, layer: str = "orthogonal") -> nn.Module:
    """A fully connected network of spectrally normalised or orthogonal layers with ReLUs, and a head of unit rows.

    Raises:
        InvalidInput: an unknown kind of layer.
    """
    if layer not in LAYERS:
        raise InvalidInput(f"lipschitz-mlp: layer is one of {', '.join(LAYERS)}, got '{layer}'")
    if not hidden or min(*hidden, outputs) < 1:
        raise InvalidInput(f"impossible shape: hidden {hidden}, outputs {outputs}")
    kind: Callable[[int, int], nn.Module] = Orthogonal if layer == "orthogonal" else UnitSpectral
    sizes = [image[0] * image[1] * image[2], *hidden]
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(sizes):
        layers += [kind(before, after), nn.ReLU()]
    return nn.Sequential(*layers, UnitRows(hidden[-1], outputs))

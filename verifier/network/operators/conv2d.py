"""Two-dimensional convolution with stride, asymmetric padding, dilation and groups."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, gcd, prod
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Operator

if TYPE_CHECKING:
    import scipy.sparse as sp


@dataclass(frozen=True, eq=False)
class Conv2d(Operator):
    """Cross-correlation as ONNX Conv defines it.

    Attributes:
        weight: (out channels, in channels / groups, kernel height, kernel width).
        in_shape: (in channels, height, width).
        stride: (vertical, horizontal).
        pads: (top, left, bottom, right) zeros; negative ones cut off so many rows or columns.
        dilation: (vertical, horizontal).
        groups: number of blocked connections.
    """

    weight: Tensor
    in_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        """Check what belongs together.

        Raises:
            ValueError: groups, channels or kernel do not fit the image.
        """
        outer, inner, *kernel = self.weight.shape
        if self.groups < 1 or outer % self.groups or inner * self.groups != self.in_shape[0] or min(kernel) < 1:
            raise ValueError(
                f"a kernel of shape {list(self.weight.shape)} in {self.groups} groups on {list(self.in_shape)}"
            )
        if min(self.out_shape) < 1:
            raise ValueError(f"a kernel of shape {list(self.weight.shape)} does not fit into {list(self.in_shape)}")

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(out channels, height, width) of the result."""
        sides = []
        for axis in (0, 1):
            padded = self.in_shape[1 + axis] + self.pads[axis] + self.pads[axis + 2]
            reach = self.dilation[axis] * (int(self.weight.shape[2 + axis]) - 1) + 1
            sides.append((padded - reach) // self.stride[axis] + 1)
        return int(self.weight.shape[0]), sides[0], sides[1]

    @property
    def in_size(self) -> int:
        """Entries of the image."""
        return prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """Entries of the result."""
        return prod(self.out_shape)

    @property
    def fan_in(self) -> int:
        """The kernel's entries."""
        return int(self.weight[0].numel()) + 1

    @property
    def fan_out(self) -> int:
        """The positions of the kernel that reach one input, in every channel.

        Along an axis the offsets k * dilation of those that do agree modulo the stride.
        """
        reached = 1
        for size, stride, dilation in zip(self.weight.shape[2:], self.stride, self.dilation, strict=True):
            reached *= ceil(int(size) / (stride // gcd(stride, dilation)))
        return reached * (int(self.weight.shape[0]) // self.groups) + 1

    @property
    def _symmetric(self) -> bool:
        return self.pads[:2] == self.pads[2:] and min(self.pads) >= 0

    def apply(self, x: Tensor) -> Tensor:
        """Convolve."""
        lead = x.shape[:-1]
        image = x.reshape(-1, *self.in_shape)
        if not self._symmetric:
            top, left, bottom, right = self.pads
            image = F.pad(image, (left, right, top, bottom))
        padding = self.pads[:2] if self._symmetric else (0, 0)
        y = F.conv2d(image, self.weight, None, self.stride, padding, self.dilation, self.groups)
        return y.reshape(*lead, self.out_size)

    def adjoint(self, y: Tensor) -> Tensor:
        """Transposed convolution, cut or filled up to the size of the image."""
        lead = y.shape[:-1]
        maps = y.reshape(-1, *self.out_shape)
        top, left, bottom, right = self.pads
        channels, height, width = self.in_shape
        extra = [
            self.in_shape[1 + a]
            + self.pads[a]
            + self.pads[a + 2]
            - (
                (self.out_shape[1 + a] - 1) * self.stride[a]
                + self.dilation[a] * (int(self.weight.shape[2 + a]) - 1)
                + 1
            )
            for a in (0, 1)
        ]
        if self._symmetric and all(e < max(s, d) for e, s, d in zip(extra, self.stride, self.dilation, strict=True)):
            x = F.conv_transpose2d(
                maps, self.weight, None, self.stride, self.pads[:2], tuple(extra), self.groups, self.dilation
            )
        else:
            x = F.conv_transpose2d(maps, self.weight, None, self.stride, 0, 0, self.groups, self.dilation)
            x = F.pad(x, (-left, extra[1] - right, -top, extra[0] - bottom))
        return x.reshape(*lead, self.in_size)

    def _absolute(self) -> Conv2d:
        """Absolute weights."""
        return Conv2d(self.weight.abs(), self.in_shape, self.stride, self.pads, self.dilation, self.groups)

    def squared(self) -> Operator:
        """Squared kernels."""
        return replace(self, weight=self.weight**2)

    def to_sparse(self) -> sp.csr_matrix:
        """Rows by unfolding the array of input positions (0 marks the padding)."""
        import scipy.sparse as sp

        channels, height, width = self.in_shape
        out_channels, rows, columns = self.out_shape
        kernel = (int(self.weight.shape[2]), int(self.weight.shape[3]))
        top, left, bottom, right = self.pads
        numbered = torch.arange(1, self.in_size + 1, dtype=torch.float64).reshape(1, *self.in_shape)
        padded = F.pad(numbered, (left, right, top, bottom))
        unfolded = F.unfold(padded, kernel, dilation=self.dilation, stride=self.stride)[0]
        patches = unfolded.round().long().numpy().reshape(self.groups, -1, rows * columns) - 1
        weight = self.weight.double().cpu().numpy().reshape(self.groups, out_channels // self.groups, -1)
        per_group = out_channels // self.groups
        data, index, line = [], [], []
        position = np.arange(rows * columns)
        for g in range(self.groups):
            for o in range(per_group):
                data.append(np.repeat(weight[g, o], rows * columns))
                index.append(patches[g].ravel())
                line.append(np.tile((g * per_group + o) * rows * columns + position, weight.shape[2]))
        flat_data, flat_index, flat_line = np.concatenate(data), np.concatenate(index), np.concatenate(line)
        keep = (flat_index >= 0) & (flat_data != 0)
        shape = (self.out_size, self.in_size)
        return sp.csr_matrix((flat_data[keep], (flat_line[keep], flat_index[keep])), shape=shape)

"""Max pooling and mean pooling by windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch

from ..builder import tensor
from ..operators import Conv2d, Scale
from ..simplify import fuse
from . import Context, Stream, Value
from .conv import _image, window


def _pooled_side(size: int, kernel: int, stride: int, dilation: int, begin: int, end: int, ceil: bool) -> int:
    span = size + begin + end - (dilation * (kernel - 1) + 1)
    count = -(-span // stride) + 1 if ceil else span // stride + 1
    if ceil and (count - 1) * stride >= size + begin:  # a window that starts in the far padding does not count
        count -= 1
    return count


def _windows(
    context: Context, x: Stream, attributes: dict[str, Any]
) -> tuple[np.ndarray, tuple[int, int, int], tuple[int, int], tuple[int, int, int, int]]:
    """Positions (C, H', W', members) of each window, -1 in the padding; output shape, kernel and pads."""
    image = _image(context, x)
    shape = tuple(attributes["kernel_shape"])
    stride, pads, dilation = window(context, attributes, shape, x.shape[2:])
    kernel = (1, shape[0]) if len(shape) == 1 else (shape[0], shape[1])
    ceil = bool(attributes.get("ceil_mode", 0))
    counts = [_pooled_side(image[1 + a], kernel[a], stride[a], dilation[a], pads[a], pads[a + 2], ceil) for a in (0, 1)]
    context.limit((image[0], *counts, *kernel))
    axes = []
    for a, count in enumerate(counts):
        start = np.arange(count) * stride[a] - pads[a]
        axes.append(start[:, None] + np.arange(kernel[a]) * dilation[a])
    rows, columns = axes
    flat = rows[:, None, :, None] * image[2] + columns[None, :, None, :]
    inside = (rows >= 0)[:, None, :, None] & (rows < image[1])[:, None, :, None]
    inside = inside & (columns >= 0)[None, :, None, :] & (columns < image[2])[None, :, None, :]
    per_channel = np.arange(image[0])[:, None, None, None, None] * image[1] * image[2] + flat
    positions = np.where(inside, per_channel, -1).reshape(image[0], len(rows), len(columns), -1)
    return positions, (image[0], len(rows), len(columns)), kernel, pads


def _shape(x: Stream, out: tuple[int, int, int]) -> tuple[int, ...]:
    return (1, out[0], out[2]) if len(x.shape) == 3 else (1, *out)


def max_pool(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Maximum of each window; padding never wins."""
    x = context.stream(operands[0], "the input of MaxPool")
    if attributes.get("storage_order", 0) or len(node.output) > 1:
        raise context.unsupported("MaxPool with indices or column-major storage is not supported")
    positions, out, _, _ = _windows(context, x, attributes)
    windows = positions.reshape(-1, positions.shape[-1])
    fallback = windows.max(axis=1, keepdims=True)  # a member of the window: repeating it changes no maximum
    if (fallback < 0).any():
        raise context.unsupported("MaxPool has windows that lie in the padding altogether")
    windows = np.where(windows < 0, fallback, windows)
    return Stream(context.builder.maximum(x.node, windows, context.label), _shape(x, out))


def average_pool(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Mean of each window, with or without the padding in the count."""
    x = context.stream(operands[0], "the input of AveragePool")
    positions, out, kernel, pads = _windows(context, x, attributes)
    image = _image(context, x)
    stride, _, dilation = window(context, attributes, tuple(attributes["kernel_shape"]), x.shape[2:])
    counts = (positions >= 0).sum(-1).astype(np.float64)
    if attributes.get("count_include_pad", 0):
        limits = [image[1 + a] + pads[a] + pads[a + 2] for a in (0, 1)]
        members = [
            ((np.arange(out[1 + a]) * stride[a])[:, None] + np.arange(kernel[a]) * dilation[a] < limits[a]).sum(1)
            for a in (0, 1)
        ]
        counts = np.broadcast_to(np.outer(members[0], members[1]).astype(np.float64), out)
    reach = [(out[1 + a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
    far = [max(reach[a] - image[1 + a] - pads[a], 0) for a in (0, 1)]  # ceil_mode may need more padding
    ones = torch.ones(image[0], 1, kernel[0], kernel[1], dtype=torch.float64)
    summed = Conv2d(ones, image, stride, (pads[0], pads[1], far[0], far[1]), dilation, image[0])
    if summed.out_shape != out:
        raise context.unsupported("this combination of kernel, stride and pads of AveragePool is not supported")
    context.keep_exact(bool((np.frexp(counts)[0] == 0.5).all()))
    operator = fuse(summed, Scale(tensor(1.0 / counts).ravel()))
    return Stream(context.builder.affine([x.node], [operator], None, context.label), _shape(x, out))

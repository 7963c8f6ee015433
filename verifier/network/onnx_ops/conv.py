"""Conv and ConvTranspose in one and two dimensions."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..operators import Conv2d, Transposed
from . import Context, Stream, Value


def window(
    context: Context, attributes: dict[str, Any], kernel: tuple[int, ...], size: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    """(stride, pads, dilation) in two dimensions; `kernel` and `size` are the spatial ones, one or two of them."""
    count = len(size)
    if count not in (1, 2):
        raise context.unsupported(f"only 1-d and 2-d windows are supported, this one is {count}-d")
    lift = 2 - count  # a 1-d window is a 2-d one of height 1
    stride = tuple([1] * lift + list(attributes.get("strides", [1] * count)))
    dilation = tuple([1] * lift + list(attributes.get("dilations", [1] * count)))
    begin, end = (
        list(attributes.get("pads", [0] * 2 * count)[:count]),
        list(attributes.get("pads", [0] * 2 * count)[count:]),
    )
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        if max(dilation) > 1:  # onnxruntime refuses it for Conv, and pads pools as if there were no dilation
            raise context.unsupported(f"auto_pad {auto} with dilations is not supported; export explicit pads")
        begin, end = [], []
        for n, k, s, d in zip(size, kernel, stride[lift:], dilation[lift:], strict=True):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            small, large = total // 2, total - total // 2
            begin.append(small if auto == "SAME_UPPER" else large)
            end.append(large if auto == "SAME_UPPER" else small)
    if auto == "VALID" and any((*begin, *end)):  # onnxruntime refuses it for Conv, and ignores the pads of pools
        raise context.unsupported("auto_pad VALID beside pads is not supported; export one of the two")
    pads = ([0] * lift + begin) + ([0] * lift + end)
    if min((*stride, *dilation), default=0) < 1 or min(pads) < 0 or len(stride) + len(dilation) + len(pads) != 8:
        raise context.unsupported("strides and dilations must be at least 1, pads at least 0, one for each side")
    return (stride[0], stride[1]), (pads[0], pads[1], pads[2], pads[3]), (dilation[0], dilation[1])


def _image(context: Context, x: Stream) -> tuple[int, int, int]:
    """(channels, height, width); a 1-d signal has height 1."""
    if len(x.shape) not in (3, 4) or x.shape[0] != 1:
        raise context.unsupported(f"expects an input of shape [1, C, H, W] or [1, C, L], got {list(x.shape)}")
    return (x.shape[1], 1, x.shape[2]) if len(x.shape) == 3 else (x.shape[1], x.shape[2], x.shape[3])


def _kernel(weight: np.ndarray) -> np.ndarray:
    return weight[:, :, None, :] if weight.ndim == 3 else weight


def conv(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Cross-correlation with stride, pads, dilation and groups."""
    x = context.stream(operands[0], "the input of Conv")
    weight = context.constant(operands[1], "the kernel of Conv").astype(np.float64)
    image = _image(context, x)
    stride, pads, dilation = window(context, attributes, weight.shape[2:], x.shape[2:])
    operator = Conv2d(tensor(_kernel(weight)), image, stride, pads, dilation, int(attributes.get("group", 1)))
    context.limit(operator.out_shape)
    channels, height, width = operator.out_shape
    shape = (1, channels, width) if len(x.shape) == 3 else (1, channels, height, width)
    return _biased(context, x, operator, operands, shape)


def conv_transpose(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """The adjoint of a convolution whose image is this node's output."""
    x = context.stream(operands[0], "the input of ConvTranspose")
    weight = context.constant(operands[1], "the kernel of ConvTranspose").astype(np.float64)
    maps = _image(context, x)
    groups = int(attributes.get("group", 1))
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID") or "output_shape" in attributes:
        raise context.unsupported("ConvTranspose with auto_pad or output_shape is not supported; export explicit pads")
    stride, pads, dilation = window(context, attributes, weight.shape[2:], x.shape[2:])
    extra = list(attributes.get("output_padding", [0] * (weight.ndim - 2)))
    extra = [0] * (2 - len(extra)) + extra
    kernel = _kernel(weight)
    sides = [
        (maps[1 + a] - 1) * stride[a] + dilation[a] * (kernel.shape[2 + a] - 1) + 1 - pads[a] - pads[a + 2] + extra[a]
        for a in (0, 1)
    ]
    out_image = (kernel.shape[1] * groups, sides[0], sides[1])
    context.limit(out_image)
    inner = Conv2d(tensor(kernel), out_image, stride, pads, dilation, groups)
    if inner.out_shape != maps:
        raise context.unsupported(
            "this combination of stride, pads and output_padding of ConvTranspose is not supported"
        )
    shape = (1, out_image[0], out_image[2]) if len(x.shape) == 3 else (1, *out_image)
    return _biased(context, x, Transposed(inner), operands, shape)


def _biased(
    context: Context, x: Stream, operator: Conv2d | Transposed, operands: list[Value | None], shape: tuple[int, ...]
) -> Stream:
    bias = None
    if len(operands) > 2 and operands[2] is not None:
        per_channel = context.constant(operands[2], "the bias").astype(np.float64)
        bias = np.repeat(per_channel, prod(shape[2:]))
    return Stream(context.builder.affine([x.node], [operator], bias, context.label), shape)

"""Operators that repeat or rearrange entries of images: Resize and Upsample to the nearest entry, Tile, DepthToSpace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from . import Context, Stream, Value

# Where in the input an output entry lies: (output positions, scale, input length, output length), all float32 as
# runtimes compute it.
_Coordinates = Callable[[np.ndarray, np.float32, int, int], np.ndarray]
_HALF, _ONE = np.float32(0.5), np.float32(1.0)
_COORDINATES: dict[str, _Coordinates] = {
    "half_pixel": lambda x, scale, n, m: (x + _HALF) / scale - _HALF,
    "pytorch_half_pixel": lambda x, scale, n, m: (x + _HALF) / scale - _HALF if m > 1 else np.zeros_like(x),
    "tf_half_pixel_for_nn": lambda x, scale, n, m: (x + _HALF) / scale,
    "asymmetric": lambda x, scale, n, m: x / scale,
    "align_corners": lambda x, scale, n, m: x * np.float32(n - 1) / np.float32(m - 1) if m > 1 else np.zeros_like(x),
}
_ROUNDINGS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda x: np.where(x == np.floor(x) + _HALF, np.floor(x), np.floor(x + _HALF)),
    "round_prefer_ceil": lambda x: np.floor(x + _HALF),
    "floor": np.floor,
    "ceil": np.ceil,
}


def resize(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Each entry of the result is the nearest one of the input."""
    x = context.stream(operands[0], f"the input of {node.op_type}")
    old = node.op_type == "Upsample" or context.opset < 11
    mode = attributes.get("mode", b"nearest").decode()
    if (
        mode != "nearest"
        or attributes.get("antialias", 0)
        or attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch"
    ):
        raise context.unsupported(f"{node.op_type} to anything but the nearest entries is not supported (mode {mode})")
    where = attributes.get("coordinate_transformation_mode", b"asymmetric" if old else b"half_pixel").decode()
    rounding = attributes.get("nearest_mode", b"floor" if old else b"round_prefer_floor").decode()
    if where not in _COORDINATES or rounding not in _ROUNDINGS:
        raise context.unsupported(f"{node.op_type} with {where} and {rounding} is not supported")
    scales, sizes = _scales(context, x, operands, attributes, old)
    context.limit(sizes)
    positions = x.positions
    for axis, (n, m, scale) in enumerate(zip(x.shape, sizes, scales, strict=True)):
        if n == m and scale == 1:
            continue
        at = _COORDINATES[where](np.arange(m, dtype=np.float32), np.float32(scale), n, m)
        if old and scale < 1:  # what the first version of the operator left open, runtimes agree on
            rounding = "ceil"
        elif old:
            rounding = "floor"
        index = _ROUNDINGS[rounding](at.astype(np.float32)).astype(np.int64)
        positions = np.take(positions, np.clip(index, 0, n - 1), axis=axis)
    return context.select(x, positions)


def _scales(
    context: Context, x: Stream, operands: list[Value | None], attributes: dict[str, Any], old: bool
) -> tuple[list[float], list[int]]:
    """Factor and length of every axis."""
    axes = [int(a) % len(x.shape) for a in attributes.get("axes", range(len(x.shape)))]
    given = operands[1 if old else 2 : 2 if old else 4]
    factors: list[float] = []
    if "scales" in attributes:
        factors = [float(s) for s in attributes["scales"]]
    elif given and given[0] is not None:
        factors = [float(s) for s in context.constant(given[0], "the scales of Resize").ravel()]
    scales, sizes = [1.0] * len(x.shape), list(x.shape)
    if factors:
        for axis, factor in zip(axes, factors, strict=True):
            if not 0 < factor <= 1 << 20:
                raise context.unsupported(f"a scale of {factor}")
            scales[axis], sizes[axis] = factor, int(np.floor(np.float32(x.shape[axis]) * np.float32(factor)))
    elif len(given) > 1:
        wanted = [int(n) for n in context.constant(given[1], "the sizes of Resize").ravel()]
        for axis, size in zip(axes, wanted, strict=True):
            scales[axis], sizes[axis] = float(np.float32(size) / np.float32(x.shape[axis])), size
    else:
        raise context.unsupported("neither scales nor sizes are given")
    return scales, sizes


def tile(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Copies side by side along each axis."""
    x = context.stream(operands[0], "the input of Tile")
    repeats = [int(n) for n in context.constant(operands[1], "the repeats of Tile").ravel()]
    if len(repeats) != len(x.shape):
        raise context.unsupported(f"Tile of {list(x.shape)} by {repeats}")
    context.limit([n * max(r, 0) for n, r in zip(x.shape, repeats, strict=True)])
    return context.select(x, np.tile(x.positions, repeats))


def depth_to_space(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Blocks of channels become blocks of pixels."""
    x = context.stream(operands[0], "the input of DepthToSpace")
    b, mode = int(attributes["blocksize"]), attributes.get("mode", b"DCR").decode()
    n, c, h, w = x.shape
    if b < 1 or c % (b * b) or mode not in ("DCR", "CRD"):
        raise context.unsupported(f"DepthToSpace of {list(x.shape)} in blocks of {b}, mode {mode}")
    if mode == "DCR":
        blocks = x.positions.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        blocks = x.positions.reshape(n, c // b**2, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return context.select(x, blocks.reshape(n, c // b**2, h * b, w * b))


def space_to_depth(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Blocks of pixels become blocks of channels."""
    x = context.stream(operands[0], "the input of SpaceToDepth")
    b = int(attributes["blocksize"])
    n, c, h, w = x.shape
    if b < 1 or h % b or w % b:
        raise context.unsupported(f"SpaceToDepth of {list(x.shape)} in blocks of {b}")
    blocks = x.positions.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return context.select(x, blocks.reshape(n, c * b * b, h // b, w // b))

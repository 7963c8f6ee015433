"""Sums, means and extremes over axes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..operators import MeanAxes, Select, Transposed
from . import Context, Stream, Value, attribute_or_input
from .arithmetic import scaled


def global_average_pool(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Mean over all spatial axes."""
    x = context.stream(operands[0], "the input of GlobalAveragePool")
    return _mean(context, x, list(range(2, len(x.shape))), True)


def global_max_pool(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Maximum over all spatial axes."""
    x = context.stream(operands[0], "the input of GlobalMaxPool")
    return _largest(context, x, list(range(2, len(x.shape))), True)


def reduce_mean(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Mean over given axes (all of them where none are given)."""
    x, axes, keep = _arguments(context, node, operands, attributes)
    return _mean(context, x, axes, keep) if axes else x


def reduce_sum(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Sum over given axes."""
    x, axes, keep = _arguments(context, node, operands, attributes)
    if not axes:
        return x
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    places = np.broadcast_to(np.arange(prod(kept)).reshape(kept), x.shape)
    operator = Transposed(Select.from_array(places, prod(kept)))
    return Stream(context.builder.affine([x.node], [operator], None, context.label), _shape(x, axes, keep))


def reduce_max(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Maximum over given axes."""
    x, axes, keep = _arguments(context, node, operands, attributes)
    return _largest(context, x, axes, keep) if axes else x


def reduce_min(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Minimum over given axes: minus the maximum of -x."""
    x, axes, keep = _arguments(context, node, operands, attributes)
    if not axes:
        return x
    minus = np.array(-1.0)
    largest = _largest(context, scaled(context, x, minus, None, x.shape), axes, keep)
    return scaled(context, largest, minus, None, largest.shape)


def _arguments(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> tuple[Stream, list[int], bool]:
    """The input, the axes (none: nothing is reduced), and whether they stay as axes of size 1."""
    x = context.stream(operands[0], f"the input of {node.op_type}")
    axes = attribute_or_input(context, operands, attributes, "axes", 1)
    if not axes and not attributes.get("noop_with_empty_axes", 0):
        axes = list(range(len(x.shape)))
    if any(not -len(x.shape) <= a < len(x.shape) for a in axes or []):
        raise context.unsupported(f"{node.op_type} over axes {axes} of {list(x.shape)}")
    return x, sorted({a % len(x.shape) for a in axes or []}), bool(attributes.get("keepdims", 1))


def _shape(x: Stream, axes: list[int], keep: bool) -> tuple[int, ...]:
    return tuple(1 if a in axes else n for a, n in enumerate(x.shape) if keep or a not in axes)


def _mean(context: Context, x: Stream, axes: list[int], keep: bool) -> Stream:
    operator = MeanAxes(x.shape, tuple(axes))
    return Stream(context.builder.affine([x.node], [operator], None, context.label), _shape(x, axes, keep))


def _largest(context: Context, x: Stream, axes: list[int], keep: bool) -> Stream:
    rest = [a for a in range(len(x.shape)) if a not in axes]
    members = x.positions.transpose(*rest, *axes).reshape(prod(x.shape[a] for a in rest), -1)
    return Stream(context.builder.maximum(x.node, members, context.label), _shape(x, axes, keep))

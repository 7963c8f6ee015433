"""Operators that only move entries: reshapes cost nothing, everything else is a selection."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..operators import Operator, Select, Transposed
from . import Context, Stream, Value, attribute_or_input


def _first(context: Context, node: onnx.NodeProto, operands: list[Value | None]) -> Stream:
    return context.stream(operands[0], f"the input of {node.op_type}")


def identity(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Itself (Dropout does nothing at inference)."""
    if node.op_type == "Dropout" and len(operands) > 2 and operands[2] is not None:
        if bool(context.constant(operands[2], "training_mode")):
            raise context.unsupported("Dropout in training mode; export the network in inference mode")
    return _first(context, node, operands)


def cast(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Casts between floating-point types."""
    if attributes["to"] not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise context.unsupported("Cast of the stream to anything but float or double is not supported")
    context.narrowed |= attributes["to"] == onnx.TensorProto.FLOAT
    return _first(context, node, operands)


def flatten(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """To a matrix."""
    x = _first(context, node, operands)
    axis = int(attributes.get("axis", 1))
    axis = axis + len(x.shape) if axis < 0 else axis
    return Stream(x.node, (prod(x.shape[:axis]), prod(x.shape[axis:])))


def reshape(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """To a constant shape; 0 copies a dimension, -1 takes what is left."""
    x = _first(context, node, operands)
    wanted = [int(v) for v in context.constant(operands[1], "the shape of Reshape").ravel()]
    if not attributes.get("allowzero", 0):
        if any(n == 0 and i >= len(x.shape) for i, n in enumerate(wanted)):
            raise context.unsupported(f"cannot reshape {list(x.shape)} to {wanted}")
        wanted = [x.shape[i] if n == 0 else n for i, n in enumerate(wanted)]
    if wanted.count(-1) == 1:
        rest = prod(n for n in wanted if n != -1)
        wanted = [prod(x.shape) // max(rest, 1) if n == -1 else n for n in wanted]
    if prod(wanted) != prod(x.shape):
        raise context.unsupported(
            f"cannot reshape {list(x.shape)} to {wanted}; was the network exported with a batch above 1?"
        )
    return Stream(x.node, tuple(wanted))


def transpose(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Permutation of the axes."""
    x = _first(context, node, operands)
    order = [int(a) for a in attributes.get("perm", range(len(x.shape))[::-1])]
    return context.select(x, x.positions.transpose(order))


def _axes(context: Context, operands: list[Value | None], attributes: dict[str, Any]) -> list[int] | None:
    """The axes of Squeeze and Unsqueeze; before opset 11 the specification has none that are negative, and runtimes differ.

    Raises:
        UnsupportedOperator: there are such.
    """
    axes = attribute_or_input(context, operands, attributes, "axes", 1)
    if axes is not None and context.opset < 11 and min(axes, default=0) < 0:
        raise context.unsupported(
            "negative axes are not in the specification before opset 11; export with a newer opset"
        )
    return axes


def squeeze(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Drop axes of size 1."""
    x = _first(context, node, operands)
    axes = _axes(context, operands, attributes)
    chosen = {a for a, n in enumerate(x.shape) if n == 1} if axes is None else {a % len(x.shape) for a in axes}
    if any(x.shape[a] != 1 for a in chosen):
        raise context.unsupported(f"Squeeze of an axis that is not 1 in {list(x.shape)}")
    return Stream(x.node, tuple(n for a, n in enumerate(x.shape) if a not in chosen))


def unsqueeze(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Insert axes of size 1."""
    x = _first(context, node, operands)
    axes = _axes(context, operands, attributes) or []
    rank = len(x.shape) + len(axes)
    chosen = {a % rank for a in axes}
    rest = iter(x.shape)
    return Stream(x.node, tuple(1 if a in chosen else next(rest) for a in range(rank)))


def slice_(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Constant slices, steps of either sign."""
    x = _first(context, node, operands)
    starts = attribute_or_input(context, operands, attributes, "starts", 1) or []
    ends = attribute_or_input(context, operands, attributes, "ends", 2) or []
    axes = attribute_or_input(context, operands, attributes, "axes", 3) or list(range(len(starts)))
    steps = attribute_or_input(context, operands, attributes, "steps", 4) or [1] * len(starts)
    index: list[slice] = [slice(None)] * len(x.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis % len(x.shape)]
        stop = None if step < 0 and end < -size else end  # "before the first entry", which -1 would not say
        index[axis % len(x.shape)] = slice(start, stop, step)
    positions = x.positions[tuple(index)]
    if positions.size == 0:
        raise context.unsupported("Slice keeps nothing")
    return context.select(x, positions)


def split(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> list[Stream]:
    """Consecutive parts along an axis."""
    x = _first(context, node, operands)
    axis = int(attributes.get("axis", 0)) % len(x.shape)
    sizes = attribute_or_input(context, operands, attributes, "split", 1)
    if attributes.get("num_outputs", len(node.output)) != len(node.output):
        raise context.unsupported("Split into another number of parts than it has outputs")
    if sizes is None:
        count = len(node.output)
        chunk = -(-x.shape[axis] // count)
        sizes = [min(chunk, x.shape[axis] - i * chunk) for i in range(count)]
    parts = np.split(x.positions, np.cumsum(sizes)[:-1], axis=axis)
    return [context.select(x, part) for part in parts]


def gather(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Entries at constant positions along an axis."""
    x = _first(context, node, operands)
    index = context.constant(operands[1], "the indices of Gather").astype(np.int64)
    axis = int(attributes.get("axis", 0))
    context.limit((index.size, prod(x.shape) // x.shape[axis]))
    return context.select(x, np.take(x.positions, index, axis=axis))


def concat(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Streams and constants side by side: each stream is scattered into the result, constants go to the bias."""
    parts = [part for part in operands if part is not None]
    axis = int(attributes["axis"])
    offsets = np.cumsum([0] + [part.shape[axis] for part in parts])
    total = list(parts[0].shape)
    total[axis] = int(offsets[-1])
    context.limit(total)
    positions = np.arange(prod(total)).reshape(total)
    inputs: list[int] = []
    operators: list[Operator] = []
    bias = np.zeros(prod(total))
    for part, begin, end in zip(parts, offsets, offsets[1:], strict=False):
        place = np.take(positions, range(int(begin), int(end)), axis=axis)
        if isinstance(part, Stream):
            inputs.append(part.node)
            operators.append(Transposed(Select.from_array(place, prod(total))))
        else:
            bias[place.ravel()] = np.asarray(part, dtype=np.float64).ravel()
    return Stream(context.builder.affine(inputs, operators, bias, context.label), tuple(total))


def pad(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Constant, reflected or repeated borders; negative pads crop."""
    x = _first(context, node, operands)
    pads = attribute_or_input(context, operands, attributes, "pads", 1) or []
    mode = attributes.get("mode", b"constant").decode()
    value = float(attributes.get("value", 0.0))
    if len(operands) > 2 and operands[2] is not None:
        value = float(context.constant(operands[2], "the value of Pad"))
    axes = attribute_or_input(context, operands, {}, "axes", 3) or list(range(len(x.shape)))
    before, after = [0] * len(x.shape), [0] * len(x.shape)
    for k, axis in enumerate(axes):
        before[axis % len(x.shape)], after[axis % len(x.shape)] = pads[k], pads[k + len(axes)]
    crop = tuple(slice(-min(b, 0), n + min(a, 0)) for n, b, a in zip(x.shape, before, after, strict=True))
    widths = [(max(b, 0), max(a, 0)) for b, a in zip(before, after, strict=True)]
    positions = x.positions[crop]
    context.limit([n + sum(w) for n, w in zip(positions.shape, widths, strict=True)])
    if mode == "constant":
        positions = np.pad(positions, widths, constant_values=-1)
        if value != 0.0 and (positions < 0).any():
            padded = context.select(x, positions)
            bias = np.where(positions < 0, value, 0.0)
            same = Select.identity(positions.size)
            return Stream(context.builder.affine([padded.node], [same], bias, context.label), positions.shape)
    elif mode in ("reflect", "edge"):
        positions = np.pad(positions, widths, mode="reflect" if mode == "reflect" else "edge")
    else:
        raise context.unsupported(f"Pad mode {mode} is not supported")
    return context.select(x, positions)


def expand(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Broadcast to a constant shape."""
    x = _first(context, node, operands)
    wanted = tuple(int(v) for v in context.constant(operands[1], "the shape of Expand").ravel())
    shape = np.broadcast_shapes(x.shape, wanted)
    context.limit(shape)
    return context.select(x, np.broadcast_to(x.positions, shape))

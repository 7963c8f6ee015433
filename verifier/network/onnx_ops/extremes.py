"""Max and Min of values and constants, and Where on a constant condition."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..operators import Operator, Select
from . import Context, Stream, Value
from .arithmetic import expand_to, scaled, shape_of


def extreme(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Max or Min of any number of operands: max(a, b) = b + relu(a - b), min(a, b) = -max(-a, -b)."""
    sign = 1.0 if node.op_type == "Max" else -1.0
    values = [value for value in operands if value is not None]
    shape = shape_of(context, *values)
    streams = [expand_to(context, value, shape) for value in values if isinstance(value, Stream)]
    result = streams[0]
    for other in streams[1:]:
        difference = context.builder.add(*_sorted(result, other, sign), -1.0, context.label)
        result = _joined(context, other, context.builder.relu(difference, context.label), sign)
    constants = [sign * context.limits(result, value) for value in values if not isinstance(value, Stream)]
    if constants:
        limit = constants[0]
        for constant in constants[1:]:
            limit = np.maximum(limit, constant)
        result = _limited(context, result, np.broadcast_to(limit, shape), sign)
    return result


def _sorted(a: Stream, b: Stream, sign: float) -> tuple[int, int]:
    return (a.node, b.node) if sign > 0 else (b.node, a.node)


def _joined(context: Context, base: Stream, excess: int, sign: float) -> Stream:
    return Stream(context.builder.add(base.node, excess, sign, context.label), base.shape)


def _limited(context: Context, x: Stream, limit: np.ndarray, sign: float) -> Stream:
    """Where sign is 1, max(x, limit); where it is -1, min(x, -limit)."""
    if (limit == -np.inf).all():
        return x
    if not np.isfinite(limit).all():
        raise context.unsupported(f"Max or Min with a constant of size {np.abs(limit).max():.3g}")
    signed = scaled(context, x, np.array(sign), -limit if limit.any() else None, x.shape)
    positive = Stream(context.builder.relu(signed.node, context.label), x.shape)
    if sign > 0 and not limit.any():
        return positive
    return scaled(context, positive, np.array(sign), sign * limit, x.shape)


def where(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Entries of one operand or the other, by a constant condition."""
    condition, *sides = operands
    chosen = context.constant(condition, "the condition of Where").astype(bool)
    if any(side is None for side in sides):
        raise context.unsupported("an operand is missing")
    values = [side for side in sides if side is not None]
    shape = shape_of(context, chosen, *values)
    chosen = np.broadcast_to(chosen, shape)
    inputs: list[int] = []
    operators: list[Operator] = []
    bias = np.zeros(shape)
    for value, mask in zip(values, (chosen, ~chosen), strict=True):
        if isinstance(value, Stream):
            positions = np.where(mask, np.broadcast_to(value.positions, shape), -1)
            inputs.append(value.node)
            operators.append(Select.from_array(positions, value.positions.size))
        else:
            bias = np.where(mask, np.asarray(value, dtype=np.float64), bias)
    return Stream(context.builder.affine(inputs, operators, tensor(bias.ravel()), context.label), shape)

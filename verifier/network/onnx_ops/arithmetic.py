"""Addition of streams and constants; multiplication and division by constants."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..operators import Scale, Select
from . import Context, Stream, Value


def expand_to(context: Context, x: Stream, shape: tuple[int, ...]) -> Stream:
    """A stream broadcast to a shape."""
    return x if x.shape == shape else context.select(x, np.broadcast_to(x.positions, shape))


def shape_of(context: Context, *values: Value) -> tuple[int, ...]:
    """The shape that operands broadcast to."""
    try:
        shape = tuple(np.broadcast_shapes(*(value.shape for value in values)))
    except ValueError:
        raise context.unsupported(
            f"shapes {' and '.join(str(list(value.shape)) for value in values)} do not broadcast"
        ) from None
    context.limit(shape)
    return shape


def _combine(context: Context, left: Value | None, right: Value | None, sign: float) -> Stream:
    """left + sign * right."""
    if left is None or right is None:
        raise context.unsupported("an operand is missing")
    shape = shape_of(context, left, right)
    if isinstance(left, Stream) and isinstance(right, Stream):
        a, b = expand_to(context, left, shape), expand_to(context, right, shape)
        return Stream(context.builder.add(a.node, b.node, sign, context.label), shape)
    if isinstance(left, Stream):
        bias = sign * np.broadcast_to(np.asarray(right, dtype=np.float64), shape)
        return scaled(context, left, np.array(1.0), bias, shape)
    stream = context.stream(right, "one operand")
    return scaled(context, stream, np.array(sign), np.broadcast_to(np.asarray(left, dtype=np.float64), shape), shape)


def scaled(context: Context, x: Stream, factor: np.ndarray, bias: np.ndarray | None, shape: tuple[int, ...]) -> Stream:
    """Factor times x, broadcast to a shape, plus a bias."""
    x = expand_to(context, x, shape)
    flat = np.broadcast_to(factor, shape).ravel()
    operator = Select.identity(len(flat)) if (flat == 1).all() else Scale(tensor(flat))
    return Stream(context.builder.affine([x.node], [operator], bias, context.label), shape)


def add(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Sum."""
    return _combine(context, operands[0], operands[1], 1.0)


def sum_all(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Sum of any number of operands."""
    present = [value for value in operands if value is not None]
    # Constants last, one by one, so that their sum is not rounded.
    present.sort(key=lambda value: not isinstance(value, Stream))
    total = present[0]
    for value in present[1:]:
        total = _combine(context, total, value, 1.0)
    return context.stream(total, "the operands of Sum")


def subtract(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Difference."""
    return _combine(context, operands[0], operands[1], -1.0)


def multiply(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """Product of a stream and a constant."""
    left, right = operands[0], operands[1]
    if isinstance(left, Stream) and isinstance(right, Stream):
        raise context.unsupported("Mul of two values that both depend on the input is not piecewise linear")
    stream, other = (left, right) if isinstance(left, Stream) else (right, left)
    x, factor = context.stream(stream, "one operand of Mul"), context.constant(other, "one operand of Mul")
    return scaled(context, x, factor.astype(np.float64), None, shape_of(context, x, factor))


def divide(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Division by a constant."""
    x = operands[0]
    if not isinstance(x, Stream):
        raise context.unsupported("Div of a constant by a value that depends on the input is not piecewise linear")
    divisor = context.constant(operands[1], "the divisor of Div").astype(np.float64)
    if (divisor == 0).any():
        raise context.unsupported("division by zero")
    context.keep_exact(bool((np.frexp(np.abs(divisor))[0] == 0.5).all()))  # powers of 2 have an exact reciprocal
    with np.errstate(over="ignore"):
        factor = 1.0 / divisor
    context.check_factor(factor, "Div")
    return scaled(context, x, factor, None, shape_of(context, x, divisor))


def negate(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """-x."""
    x = context.stream(operands[0], "the operand of Neg")
    return scaled(context, x, np.array(-1.0), None, x.shape)

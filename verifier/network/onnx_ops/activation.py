"""Activations: ReLU and what can be written with it; Softmax only where it cannot change the order of the outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from .. import activations
from ..builder import tensor
from ..operators import Scale
from . import Context, Stream, Value


def relu(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """max(x, 0)."""
    x = context.stream(operands[0], "the input of Relu")
    return Stream(context.builder.relu(x.node, context.label), x.shape)


def leaky_relu(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """x or alpha x."""
    x = context.stream(operands[0], "the input of LeakyRelu")
    function = activations.leaky_relu(float(attributes.get("alpha", 0.01)))
    return Stream(context.builder.activation(x.node, function, context.label), x.shape)


def prelu(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """x or slope x, one slope an entry: slope x + (1 - slope) relu(x)."""
    x = context.stream(operands[0], "the input of PRelu")
    slope = context.constant(operands[1], "the slope of PRelu").astype(np.float64)
    flat = np.broadcast_to(slope, x.shape).ravel()
    positive = context.builder.relu(x.node, context.label)
    operators = [Scale(tensor(flat)), Scale(tensor(1.0 - flat))]
    return Stream(context.builder.affine([x.node, positive], list(operators), None, context.label), x.shape)


def absolute(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """|x|."""
    x = context.stream(operands[0], "the input of Abs")
    return Stream(context.builder.activation(x.node, activations.ABS, context.label), x.shape)


def clip(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """min(max(x, low), high) with constant limits; a missing limit, or one beyond 1e30, does not clip."""
    x = context.stream(operands[0], "the input of Clip")
    limits: list[float | None] = []
    for position, name in ((1, "min"), (2, "max")):
        value: float | None = None
        if name in attributes:
            value = float(attributes[name])
        elif len(operands) > position and operands[position] is not None:
            value = float(context.constant(operands[position], f"the {name} of Clip"))
        limits.append(None if value is None or abs(value) > 1e30 else value)
    function = activations.clip(limits[0], limits[1])
    if not function.breakpoints and function.slopes == (1.0,):
        return x
    return Stream(context.builder.activation(x.node, function, context.label), x.shape)


def softmax(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Dropped as the last layer: it keeps the order of the outputs."""
    x = context.stream(operands[0], f"the input of {node.op_type}")
    if not context.is_last:
        raise context.unsupported(f"{node.op_type} is supported as the last layer only; it is not piecewise linear")
    axis = int(attributes.get("axis", 1 if context.opset < 13 else -1)) % len(x.shape)
    if any(n != 1 for a, n in enumerate(x.shape) if (a < axis if context.opset < 13 else a != axis)):
        raise context.unsupported(f"{node.op_type} over an axis that is not the only one of size above 1")
    context.notes.append(f"the final {node.op_type} is dropped: it keeps the order of the outputs, not their values")
    return x

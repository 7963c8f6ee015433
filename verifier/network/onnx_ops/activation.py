"""Activations: ReLU and what can be written with it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx

from .. import activations
from ..builder import tensor
from ..operators import Scale
from . import Context, Stream, Value
from .arithmetic import scaled


def relu(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """max(x, 0)."""
    x = context.stream(operands[0], "the input of Relu")
    return Stream(context.builder.relu(x.node, context.label), x.shape)


def leaky_relu(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """x or alpha x."""
    x = context.stream(operands[0], "the input of LeakyRelu")
    function = activations.leaky_relu(float(attributes.get("alpha", np.float32(0.01))))
    return Stream(context.builder.activation(x.node, function, context.label), x.shape)


def prelu(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """x or slope x, one slope an entry: slope x + (1 - slope) relu(x)."""
    x = context.stream(operands[0], "the input of PRelu")
    slope = context.constant(operands[1], "the slope of PRelu").astype(np.float64)
    flat = np.broadcast_to(slope, x.shape).ravel()
    context.keep_exact(all(Fraction(s) + Fraction(1.0 - s) == 1 for s in set(flat.tolist())))
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
    """min(max(x, low), high) with constant limits; a missing limit, or the largest number of its type, does not clip."""
    x = context.stream(operands[0], "the input of Clip")
    # Where none is written it is the largest number: of float32 in attributes, else of the type that the values have by then.
    # That a Cast may have changed; what stays below the largest of float32 stays below both.
    largest = np.array(np.finfo(np.float32).max)
    limits: list[float | None] = []
    for position, name, none in ((1, "min", -largest), (2, "max", largest)):
        given: np.ndarray | float = none
        if name in attributes:
            given = float(attributes[name])
        elif len(operands) > position and operands[position] is not None:
            given = context.constant(operands[position], f"the {name} of Clip")
        value = float(context.limits(x, given).item())
        limits.append(None if value == np.copysign(np.inf, none) else value)
    if any(value is not None and not np.isfinite(value) for value in limits):
        raise context.unsupported(f"Clip to {limits[0]} and {limits[1]}")
    function = activations.clip(limits[0], limits[1])
    if not function.breakpoints and function.slopes == (1.0,):
        return x
    return Stream(context.builder.activation(x.node, function, context.label), x.shape)


def hard_sigmoid(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """max(0, min(1, alpha x + beta))."""
    x = context.stream(operands[0], "the input of HardSigmoid")
    alpha, beta = float(attributes.get("alpha", np.float32(0.2))), float(attributes.get("beta", 0.5))
    line = scaled(context, x, np.array(alpha), np.full(x.shape, beta), x.shape)
    return Stream(context.builder.activation(line.node, activations.clip(0.0, 1.0), context.label), x.shape)


def ending(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Refused: where it is the last layer, the reader has stopped before it."""
    raise context.unsupported(f"{node.op_type} is supported as the last layer only; it is not piecewise linear")

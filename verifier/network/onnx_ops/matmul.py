"""Gemm and MatMul by a constant matrix."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..operators import Dense, Operator
from . import Context, Stream, Value


def _times(context: Context, x: Stream, weight: np.ndarray, bias: np.ndarray | None, shape: tuple[int, ...]) -> Stream:
    """Rows of x times `weight` (out, in)."""
    if x.shape[-1] != weight.shape[1]:
        raise context.unsupported(f"shapes do not fit: {x.shape} times a matrix of {weight.shape[1]} rows")
    operator: Operator = Dense(tensor(weight), prod(x.shape[:-1]))
    full = None if bias is None else np.broadcast_to(bias, shape)
    return Stream(context.builder.affine([x.node], [operator], full, context.label), shape)


def gemm(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """alpha A B + beta C with a constant B (transposed where `transB` says so)."""
    x = context.stream(operands[0], "the first operand of Gemm")
    weight = context.constant(operands[1], "the second operand of Gemm").astype(np.float64)
    if attributes.get("transA", 0):
        x = context.select(x, x.positions.T)
    weight = (weight if attributes.get("transB", 0) else weight.T) * float(attributes.get("alpha", 1.0))
    bias = None
    if len(operands) > 2 and operands[2] is not None:
        bias = context.constant(operands[2], "the third operand of Gemm") * float(attributes.get("beta", 1.0))
    return _times(context, x, weight, bias, (x.shape[0], weight.shape[0]))


def matmul(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Stream times matrix, or matrix times stream."""
    left, right = operands
    if isinstance(left, Stream) and isinstance(right, Stream):
        raise context.unsupported("MatMul of two values that both depend on the input is not piecewise linear")
    if isinstance(left, Stream):
        weight = context.constant(right, "the matrix of MatMul").astype(np.float64)
        if weight.ndim == 1:
            result = _times(context, left, weight[None, :], None, (*left.shape[:-1], 1))
            return Stream(result.node, left.shape[:-1])
        if weight.ndim > 2 and prod(weight.shape[:-2]) == 1:
            weight = weight.reshape(weight.shape[-2:])
        if weight.ndim != 2:
            raise context.unsupported("MatMul by a stack of matrices is not supported")
        return _times(context, left, weight.T, None, (*left.shape[:-1], weight.shape[1]))
    x = context.stream(right, "one operand of MatMul")
    weight = context.constant(left, "the matrix of MatMul").astype(np.float64)
    if weight.ndim != 2:
        raise context.unsupported("MatMul with a stack of matrices on the left is not supported")
    if len(x.shape) == 1:
        result = _times(context, x, weight, None, (weight.shape[0],))
        return result
    turned = context.select(x, np.swapaxes(x.positions, -1, -2))
    product = _times(context, turned, weight, None, (*turned.shape[:-1], weight.shape[0]))
    return context.select(product, np.swapaxes(product.positions, -1, -2))

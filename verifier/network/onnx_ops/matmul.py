"""Gemm and MatMul by a constant matrix."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..exact import exact_product
from ..operators import Conv2d, Dense, Operator
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
    alpha, beta = (float(attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    weight = context.constant(operands[1], "the second operand of Gemm").astype(np.float64)
    if attributes.get("transA", 0):
        x = context.select(x, x.positions.T)
    weight = _factored(context, weight if attributes.get("transB", 0) else weight.T, alpha, "alpha B")
    bias = None
    if len(operands) > 2 and operands[2] is not None:
        bias = _factored(context, context.constant(operands[2], "the third operand of Gemm"), beta, "beta C")
    return _times(context, x, weight, bias, (x.shape[0], weight.shape[0]))


def _factored(context: Context, array: np.ndarray, factor: float, what: str) -> np.ndarray:
    """A constant in float64 times a factor.

    Raises:
        UnsupportedOperator: float64 does not have the product.
    """
    array = np.asarray(array, dtype=np.float64)
    if abs(factor) == 1.0:
        return array * factor
    product = exact_product(tensor(array), tensor(np.array(factor)))
    if product is None:
        raise context.unsupported(
            f"{what} of Gemm rounds: float64 does not have the product; multiply it out in the file"
        )
    return product.numpy()


def matmul(context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """Stream times constant or constant times stream; either may be a stack of matrices, as in numpy."""
    left, right = operands
    if isinstance(left, Stream) and isinstance(right, Stream):
        raise context.unsupported("MatMul of two values that both depend on the input is not piecewise linear")
    if isinstance(left, Stream):
        return _product(context, left, context.constant(right, "the matrix of MatMul").astype(np.float64))
    # (C X) transposed is X^T C^T; a vector is its own transpose
    x, weight = context.stream(right, "one operand of MatMul"), context.constant(left, "the matrix of MatMul")
    weight = weight.astype(np.float64)
    turned = x if len(x.shape) == 1 else context.select(x, np.swapaxes(x.positions, -1, -2))
    result = _product(context, turned, weight if weight.ndim == 1 else np.swapaxes(weight, -1, -2))
    if len(x.shape) == 1 or weight.ndim == 1:
        return result
    return context.select(result, np.swapaxes(result.positions, -1, -2))


def _product(context: Context, x: Stream, weight: np.ndarray) -> Stream:
    """x times weight, as numpy's matmul."""
    if weight.ndim == 0:
        raise context.unsupported("MatMul by a number")
    if weight.ndim == 1:
        column = _product(context, x, weight[:, None])
        return Stream(column.node, column.shape[:-1])
    if len(x.shape) == 1:
        row = _product(context, Stream(x.node, (1, *x.shape)), weight)
        *stack, _, columns = row.shape
        return Stream(row.node, (*stack, columns))
    if prod(weight.shape[:-2]) == 1 and weight.ndim <= len(x.shape):
        matrix = weight.reshape(weight.shape[-2:])
        return _times(context, x, matrix.T, None, (*x.shape[:-1], int(weight.shape[-1])))
    return _stack(context, x, weight)


def _stack(context: Context, x: Stream, weight: np.ndarray) -> Stream:
    """A product for each of a stack of matrices: a convolution by 1 x 1 kernels, one group a matrix."""
    inner, columns = int(weight.shape[-2]), int(weight.shape[-1])
    if x.shape[-1] != inner:
        raise context.unsupported(f"shapes do not fit: {list(x.shape)} times {list(weight.shape)}")
    stack = np.broadcast_shapes(x.shape[:-2], weight.shape[:-2])
    *_, rows, _ = x.shape
    count = prod(stack)
    context.limit((count, inner, max(rows, columns)))
    spread = np.broadcast_to(x.positions, (*stack, rows, inner))
    image = context.select(x, np.swapaxes(spread, -1, -2).reshape(count * inner, rows, 1))
    kernels = np.swapaxes(np.broadcast_to(weight, (*stack, inner, columns)), -1, -2).reshape(-1, inner, 1, 1)
    operator = Conv2d(tensor(kernels), (count * inner, rows, 1), groups=count)
    node = context.builder.affine([image.node], [operator], None, context.label)
    result = Stream(node, (*stack, columns, rows))
    return context.select(result, np.swapaxes(result.positions, -1, -2))

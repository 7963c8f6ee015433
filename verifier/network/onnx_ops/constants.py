"""Folding of what does not depend on the input, by onnx's own reference evaluator.

Only operators that shape arithmetic and parameters need, and only results of a size that can be told beforehand: a file
must not be able to run loops or fill the memory. What an operator computes of floating-point numbers counts if float64 has it exactly: the
file's numbers are what a verdict is about, and a runtime's rounding of them would be others.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import torch
from torch import Tensor

from ...errors import UnsupportedOperator
from ..exact import exact_product, exact_sum
from . import LARGEST_VALUE, Context, Value

_ELEMENTWISE = frozenset(
    "Abs Add And Cast Ceil Clip Div Equal Exp Floor Greater GreaterOrEqual Less LessOrEqual Log Max Min Mod Mul Neg Not "
    "Or Pow Reciprocal Round Sign Sqrt Sub Sum Where".split()
)
_ROUNDING = frozenset(
    "Add Div Exp Gemm Log MatMul Mod Mul Pow Range Reciprocal ReduceMean ReduceProd ReduceSum Sqrt Sub Sum".split()
)
_SMALLER = frozenset(  # results no larger than all operands together
    "Concat Constant Flatten Identity ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Shape Size "
    "Slice Split Squeeze Transpose Unsqueeze".split()
)


def fold(context: Context, node: onnx.NodeProto, operands: list[Value | None]) -> list[Value]:
    """The constants that a node on constants computes.

    Raises:
        UnsupportedOperator: not an operator that is folded, too large a result, or one that the evaluator refuses.
    """
    from onnx.reference import ReferenceEvaluator

    if node.op_type == "DequantizeLinear":
        return [_dequantized(context, node, operands)]
    given = [(name, np.asarray(v)) for name, v in zip(node.input, operands, strict=True) if v is not None]
    wide = not context.widened.isdisjoint(node.input)
    if wide and node.op_type == "Cast":
        return [_kept(context, node, given[0][1])]
    _refuse_unclear(context, node, operands)
    kinds = [value.dtype for _, value in given if value.dtype.kind == "f"]
    rounds = node.op_type in _ROUNDING and bool(kinds)
    if rounds or wide:
        given = [(name, v.astype(np.float64) if v.dtype.kind == "f" else v) for name, v in given]
    feeds = dict(given)
    try:
        if _size(node, [value for _, value in given]) > LARGEST_VALUE:
            raise MemoryError("its result is too large")
        infos = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for name, a in feeds.items()
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "constant", infos, outputs)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", context.opset)])
        results = [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # the reference evaluator raises whatever numpy raises
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        message = f"{context.origin}: {context.label}: constant {node.op_type} could not be evaluated ({reason})"
        raise UnsupportedOperator(message) from error
    if any(value.dtype.kind not in "fiub" for value in results):
        raise context.unsupported(f"constant {node.op_type} is not made of numbers")
    if rounds and not _is_exact(node.op_type, [value for _, value in given], results[0]):
        raise context.unsupported(
            f"constant {node.op_type} rounds its result, or is not known not to, so that the file does not say which numbers it means: "
            "write them into the file (constant folding of the exporter, or of onnxsim)"
        )
    if rounds or wide:
        kind = np.dtype(np.float32) if wide else np.result_type(*kinds)
        return [_narrowed(context, name, value, kind) for name, value in zip(node.output, results, strict=False)]
    return list(results)


def _refuse_unclear(context: Context, node: onnx.NodeProto, operands: list[Value | None]) -> None:
    """Refuse nodes that runtimes compute in other ways than onnx's evaluator, or not twice in the same way.

    Raises:
        UnsupportedOperator: a Dropout, a Split into another number of parts than it has outputs, axes that are negative
            before opset 11 or not in order before opset 13, a cast that some round twice, or of numbers that the integers do not hold.
    """
    numbers = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    match node.op_type:
        case "Dropout":  # where it trains it is random, and some runtimes do not round between casts around it
            raise context.unsupported("Dropout of a constant")
        case "Split" if numbers.get("num_outputs", len(node.output)) != len(node.output):
            raise context.unsupported("Split into another number of parts than it has outputs")
        case "Cast":
            value, target = np.asarray(operands[0]), onnx.helper.tensor_dtype_to_np_dtype(numbers["to"])
            widens = target in (np.float32, np.float64)  # all of short numbers are among theirs
            if target.isbuiltin != 1 or (value.dtype.isbuiltin != 1 and not widens):
                raise context.unsupported(f"constant Cast of {value.dtype} to {target}")
            if value.dtype == np.float64 and target == np.float16:
                raise context.unsupported("constant Cast of float64 to float16, which some runtimes round twice")
            if value.dtype.kind == "f" and target.kind in "iu" and value.size:
                held = np.iinfo(target)
                if not (np.isfinite(value).all() and held.min <= int(value.min()) and int(value.max()) <= held.max):
                    raise context.unsupported(f"constant Cast of numbers that {target} does not hold")
    axes = np.atleast_1d(numbers.get("axes", numbers.get("axis", [])))
    if node.op_type in ("Squeeze", "Unsqueeze") and len(operands) > 1 and operands[1] is not None:
        axes = np.atleast_1d(np.asarray(operands[1]))
    if context.opset < 11 and (axes < 0).any() and node.op_type != "Gather":
        raise context.unsupported("negative axes of a constant in an opset that has none")
    if node.op_type in ("Squeeze", "Unsqueeze") and context.opset < 13 and (np.diff(axes) <= 0).any():
        raise context.unsupported(f"axes of a constant {node.op_type} that are not in order")


def _narrowed(context: Context, name: str, value: np.ndarray, kind: np.dtype) -> np.ndarray:
    """A result in the type that the file gives it, or in float64 where that type does not have all of its numbers."""
    if value.dtype != np.float64 or kind == np.float64:
        return value
    with np.errstate(over="ignore"):
        narrow = value.astype(kind)
    if np.array_equal(narrow.astype(np.float64), value):
        return narrow
    context.widened.add(name)
    return value


def _kept(context: Context, node: onnx.NodeProto, value: np.ndarray) -> np.ndarray:
    """A widened constant after a Cast, which would round it in the file.

    Raises:
        UnsupportedOperator: a cast to other numbers than those of float32 or float64.
    """
    to = next(onnx.helper.get_attribute_value(a) for a in node.attribute if a.name == "to")
    if to not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
        raise context.unsupported("constant Cast of a result that the file's own type does not have")
    context.widened.add(node.output[0])
    return value


def _is_exact(kind: str, operands: list[np.ndarray], result: np.ndarray) -> bool:
    """Whether a result in float64 is known to be what an operator of `_ROUNDING` computes of float64 operands without rounding."""
    values = [torch.from_numpy(np.array(a, dtype=np.float64)) for a in operands]
    found = torch.from_numpy(np.array(result, dtype=np.float64))
    match kind, values:
        case (("Add" | "Sum" | "Sub"), [first, *others]):
            total: Tensor | None = first
            for other in others:
                total = None if total is None else exact_sum(total, -other if kind == "Sub" else other)
            return total is not None and torch.equal(total.expand(found.shape), found)
        case "Mul", [a, b]:
            return exact_product(a, b) is not None
        case "Div", [a, b]:
            back = exact_product(found, b)
            return back is not None and bool((back == a).all())
        case "Reciprocal", [a]:
            back = exact_product(found, a)
            return back is not None and bool((back == 1).all())
        case "Sqrt", [a]:
            back = exact_product(found, found)
            return back is not None and bool((back == a).all())
    return False


def _dequantized(context: Context, node: onnx.NodeProto, operands: list[Value | None]) -> np.ndarray:
    """(x - zero point) scale, for 8-bit or 32-bit weights; the evaluator has it for the newest opsets only."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    x, scale = context.constant(operands[0], "the weight"), context.constant(operands[1], "the scale")
    zero = np.zeros_like(scale, dtype=x.dtype) if len(operands) < 3 or operands[2] is None else np.asarray(operands[2])
    if x.dtype not in (np.int8, np.uint8, np.int32) or scale.dtype not in (np.float32, np.float64):
        raise context.unsupported(f"DequantizeLinear of {x.dtype} to {scale.dtype} is not supported")
    if attributes.get("block_size", 0) or attributes.get("output_dtype", 0) or zero.shape != scale.shape:
        raise context.unsupported("DequantizeLinear by blocks is not supported")
    if scale.size > 1:
        axis = int(attributes.get("axis", 1))
        if scale.ndim != 1 or not -x.ndim <= axis < x.ndim or x.shape[axis] != scale.size:
            raise context.unsupported(f"DequantizeLinear of {list(x.shape)} by {list(scale.shape)} along axis {axis}")
        along = [-1 if a == axis % x.ndim else 1 for a in range(x.ndim)]
        scale, zero = scale.reshape(along), zero.reshape(along)
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    steps = torch.from_numpy((x.astype(np.int64) - zero.astype(np.int64)).astype(np.float64))
    product = exact_product(steps, torch.from_numpy(np.array(scale, dtype=np.float64)))
    if product is None:
        raise context.unsupported("DequantizeLinear rounds: float64 does not have (x - zero point) scale")
    kind = np.dtype(np.float32) if not context.widened.isdisjoint(node.input) else scale.dtype
    return _narrowed(context, node.output[0], product.numpy(), kind)


def _size(node: onnx.NodeProto, operands: list[np.ndarray]) -> int:
    """Entries of the result, at most.

    Raises:
        ValueError: an operator that is not folded.
    """
    if any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute):
        raise ValueError("it has a graph inside")
    kind = node.op_type
    if kind in _ELEMENTWISE:
        return prod(np.broadcast_shapes(*(a.shape for a in operands)))
    if kind in _SMALLER:
        return sum(a.size for a in operands)
    if kind == "ConstantOfShape":
        return prod(int(n) for n in operands[0].ravel())
    if kind == "Expand":
        return prod(np.broadcast_shapes(operands[0].shape, tuple(int(n) for n in operands[1].ravel())))
    if kind == "Tile":
        return operands[0].size * prod(int(n) for n in operands[1].ravel())
    if kind == "Range":
        start, limit, step = (float(a) for a in operands)
        return max(int((limit - start) / step) + 1, 0)
    if kind == "Gather":
        return operands[1].size * operands[0].size
    if kind in ("MatMul", "Gemm"):
        return prod(operands[0].shape[:-1]) * operands[1].size
    raise ValueError("this operator is not folded")

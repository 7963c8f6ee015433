"""Nodes run on numbers by onnx's own reference evaluator, but for those that runtimes take in other ways."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from .model_file import Rejected

LARGEST = 1 << 26  # entries of a result


def refuse_unclear_axes(kind: str, opset: int, attributes: dict[str, Any], operands: list[Any]) -> None:
    """Refuse axes that runtimes and onnx's own evaluator take differently, or that the specification does not have.

    Raises:
        Rejected: they are negative before opset 11, or not in order.
    """
    axes = np.atleast_1d(attributes.get("axes", attributes.get("axis", [])))
    if kind in ("Squeeze", "Unsqueeze") and len(operands) > 1 and operands[1] is not None:
        axes = np.atleast_1d(operands[1])
    if opset < 11 and (axes < 0).any():
        raise Rejected(f"negative axes of {kind} in this opset are not what the checker reads")
    if kind in ("Squeeze", "Unsqueeze") and (np.diff(axes) <= 0).any():
        raise Rejected(f"axes of {kind} that are not in order are not what the checker reads")


def evaluate(node: onnx.NodeProto, operands: list[Any], opsets: Any) -> list[Any]:
    """What onnx itself computes, on numbers.

    Raises:
        Rejected: it cannot, or runtimes may compute something else.
    """
    numbers = {a.name: a.i for a in node.attribute}
    if node.op_type == "Split" and numbers.get("num_outputs", len(node.output)) != len(node.output):
        raise Rejected("a Split into another number of parts than it has outputs is not one that the checker reads")
    if node.op_type == "Cast":
        _refuse_unclear_cast(operands[0], helper.tensor_dtype_to_np_dtype(numbers["to"]))
    if node.op_type == "Gather" and prod(o.size for o in operands) > LARGEST:
        raise Rejected("Gather of so many entries is not one that the checker reads")
    feeds = {name: o for name, o in zip(node.input, operands, strict=False) if o is not None}
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.input[len(operands) :]
    kinds = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(o.dtype), o.shape)
        for name, o in feeds.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = helper.make_graph([alone], "node", kinds, outputs)
    try:
        model = helper.make_model(graph, opset_imports=opsets)
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # it raises whatever numpy raises
        raise Rejected(f"operator {node.op_type} cannot be evaluated ({error})".splitlines()[0][:200]) from error


def _refuse_unclear_cast(value: Any, target: np.dtype[Any]) -> None:
    """Refuse casts of constants that runtimes do in different ways.

    Raises:
        Rejected: of or to a type that numpy alone does not have, or of a number that an integer type does not hold.
    """
    if not (value.dtype.isbuiltin == target.isbuiltin == 1):
        raise Rejected("a cast of or to 8-bit or other short numbers is not one that the checker reads")
    if value.dtype == np.float64 and target == np.float16:
        raise Rejected("a cast of float64 to float16 is not one that the checker reads")  # some round twice
    if value.dtype.kind == "f" and target.kind in "iu" and value.size:
        limits = np.iinfo(target)
        if not (np.isfinite(value).all() and limits.min <= int(value.min()) and int(value.max()) <= limits.max):
            raise Rejected("a cast of numbers to integers that do not hold them is not one that the checker reads")

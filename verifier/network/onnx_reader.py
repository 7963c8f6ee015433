"""From an ONNX file to a `Network`: loads and checks the file, then walks its nodes.

Constants are folded with onnx's own reference evaluator, so that the shape arithmetic that exporters leave behind
disappears; what acts on the input goes through the table `READERS`, one file a family in `onnx_ops`.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from ..errors import InvalidModel, UnsupportedOperator
from .builder import NetworkBuilder
from .nodes import Affine, Network
from .onnx_ops import READERS, Context, Stream, Value

REFUSED_WEIGHT = 1e8
FLAGGED_WEIGHT = 1e5
_FIRST_OPSET = 7


def load_model(path: str | Path) -> onnx.ModelProto:
    """Load and check a file.

    Raises:
        InvalidModel: not a file, not ONNX, too old an opset, or inconsistent.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file; give the path of an ONNX file, or zoo:NAME for a shipped network")
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf and onnx raise a dozen unrelated types here
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InvalidModel(f"{path}: not a readable ONNX file ({reason})") from error
    if not model.graph.node or not model.graph.output:
        raise InvalidModel(f"{path}: not an ONNX network: the graph is empty")
    return model


def read_onnx(path: str | Path) -> Network:
    """Read an ONNX file, opset 7 or newer, into a `Network` with float64 parameters.

    Raises:
        InvalidModel: the file is not a usable network.
        UnsupportedOperator: names the first node that is not supported.
    """
    model = load_model(path)
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return read_model(model, digest, str(path))


def read_model(model: onnx.ModelProto, sha256: str = "", origin: str = "model") -> Network:
    """Read a model that is already in memory; `origin` opens the error messages."""
    graph = model.graph
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < _FIRST_OPSET:
        raise InvalidModel(
            f"{origin}: opset {opset} is too old; re-export the network with opset {_FIRST_OPSET} or newer"
        )
    notes: list[str] = []
    constants = {init.name: _parameter(init, origin, notes) for init in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise InvalidModel(f"{origin}: has {len(inputs)} inputs; advverify reads networks with exactly one")
    if len(graph.output) != 1:
        raise InvalidModel(f"{origin}: has {len(graph.output)} outputs; advverify reads networks with exactly one")
    full_shape, input_shape = input_shapes(inputs[0], origin)
    builder = NetworkBuilder(input_shape)
    context = Context(builder, opset, origin)
    values: dict[str, Value] = {**constants, inputs[0].name: Stream(0, full_shape)}
    last_users = {name: index for index, node in enumerate(graph.node) for name in node.input}
    for index, node in enumerate(graph.node):
        operands = [values[name] if name else None for name in node.input]
        context.is_last = all(name not in last_users for name in node.output) or index == len(graph.node) - 1
        results = _read_node(context, node, operands, notes, origin)
        for name, value in zip(node.output, results, strict=False):
            values[name] = value
    result = values[graph.output[0].name]
    if not isinstance(result, Stream):
        raise InvalidModel(f"{origin}: the output does not depend on the input")
    metadata = tuple((entry.key, entry.value) for entry in model.metadata_props)
    network = builder.finish(result.node, sha256=sha256, metadata=metadata, notes=tuple(dict.fromkeys(notes)))
    if not any(isinstance(n, Affine) for n in network.nodes):
        raise InvalidModel(f"{origin}: the graph holds no computation")
    return network


def input_shapes(value: onnx.ValueInfoProto, origin: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shape with the batch set to 1, and shape of one input without the batch dimension."""
    dims = [
        d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in value.type.tensor_type.shape.dim
    ]
    if not dims:
        raise InvalidModel(f"{origin}: input '{value.name}' has no shape; export the network with a fixed input shape")
    full = [1 if d is None and i == 0 else d for i, d in enumerate(dims)]
    if any(d is None for d in full):
        raise InvalidModel(
            f"{origin}: input '{value.name}' has free dimensions besides the batch; export it with them fixed"
        )
    shape = tuple(int(d) for d in full if d is not None)
    has_batch = len(shape) > 1 and shape[0] == 1
    return shape, shape[1:] if has_batch else shape


def _parameter(init: onnx.TensorProto, origin: str, notes: list[str]) -> np.ndarray:
    array = np.asarray(numpy_helper.to_array(init))
    if not np.issubdtype(array.dtype, np.floating) or array.size == 0:
        return array
    if not np.isfinite(array).all():
        raise InvalidModel(
            f"{origin}: weight '{init.name}' holds NaN or infinite values; the network cannot be verified"
        )
    largest = float(np.abs(array).max())
    if largest > REFUSED_WEIGHT and largest < 1e30:
        raise InvalidModel(
            f"{origin}: weight '{init.name}' holds values up to {largest:.3g}; beyond {REFUSED_WEIGHT:g} neither a MIP nor "
            "float32 can see the small ones - rescale the network"
        )
    if largest > FLAGGED_WEIGHT and largest < 1e30:
        notes.append(f"weight '{init.name}' holds values up to {largest:.3g}: a MILP's word alone is not trusted on it")
    return array


def _read_node(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], notes: list[str], origin: str
) -> list[Value]:
    label = f"node '{node.name or (node.output[0] if node.output else '?')}'"
    context.label = label
    if node.domain not in ("", "ai.onnx"):
        raise UnsupportedOperator(
            f"{origin}: {label}: operator {node.domain}.{node.op_type} is not a standard ONNX operator"
        )
    if node.op_type == "Shape" and isinstance(operands[0], Stream):
        return [_shape_of(node, operands[0])]
    if not any(isinstance(value, Stream) for value in operands):
        return _fold_constants(context, node, operands)
    target = READERS.get(node.op_type)
    if target is None:
        supported = ", ".join(sorted([*READERS, "Constant"]))
        raise UnsupportedOperator(
            f"{origin}: {label}: operator {node.op_type} is not supported; supported are {supported}"
        )
    module, name = target.split(":")
    reader = getattr(import_module(f".onnx_ops.{module}", __package__), name)
    attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    result = reader(context, node, operands, attributes)
    notes.extend(context.notes)
    context.notes.clear()
    return result if isinstance(result, list) else [result]


def _shape_of(node: onnx.NodeProto, value: Stream) -> np.ndarray:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return np.array(value.shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)


def _fold_constants(context: Context, node: onnx.NodeProto, operands: list[Value | None]) -> list[Value]:
    from onnx.reference import ReferenceEvaluator

    feeds = {name: np.asarray(v) for name, v in zip(node.input, operands, strict=True) if v is not None}
    infos = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in feeds.items()
    ]
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    graph = onnx.helper.make_graph([node], "constant", infos, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", context.opset)])
    try:
        if sum(prod(a.shape) for a in feeds.values()) > 1 << 28:
            raise MemoryError("constant too large to fold")
        return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
    except Exception as error:  # the reference evaluator raises whatever numpy raises
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        message = f"{context.origin}: {context.label}: constant {node.op_type} could not be evaluated ({reason})"
        raise UnsupportedOperator(message) from error

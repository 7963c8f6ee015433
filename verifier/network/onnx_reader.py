"""From an ONNX file to a `Network`: loads and checks the file, then walks its nodes.

Constants are folded with onnx's own reference evaluator, so that the shape arithmetic that exporters leave behind
disappears; what acts on the input goes through the table `READERS`, one file a family in `onnx_ops`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from ..errors import AdvverifyError, InvalidModel, UnsupportedOperator
from .builder import NetworkBuilder
from .nodes import Affine, Network
from .onnx_ops import LARGEST_VALUE, READERS, Context, Stream, Value
from .onnx_ops.constants import fold

REFUSED_WEIGHT = 1e8
FLAGGED_WEIGHT = 1e5
_FIRST_OPSET = 7
# What numpy, torch and protobuf raise over parts that do not fit together.
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


def load_model(path: str | Path) -> onnx.ModelProto:
    """Load and check a file.

    Raises:
        InvalidModel: not a file, not ONNX, too old an opset, or inconsistent.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidModel(f"{path}: no such file; give the path of an ONNX file, or zoo:NAME for a shipped network")
    try:
        model = onnx.load(str(path), load_external_data=False)
        external = external_files(model, path)
        if external:
            load_external_data_for_model(model, str(path.parent))
    except InvalidModel:
        raise
    except Exception as error:  # protobuf and onnx raise a dozen unrelated types here
        raise InvalidModel(f"{path}: not a readable ONNX file ({_line(error)})") from error
    if not model.graph.node or not model.graph.output:
        raise InvalidModel(f"{path}: not an ONNX network: the graph is empty")
    return model


def external_files(model: onnx.ModelProto, path: Path) -> list[Path]:
    """The files beside the model that hold some of its weights.

    Raises:
        InvalidModel: one lies outside the model's folder, or is not there.
    """
    folder, found = path.parent.resolve(), set()
    for holder in _tensors(model):
        for entry in holder.external_data:
            if entry.key == "location":
                file = (folder / entry.value).resolve()
                if not file.is_relative_to(folder):
                    raise InvalidModel(f"{path}: weight '{holder.name}' points outside the model's folder; refused")
                if not file.is_file():
                    raise InvalidModel(f"{path}: weight '{holder.name}' lies in '{entry.value}', which is not there")
                found.add(file)
    return sorted(found)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def read_onnx(path: str | Path) -> Network:
    """Read an ONNX file, opset 7 or newer, into a `Network` with float64 parameters.

    Its `sha256` is that of the file; where weights lie in files of their own, of all of them one after the other.

    Raises:
        InvalidModel: the file is not a usable network.
        UnsupportedOperator: names the first node that is not supported.
    """
    path = Path(path)
    model = load_model(path)
    digest = hashlib.sha256(path.read_bytes())
    for file in external_files(onnx.load(str(path), load_external_data=False), path):
        digest.update(file.read_bytes())
    return read_model(model, digest.hexdigest(), str(path))


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
    builder = NetworkBuilder(input_shape, exact=True)
    context = Context(builder, opset, origin)
    values: dict[str, Value] = {**constants, inputs[0].name: Stream(0, full_shape)}
    last_users = {name: index for index, node in enumerate(graph.node) for name in node.input}
    for index, node in enumerate(graph.node):
        missing = next((name for name in node.input if name and name not in values), None)
        if missing is not None:
            raise InvalidModel(f"{origin}: node '{node.name}' reads '{missing}', which nothing before it computes")
        operands = [values[name] if name else None for name in node.input]
        context.is_last = all(name not in last_users for name in node.output) or index == len(graph.node) - 1
        results = _read_node(context, node, operands, notes, origin)
        for name, value in zip(node.output, results, strict=False):
            values[name] = value
    result = values.get(graph.output[0].name)
    if not isinstance(result, Stream):
        raise InvalidModel(f"{origin}: the output does not depend on the input")
    metadata = tuple((entry.key, entry.value) for entry in model.metadata_props)
    try:
        network = builder.finish(result.node, sha256=sha256, metadata=metadata, notes=tuple(dict.fromkeys(notes)))
    except _MALFORMED as error:
        raise InvalidModel(f"{origin}: the graph does not fit together ({_line(error)})") from error
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
    if prod(d for d in full if d is not None) > LARGEST_VALUE:
        raise InvalidModel(f"{origin}: input '{value.name}' has more than {LARGEST_VALUE} entries")
    shape = tuple(int(d) for d in full if d is not None)
    has_batch = len(shape) > 1 and shape[0] == 1
    return shape, shape[1:] if has_batch else shape


def _parameter(init: onnx.TensorProto, origin: str, notes: list[str]) -> np.ndarray:
    try:
        array = np.asarray(numpy_helper.to_array(init))
    except _MALFORMED as error:
        raise InvalidModel(f"{origin}: weight '{init.name}' cannot be read ({_line(error)})") from error
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
    if node.op_type == "Shape" and operands and isinstance(operands[0], Stream):
        return [_shape_of(node, operands[0])]
    if not any(isinstance(value, Stream) for value in operands):
        return fold(context, node, operands)
    target = READERS.get(node.op_type)
    if target is None:
        supported = ", ".join(sorted([*READERS, "Constant"]))
        raise UnsupportedOperator(
            f"{origin}: {label}: operator {node.op_type} is not supported; supported are {supported}"
        )
    module, name = target.split(":")
    reader = getattr(import_module(f".onnx_ops.{module}", __package__), name)
    try:
        attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        result = reader(context, node, operands, attributes)
    except _MALFORMED as error:
        if isinstance(error, AdvverifyError):
            raise
        raise InvalidModel(f"{origin}: {label}: {node.op_type} does not fit together ({_line(error)})") from error
    notes.extend(context.notes)
    context.notes.clear()
    return result if isinstance(result, list) else [result]


def _shape_of(node: onnx.NodeProto, value: Stream) -> np.ndarray:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return np.array(value.shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]

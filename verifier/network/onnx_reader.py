"""From an ONNX file to a `Network`: walks the nodes of its graph.

Constants are folded with onnx's own reference evaluator, so that the shape arithmetic that exporters leave behind
disappears; what acts on the input goes through the table `READERS`, one file a family in `onnx_ops`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from ..denormals import denormals_kept
from ..errors import AdvverifyError, InvalidModel, UnsupportedOperator
from .builder import NetworkBuilder
from .nodes import Affine, Network
from .onnx_file import load_model, open_file
from .onnx_graph import FLOATS, STANDARD, Graph, Weight, check_ending, graph_of
from .onnx_ops import LARGEST_VALUE, READERS, REFUSED_WEIGHT, Context, Stream, Value, fits, limits_of
from .onnx_ops.constants import fold
from .operators import Operator

__all__ = ["Reading", "input_shapes", "load_model", "read_file", "read_model", "read_onnx"]

FLAGGED_WEIGHT = 1e5
_LIMITED = ("Clip", "Max", "Min")
# What numpy, torch and protobuf raise over parts that do not fit together.
_MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError, ArithmeticError, MemoryError)


@dataclass(frozen=True)
class Reading:
    """A network, and what it was read from.

    Attributes:
        network: what is verified.
        plain: the same before anything was folded into anything else, one affine node for each of the file's.
        graph: the file's graph.
        dtype: the narrowest type that the file computes in, as numpy calls it.
    """

    network: Network
    plain: Network
    graph: Graph
    dtype: str


def read_onnx(path: str | Path) -> Network:
    """Read an ONNX file, opset 7 or newer, into a `Network` with float64 parameters.

    Its `sha256` is that of the file, or of all of its files (`onnx_file.digest`) where weights lie in others.

    Raises:
        InvalidModel: the file is not a usable network.
        UnsupportedOperator: names the first node that is not supported.
    """
    return read_file(path).network


def read_file(path: str | Path) -> Reading:
    """As `read_onnx`, with what the network was read from."""
    file = open_file(path)
    return read_graph(graph_of(file.model, str(path)), file.sha256, str(path))


def read_model(model: onnx.ModelProto, sha256: str = "", origin: str = "model") -> Network:
    """Read a model that is already in memory; `origin` opens the error messages."""
    return read_graph(graph_of(model, origin), sha256, origin).network


@denormals_kept()
def read_graph(graph: Graph, sha256: str, origin: str) -> Reading:
    """Walk a graph's nodes."""
    full_shape, input_shape = input_shapes(graph.entry, origin)
    builder = NetworkBuilder(input_shape, exact=True)
    context = Context(builder, graph.opset, origin)
    reader = _Reader(graph, context, full_shape)
    result = reader.run()
    check_ending(graph, result.shape, origin)
    if len(full_shape) > 1 and full_shape[0] > 1 and len(result.shape) > 1 and result.shape[0] == full_shape[0]:
        raise _fixed_batch(graph.entry, full_shape[0], origin)
    try:
        network, plain = builder.finish(result.node), builder.plain(result.node)
    except _MALFORMED as error:
        raise InvalidModel(f"{origin}: the graph does not fit together ({_line(error)})") from error
    affine = [node for node in network.nodes if isinstance(node, Affine)]
    if not affine:
        raise InvalidModel(f"{origin}: the graph holds no computation")
    for node in affine:
        if not all(bool(torch.isfinite(t).all()) for t in (node.bias, *_parameters(node.operators))):
            raise InvalidModel(f"{origin}: {node.name or 'a node'}: its weights, multiplied out, are not finite")
    metadata = tuple((entry.key, entry.value) for entry in graph.model.metadata_props)
    notes = [*graph.notes, *reader.notes, *_about_outputs(graph, network.output_size)]
    kind = FLOATS[graph.entry.type.tensor_type.elem_type]
    about: dict[str, Any] = {"sha256": sha256, "metadata": metadata, "notes": tuple(dict.fromkeys(notes))}
    network = dataclasses.replace(network, **about, ending=graph.ending, input_dtype=kind)
    return Reading(network, plain, graph, "float32" if context.narrowed else kind)


def _about_outputs(graph: Graph, outputs: int) -> Iterator[str]:
    if graph.ending:
        yield f"the file ends in {graph.ending}; margins are margins of logits, the values before it"
    if outputs == 1:
        after = ", 0.5 after the Sigmoid" if graph.ending == "Sigmoid" else ""
        yield f"one output: class 1 where it is above 0{after}"


def _parameters(value: object) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _parameters(item)
    elif isinstance(value, Operator):
        for field in dataclasses.fields(value):
            yield from _parameters(getattr(value, field.name))


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
    if len(shape) > 3 and shape[0] > 1:
        raise _fixed_batch(value, shape[0], origin)
    has_batch = len(shape) > 1 and shape[0] == 1
    return shape, shape[1:] if has_batch else shape


def _fixed_batch(value: onnx.ValueInfoProto, size: int, origin: str) -> InvalidModel:
    return InvalidModel(
        f"{origin}: input '{value.name}' has its batch dimension fixed at {size}; export the network with a batch of 1 "
        "or a free one"
    )


class _Reader:
    """The values of a graph, as far as they are read."""

    def __init__(self, graph: Graph, context: Context, shape: tuple[int, ...]) -> None:
        self.graph, self.context, self.origin = graph, context, context.origin
        self.notes: list[str] = []
        self.values: dict[str, Value] = {graph.entry.name: Stream(0, shape)}
        self.checked: set[str] = set()

    def run(self) -> Stream:
        """The logits."""
        for node in self.graph.nodes:
            operands = [self._value(name) for name in node.input]
            results = self._read_node(node, operands)
            for name, value in zip(node.output, results, strict=False):
                self.values[name] = value
            if not {name for name in node.output if name} <= set(self.values):
                raise InvalidModel(f"{self.origin}: {self.context.label}: {node.op_type} has no such outputs")
        result = self._value(self.graph.logits)
        if not isinstance(result, Stream):
            raise InvalidModel(f"{self.origin}: the output does not depend on the input")
        return result

    def _value(self, name: str) -> Value | None:
        if name and name not in self.values:
            self.values[name] = self._weight(name, self.graph.weights[name])
        return self.values[name] if name else None

    def _weight(self, name: str, weight: Weight) -> np.ndarray:
        try:
            if isinstance(weight, onnx.TensorProto):
                return np.asarray(numpy_helper.to_array(weight))
            return _dense(weight)
        except _MALFORMED as error:
            raise InvalidModel(f"{self.origin}: weight '{name}' cannot be read ({_line(error)})") from error

    def _read_node(self, node: onnx.NodeProto, operands: list[Value | None]) -> list[Value]:
        context, kind = self.context, node.op_type
        label = context.label = f"node '{node.name or (node.output[0] if node.output else '?')}'"
        if node.domain not in STANDARD:
            raise UnsupportedOperator(
                f"{self.origin}: {label}: operator {node.domain}.{kind} is not a standard ONNX operator"
            )
        try:
            result = self._result(node, operands)
        except _MALFORMED as error:
            if isinstance(error, AdvverifyError):
                raise
            raise InvalidModel(f"{self.origin}: {label}: {kind} does not fit together ({_line(error)})") from error
        self.notes.extend(context.notes)
        context.notes.clear()
        return result if isinstance(result, list) else [result]

    def _result(self, node: onnx.NodeProto, operands: list[Value | None]) -> Value | list[Value]:
        """What a node computes: folded where it is constant, else by the reader of its operator."""
        context, kind = self.context, node.op_type
        if kind == "Shape" and operands and isinstance(operands[0], Stream):
            return _shape_of(node, operands[0])
        if not any(isinstance(value, Stream) for value in operands):
            return fold(context, node, operands)
        target = READERS.get(kind)
        if target is None:
            raise UnsupportedOperator(
                f"{self.origin}: {context.label}: operator {kind} is not supported; `advverify capabilities` lists those "
                "that are"
            )
        for name, value in zip(node.input, operands, strict=True):
            if isinstance(value, np.ndarray):
                self._check(name, value, kind in _LIMITED)
        module, function = target.split(":")
        reader = getattr(import_module(f".onnx_ops.{module}", __package__), function)
        attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        for key, number in attributes.items():
            if isinstance(number, float):
                self._check(f"{context.label}, {key}", np.array(number, dtype=np.float32), kind in _LIMITED)
        result: Value | list[Value] = reader(context, node, operands, attributes)
        return result

    def _check(self, name: str, array: np.ndarray, limits: bool) -> None:
        """Check a constant that meets a stream.

        Raises:
            InvalidModel: numbers that are none, or of a size that nothing here can work with.
        """
        if name in self.checked or not np.issubdtype(array.dtype, np.floating) or array.size == 0:
            return
        if limits:
            array = array[~np.isinf(limits_of(array))]
        else:
            self.checked.add(name)
        if not np.isfinite(array).all():
            raise InvalidModel(
                f"{self.origin}: weight '{name}' holds NaN or infinite values; the network cannot be verified"
            )
        largest = float(np.abs(array).max(initial=0.0))
        if largest > REFUSED_WEIGHT:
            raise InvalidModel(
                f"{self.origin}: weight '{name}' holds values up to {largest:.3g}; beyond {REFUSED_WEIGHT:g} neither a MIP "
                "nor float32 can see the small ones - rescale the network"
            )
        if largest > FLAGGED_WEIGHT:
            self.notes.append(
                f"weight '{name}' holds values up to {largest:.3g}: a MILP's word alone is not trusted on it"
            )


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A sparse tensor written out."""
    shape = tuple(int(n) for n in sparse.dims)
    if not fits(shape):
        raise ValueError(f"a value of shape {list(shape)}")
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(shape, values.dtype)
    if indices.size and indices.min() < 0:
        raise ValueError("a negative index")
    if indices.ndim == 1:
        array.ravel()[indices] = values
    else:
        array[tuple(indices.T)] = values
    return array


def _shape_of(node: onnx.NodeProto, value: Stream) -> np.ndarray:
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return np.array(value.shape[attributes.get("start", 0) : attributes.get("end")], dtype=np.int64)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]

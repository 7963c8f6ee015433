"""A model's graph as the reader wants it: one input, one output, nodes in order, and the ending told apart.

What a file does to its logits at the very end - Softmax, LogSoftmax, Sigmoid, and reshapes behind it - is not piecewise
linear, but keeps their order. The nodes here compute the logits; `ending` says what comes after them.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.inliner
from onnx import TensorProto, helper, numpy_helper

from ..errors import InvalidModel, UnsupportedOperator

ENDINGS = ("Softmax", "LogSoftmax", "Sigmoid")
FIRST_OPSET = 7
STANDARD = ("", "ai.onnx")
FLOATS = {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64"}
# They keep every entry of their first input, in its place.
_STILL = frozenset("Identity Dropout Cast Reshape Flatten Squeeze Unsqueeze".split())

Weight: TypeAlias = onnx.TensorProto | onnx.SparseTensorProto


@dataclass(frozen=True)
class Graph:
    """What `read_model` walks.

    Attributes:
        model: the file's model, local functions inlined.
        nodes: in an order in which they can be computed; only those that the logits need.
        weights: the initializers by name.
        entry: the input.
        output: name of the file's output that counts.
        logits: name of the value that the nodes compute; the output, where there is no ending.
        ending: "", "Softmax", "LogSoftmax" or "Sigmoid".
        axis: of the ending, as the file has it; None for its default.
        opset: version of the standard operators.
        width: how many logits there must be for the ending to be what it says; 0 for any number.
        notes: what a user should know.
    """

    model: onnx.ModelProto
    nodes: list[onnx.NodeProto]
    weights: dict[str, Weight]
    entry: onnx.ValueInfoProto
    output: str
    logits: str
    ending: str
    axis: int | None
    opset: int
    width: int = 0
    notes: list[str] = field(default_factory=list)

    def cut(self) -> onnx.ModelProto:
        """A model of its own that computes the logits."""
        used = {name for node in self.nodes for name in node.input}
        dense = [w for name, w in self.weights.items() if name in used and isinstance(w, onnx.TensorProto)]
        sparse = [w for name, w in self.weights.items() if name in used and isinstance(w, onnx.SparseTensorProto)]
        kind = self.entry.type.tensor_type.elem_type
        exit_ = helper.make_tensor_value_info(self.logits, kind, None)
        graph = helper.make_graph(self.nodes, "logits", [self.entry], [exit_], dense, sparse_initializer=sparse)
        return helper.make_model(graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version)


def graph_of(model: onnx.ModelProto, origin: str) -> Graph:
    """The graph of a model.

    Raises:
        InvalidModel: not one input, no output that counts, a type that is not read, or nodes that do not fit together.
    """
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)
    if opset < FIRST_OPSET:
        raise InvalidModel(
            f"{origin}: opset {opset} is too old; re-export the network with opset {FIRST_OPSET} or newer"
        )
    model = _inlined(model, origin)
    graph, notes = model.graph, list[str]()
    weights: dict[str, Weight] = {tensor.name: tensor for tensor in graph.initializer}
    weights |= {sparse.values.name: sparse for sparse in graph.sparse_initializer}
    entries = [value for value in graph.input if value.name not in weights]
    if len(entries) != 1:
        raise InvalidModel(f"{origin}: has {len(entries)} inputs; advverify reads networks with exactly one")
    kind = entries[0].type.tensor_type.elem_type
    if kind not in FLOATS:
        raise InvalidModel(
            f"{origin}: input '{entries[0].name}' is of type {type_name(kind)}; advverify reads float32 and float64 "
            "networks - export it in float32"
        )
    output = _output(graph, origin, notes)
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and (name in makers or name in weights or name == entries[0].name):
                raise InvalidModel(f"{origin}: value '{name}' is computed twice")
            makers[name] = index
    ending = _Ending(graph.node, makers, weights, origin).find(output)
    if ending.nodes:  # the two-class form: nodes that are not in the file
        weights = {**weights, ending.zero.name: ending.zero}
    everything = [*graph.node, *ending.nodes]
    makers |= {name: len(graph.node) + k for k, node in enumerate(ending.nodes) for name in node.output}
    nodes = _ordered(everything, makers, {*weights, entries[0].name}, ending.logits, origin)
    width = 2 if ending.nodes else 0
    return Graph(
        model, nodes, weights, entries[0], output, ending.logits, ending.kind, ending.axis, opset, width, notes
    )


def type_name(kind: int) -> str:
    """An ONNX element type as numpy calls it."""
    return {TensorProto.FLOAT: "float32", TensorProto.DOUBLE: "float64", 0: "unknown"}.get(
        kind, TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else f"number {kind}"
    )


def _inlined(model: onnx.ModelProto, origin: str) -> onnx.ModelProto:
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model, convert_version=False)
    except Exception as error:  # it raises what C++ raises
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InvalidModel(f"{origin}: its local functions cannot be inlined ({reason})") from error


def _output(graph: onnx.GraphProto, origin: str, notes: list[str]) -> str:
    """The only output; or of a label and floating-point numbers (a scikit-learn classifier), the numbers."""
    if len(graph.output) == 1:
        kind = graph.output[0].type.tensor_type.elem_type
        if kind not in (0, *FLOATS):
            raise InvalidModel(
                f"{origin}: output '{graph.output[0].name}' is of type {type_name(kind)}; advverify reads float32 and "
                "float64 networks"
            )
        return str(graph.output[0].name)
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.output}
    numbers = [name for name, kind in kinds.items() if kind in FLOATS]
    labels = [
        name for name, kind in kinds.items() if kind in (TensorProto.INT64, TensorProto.INT32, TensorProto.STRING)
    ]
    if len(numbers) != 1 or len(labels) != 1 or len(kinds) != 2:
        hint = ""
        if any(value.type.WhichOneof("value") == "sequence_type" for value in graph.output):
            hint = " (convert scikit-learn's with options={'zipmap': False})"
        raise InvalidModel(
            f"{origin}: has {len(graph.output)} outputs; advverify reads networks with exactly one{hint}"
        )
    notes.append(f"output '{numbers[0]}' is read; output '{labels[0]}' is a label and is not looked at")
    return str(numbers[0])


class _Ending:
    """Looks for what the file does to its logits: walks from the output to the front while nothing moves."""

    def __init__(self, nodes: Any, makers: dict[str, int], weights: dict[str, Weight], origin: str) -> None:
        self.makers, self.weights, self.origin = makers, weights, origin
        self.all = nodes
        self.kind, self.logits = "", ""
        self.axis: int | None = None
        self.nodes: list[onnx.NodeProto] = []
        self.zero = onnx.TensorProto()

    def find(self, output: str) -> _Ending:
        """Itself, with what was found."""
        name, self.logits = output, output
        for _ in range(len(self.all) + 1):
            node = self._maker(name)
            if node is None:
                return self
            if node.op_type in ENDINGS and node.input:
                self.kind, self.logits = node.op_type, node.input[0]
                self.axis = next((int(a.i) for a in node.attribute if a.name == "axis"), None)
                return self
            if node.op_type == "Concat":
                self._two_classes(node)
                return self
            if node.op_type not in _STILL or not node.input or (node.op_type == "Dropout" and len(node.input) > 2):
                return self
            if node.op_type == "Cast" and _attribute(node, "to") not in FLOATS:
                return self
            name = node.input[0]
        return self

    def _maker(self, name: str) -> onnx.NodeProto | None:
        index = self.makers.get(name)
        node = None if index is None else self.all[index]
        return node if node is not None and node.domain in STANDARD else None

    def _two_classes(self, concat: onnx.NodeProto) -> None:
        """Concat(1 - s, s) with s = Sigmoid(z) is the Softmax of (0, z): scikit-learn's classifiers of two classes."""
        if len(concat.input) != 2 or _attribute(concat, "axis") not in (1, -1):
            return
        rest, last = self._maker(concat.input[0]), self._maker(concat.input[1])
        if rest is None or last is None or rest.op_type != "Sub" or last.op_type != "Sigmoid":
            return
        if len(rest.input) != 2 or rest.input[1] != concat.input[1] or not last.input:
            return
        one = self._number(rest.input[0])
        if one is None or one.size != 1 or float(one.ravel()[0]) != 1.0:
            return
        taken = {*self.makers, *self.weights}
        free = next(f"logits{k}" for k in range(len(taken) + 1) if not {f"logits{k}", f"logits{k}_zero"} & taken)
        self.zero = numpy_helper.from_array(np.zeros((1, 1), one.dtype), f"{free}_zero")
        self.nodes = [helper.make_node("Concat", [self.zero.name, last.input[0]], [free], name=free, axis=1)]
        self.kind, self.logits, self.axis = "Softmax", free, 1

    def _number(self, name: str) -> np.ndarray | None:
        weight, maker = self.weights.get(name), self._maker(name)
        if isinstance(weight, onnx.TensorProto) and weight.dims in ([], [1], [1, 1]):
            return np.asarray(numpy_helper.to_array(weight))
        if maker is not None and maker.op_type == "Constant":
            value = _attribute(maker, "value")
            return np.asarray(numpy_helper.to_array(value)) if isinstance(value, onnx.TensorProto) else None
        return None


def _attribute(node: onnx.NodeProto, name: str) -> Any:
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), None)


def _ordered(
    nodes: list[onnx.NodeProto], makers: dict[str, int], given: set[str], output: str, origin: str
) -> list[onnx.NodeProto]:
    """The nodes that `output` needs, each after those it reads; otherwise in the file's order."""
    needed, open_ = set[int](), [output]
    readers: dict[int, list[int]] = {}
    while open_:
        name = open_.pop()
        if name in given:
            continue
        index = makers.get(name)
        if index is None:
            raise InvalidModel(f"{origin}: value '{name}' is read, but nothing computes it")
        if index not in needed:
            needed.add(index)
            open_ += [source for source in nodes[index].input if source]
    waiting: dict[int, int] = {}
    for index in needed:
        sources = {makers[name] for name in nodes[index].input if name and name not in given}
        waiting[index] = len(sources)
        for source in sources:
            readers.setdefault(source, []).append(index)
    ready = sorted(index for index, count in waiting.items() if not count)
    order: list[onnx.NodeProto] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(nodes[index])
        for reader in readers.get(index, ()):
            waiting[reader] -= 1
            if not waiting[reader]:
                heapq.heappush(ready, reader)
    if len(order) != len(needed):
        raise InvalidModel(f"{origin}: the graph has a cycle")
    return order


def check_ending(graph: Graph, shape: tuple[int, ...], origin: str) -> None:
    """Check that an ending over an axis is over all outputs.

    Raises:
        UnsupportedOperator: it is not, so that it does not keep their order.
    """
    if graph.width and shape != (1, graph.width):
        raise UnsupportedOperator(f"{origin}: Sigmoid is supported as the last layer only; it is not piecewise linear")
    if graph.ending not in ("Softmax", "LogSoftmax"):
        return
    old = graph.opset < 13  # then it is over that axis and all after it
    axis = (graph.axis if graph.axis is not None else (1 if old else -1)) % max(len(shape), 1)
    if any(n != 1 for a, n in enumerate(shape) if (a < axis if old else a != axis)):
        raise UnsupportedOperator(
            f"{origin}: the final {graph.ending} is over an axis that is not the only one of size above 1"
        )

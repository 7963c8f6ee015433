"""The checker's own reading of an ONNX file: a list of affine nodes, ReLUs and maxima over flat float64 vectors.

It shares no code with the verifier. Operators that only move entries (reshapes, slices, concatenations, ...) and those
on constants are run by onnx's own reference evaluator, the former on the entries' numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .evaluation import LARGEST, evaluate, refuse_unclear_axes
from .model_file import Rejected, tensors
from .operators import Array, Indices, Linear, Pick, Windows

__all__ = ["Network", "Rejected"]

_MOVES = "Concat Flatten Gather Identity Pad Reshape Slice Split Squeeze Transpose Unsqueeze".split()
_FOLDED = "Cast Concat Constant Gather Identity Reshape Slice Squeeze Transpose Unsqueeze".split()
_FIRST_OPSET = 7  # before it sums and products broadcast in other ways
_PADDING = 1024  # of an image's side
# Raised where a node is not as expected.
_FORM = (KeyError, TypeError, AttributeError, IndexError, ValueError, OverflowError)


def _limit(value: Any) -> float:
    """A limit of Clip, infinite where it is the largest number of its type, as exporters write what does not clip.

    `Network.unclipped` has such limits by their nodes: `arithmetic.Relaxation` looks whether they could be reached.
    """
    array = np.asarray(value)
    number = float(array.item())
    is_none = np.issubdtype(array.dtype, np.floating) and abs(number) >= float(np.finfo(array.dtype).max)
    return float(np.copysign(np.inf, number)) if is_none else number


@dataclass
class Node:
    """The input (no terms), an affine node (`terms` of a source and a map, `bias`), the ReLU of node `relu`,

    or the maxima over `windows` (size, members) of node `pool`.

    `bias_error` bounds how far the bias is from what the file says; `bias_size` the numbers that it is the sum of.
    """

    size: int
    terms: list[tuple[int, Linear]] = field(default_factory=list)
    bias: Array = field(default_factory=lambda: np.zeros(0))
    bias_error: Array = field(default_factory=lambda: np.zeros(0))
    bias_size: Array = field(default_factory=lambda: np.zeros(0))
    relu: int = -1
    pool: int = -1
    windows: Indices = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def reads(self) -> list[int]:
        """The nodes that this one reads, once for each term."""
        return [self.relu] if self.relu >= 0 else [self.pool] if self.pool >= 0 else [j for j, _ in self.terms]


@dataclass
class Stream:
    """A node seen with an ONNX shape."""

    node: int
    shape: tuple[int, ...]

    @property
    def positions(self) -> Indices:
        """The entries' numbers, in this shape."""
        return np.arange(prod(self.shape)).reshape(self.shape)


class Network:
    """The nodes of an ONNX file; `relus` are the indices of ReLU nodes, in the file's order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        if graph.sparse_initializer or model.functions:
            raise Rejected("sparse weights and local functions are not read")
        if any(t.external_data or t.data_location for t in tensors(model)):
            raise Rejected("weights in files of their own are not there")
        values: dict[str, Any] = {t.name: np.asarray(numpy_helper.to_array(t)) for t in graph.initializer}
        entries = [v for v in graph.input if v.name not in values]
        if len(entries) != 1 or len(graph.output) != 1:
            raise Rejected("the model does not have one input and one output")
        dims = [d.dim_value for d in entries[0].type.tensor_type.shape.dim]
        shape = tuple(1 if i == 0 and d == 0 else d for i, d in enumerate(dims))
        if not shape or min(shape) < 1 or (len(shape) > 1 and shape[0] != 1):
            raise Rejected("the model's input has no fixed shape for a batch of one")
        self.nodes = [Node(prod(shape))]
        self.unclipped: dict[int, float] = {}
        self._type = entries[0].type.tensor_type.elem_type
        if self._type not in (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE):
            raise Rejected("the model's input is neither float32 nor float64")
        self.double = self._type == onnx.TensorProto.DOUBLE
        self._opsets = model.opset_import
        standard = [o.version for o in self._opsets if o.domain in STANDARD]
        if len(standard) != 1 or not _FIRST_OPSET <= standard[0] <= onnx.defs.onnx_opset_version():
            raise Rejected(f"the model does not have one opset, from {_FIRST_OPSET} on, that the checker knows")
        self._opset = standard[0]
        values[entries[0].name] = Stream(0, shape)
        for node in graph.node:
            try:
                operands = [values[name] if name else None for name in node.input]
                if not values.keys().isdisjoint(filter(None, node.output)):
                    raise Rejected("a value is computed twice")
                found = self._read(node, operands)
                if any(node.output[len(found) :]):  # of BatchNormalization they mean training, of MaxPool indices
                    raise Rejected(f"operator {node.op_type} with more outputs is not one that the checker reads")
                values |= zip(node.output, found, strict=False)
            except _FORM as error:
                raise Rejected(
                    f"operator {node.op_type} is of a form that the checker does not read ({error})"
                ) from error
        result = values.get(graph.output[0].name)
        if not isinstance(result, Stream) or result.node != len(self.nodes) - 1:
            raise Rejected("the model's output is not its last computation")
        self.relus = [i for i, node in enumerate(self.nodes) if node.relu >= 0]
        self.readers = [0] * len(self.nodes)
        for node in self.nodes:
            for j in node.reads():
                self.readers[j] += 1

    def _read(self, node: onnx.NodeProto, operands: list[Any]) -> list[Any]:
        """The values of a node's outputs."""
        kind, attributes = node.op_type, {a.name: helper.get_attribute_value(a) for a in node.attribute}
        streams = [isinstance(o, Stream) for o in operands]
        if node.domain not in STANDARD:
            raise Rejected(f"operator {kind} of {node.domain} is not one that the checker reads")
        refuse_unclear_axes(kind, self._opset, attributes, operands)
        if kind in _FOLDED and not any(streams):
            return evaluate(node, operands, self._opsets)
        if kind in _MOVES and (streams[0] and not any(streams[1:]) or kind == "Concat" and all(streams)):
            return self._moved(node, attributes, operands)
        if kind not in READERS or not any(streams):
            raise Rejected(f"operator {kind} is not one that the checker reads")
        unknown = attributes.keys() - ATTRIBUTES.get(kind, set())
        if unknown:
            raise Rejected(f"operator {kind} with the attribute {min(unknown)} is not one that the checker reads")
        return [READERS[kind](self, attributes, *operands)]

    def _moved(self, node: onnx.NodeProto, attributes: dict[str, Any], operands: list[Any]) -> list[Stream]:
        """Operators that move entries: run on numbers that count all entries of their streams, from 1; 0 is padding."""
        if node.op_type == "Pad":
            value = attributes.get("value", 0.0) if len(operands) < 3 else operands.pop(2)
            if len(operands) > 2 or np.any(value):
                raise Rejected("padding by other numbers than 0 is not one that the checker reads")
            if np.max(attributes["pads"] if "pads" in attributes else operands[1]) > _PADDING:
                raise Rejected("a padding is too large")
        streams = list({id(o): o for o in operands if isinstance(o, Stream)}.values())
        first = dict(zip(map(id, streams), np.cumsum([1] + [prod(x.shape) for x in streams]).tolist(), strict=False))
        numbers = [o.positions + first[id(o)] if isinstance(o, Stream) else o for o in operands]
        results = []
        for moved in evaluate(node, numbers, self._opsets):
            if not moved.size:  # onnxruntime keeps entries at some odd limits where the evaluator keeps none
                raise Rejected(f"an empty result of {node.op_type} is not one that the checker reads")
            flat, terms = moved.ravel(), list[tuple[int, Linear]]()
            for x in streams:
                own = flat - first[id(x)]
                terms.append((x.node, Pick(np.where((own >= 0) & (own < prod(x.shape)), own, -1), prod(x.shape))))
            same = len(streams) == 1 and np.array_equal(flat, np.arange(1, prod(streams[0].shape) + 1))
            results.append(Stream(streams[0].node, moved.shape) if same else self._add(terms, None, moved.shape))
        return results

    def _add(
        self, terms: list[tuple[int, Linear]], bias: Any, shape: tuple[int, ...], parts: Array | None = None
    ) -> Stream:
        """An affine node; `parts` adds up the absolute values of numbers that the bias was computed from, in 8 roundings."""
        size = prod(shape)
        flat = np.zeros(size) if bias is None else np.broadcast_to(bias, shape).astype(np.float64).ravel()
        error = np.zeros(size) if parts is None else 8 * 2.0**-53 * parts.ravel()
        self.nodes.append(Node(size, terms, flat, error, np.abs(flat) if parts is None else parts.ravel()))
        return Stream(len(self.nodes) - 1, shape)

    def _scale(self, x: Stream, factor: Any, shape: tuple[int, ...], rounded: int = 1) -> tuple[int, Linear]:
        """A term: entries of a stream, broadcast to a shape, times constants."""
        full = np.broadcast_to(np.asarray(factor, dtype=np.float64), shape).ravel()
        return x.node, Pick(np.broadcast_to(x.positions, shape).ravel(), prod(x.shape), full, rounded)

    def _hinges(self, x: Stream, slope: Any, hinges: dict[float, list[Any]], offset: float = 0.0) -> Stream:
        """slope x + offset + sum over hinges t and their factors f of f relu(x - t)."""
        terms = [self._scale(x, slope, x.shape)] if np.any(slope) else []
        for t, factors in hinges.items():
            read = self._add([self._scale(x, 1.0, x.shape)], -t, x.shape).node if t else x.node
            self.nodes.append(Node(prod(x.shape), relu=read))
            terms += [self._scale(Stream(len(self.nodes) - 1, x.shape), f, x.shape) for f in factors]
        return self._add(terms, offset, x.shape)

    def _relu(self, attributes: dict[str, Any], x: Stream) -> Stream:
        self.nodes.append(Node(prod(x.shape), relu=x.node))
        return Stream(len(self.nodes) - 1, x.shape)

    def _leaky(self, attributes: dict[str, Any], x: Stream, slope: Any = None) -> Stream:
        slope = (
            attributes.get("alpha", float(np.float32(0.01))) if slope is None else np.asarray(slope, dtype=np.float64)
        )
        return self._hinges(x, slope, {0.0: [1.0, -slope]})

    def _clip(self, attributes: dict[str, Any], x: Stream, low: Any = None, high: Any = None) -> Stream:
        # Limits that are not written are those of the type: of float32 in attributes.
        kind = np.finfo(np.float64 if self.double and self._opset >= 11 else np.float32)
        given = (
            kind.dtype.type(attributes.get("min", kind.min)) if low is None else low,
            kind.dtype.type(attributes.get("max", kind.max)) if high is None else high,
        )
        low, high = map(_limit, given)
        if not low < high:
            raise Rejected("Clip to an empty range is not one that the checker reads")
        below, above = low > -np.inf, high < np.inf
        left_out = [abs(float(a)) for a, b in zip(given, (low, high), strict=True) if np.isfinite(a) and np.isinf(b)]
        self.unclipped[x.node] = min([*left_out, self.unclipped.get(x.node, np.inf)])
        hinges = ({low: [1.0]} if below else {}) | ({high: [-1.0]} if above else {})
        return self._hinges(x, 0.0 if below else 1.0, hinges, low if below else 0.0) if hinges else x

    def _gemm(self, attributes: dict[str, Any], x: Stream, weight: Any, bias: Any = None) -> Stream:
        if not isinstance(x, Stream) or attributes.get("transA", 0) or x.shape[0] != 1:
            raise Rejected("Gemm of this form is not one that the checker reads")
        if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            raise Rejected("Gemm with alpha or beta is not one that the checker reads")
        return self._dense(x, weight if attributes.get("transB", 0) else weight.T, bias, (1,))

    def _matmul(self, attributes: dict[str, Any], a: Any, b: Any) -> Stream:
        if isinstance(a, Stream):
            return self._dense(a, b.T, None, a.shape[:-1])
        if len(b.shape) > 2:
            raise Rejected("a product of a matrix and a stack is not one that the checker reads")
        return self._dense(b, a, None, (), b.shape[1:])

    def _dense(self, x: Stream, weight: Any, bias: Any, before: tuple[int, ...], after: tuple[int, ...] = ()) -> Stream:
        if weight.ndim != 2 or weight.shape[1] != prod(x.shape):
            raise Rejected("a matrix product of this form is not one that the checker reads")
        dense = Windows(weight.astype(np.float64)[None], np.arange(weight.shape[1])[None, None], weight.shape[1])
        return self._add([(x.node, dense)], bias, (*before, len(weight), *after))

    def _windows(self, attributes: dict[str, Any], x: Stream, kernel: tuple[int, ...]) -> Indices:
        """Inputs that windows over images hold, (channels, height, width, kernel entries); -1: padding."""
        others = [name for name in ("ceil_mode", "storage_order") if attributes.get(name, 0)]
        if others or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise Rejected("windows of this form are not ones that the checker reads")
        pads, (down, right) = attributes.get("pads", [0] * 4), attributes.get("strides", (1, 1))
        if any(pads) and attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise Rejected("padding beside auto_pad is not what the checker reads")
        if tuple(attributes.get("kernel_shape", kernel)) != tuple(kernel):
            raise Rejected("a kernel of another shape than is said is not one that the checker reads")
        dilations = attributes.get("dilations", (1, 1))
        if len(x.shape) != 4 or x.shape[0] != 1 or len(kernel) != 2 or max(pads) > _PADDING:
            raise Rejected("windows over other than one image are not ones that the checker reads")
        padded = np.pad(x.positions[0], [(0, 0), pads[::2], pads[1::2]], constant_values=-1)
        spans = [d * (n - 1) + 1 for d, n in zip(dilations, kernel, strict=True)]
        views = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
        views = views[:, ::down, ::right, :: dilations[0], :: dilations[1]]
        if views.size > LARGEST:
            raise Rejected("windows over an image have too many entries")
        return views.reshape(*views.shape[:3], -1)

    def _conv(self, attributes: dict[str, Any], x: Stream, weight: Any, bias: Any = None) -> Stream:
        windows, group = self._windows(attributes, x, weight.shape[2:]), attributes.get("group", 1)
        channels, height, width, _ = windows.shape
        index = windows.reshape(group, channels // group, height * width, -1).swapaxes(1, 2)
        kernel = weight.astype(np.float64).reshape(group, len(weight) // group, -1)
        conv = Windows(kernel, index.reshape(group, height * width, -1), prod(x.shape))
        shift = None if bias is None else bias[:, None, None]
        return self._add([(x.node, conv)], shift, (1, len(weight), height, width))

    def _averagepool(self, attributes: dict[str, Any], x: Stream) -> Stream:
        kernel, channels = attributes["kernel_shape"], x.shape[1]
        if any(attributes.get("pads", ())):
            raise Rejected("AveragePool with padding is not one that the checker reads")
        weight = np.full((channels, 1, *kernel), 1.0 / prod(kernel))
        return self._conv({**attributes, "group": channels}, x, weight)

    def _globalaveragepool(self, attributes: dict[str, Any], x: Stream) -> Stream:
        return self._averagepool({"kernel_shape": x.shape[2:]}, x)

    def _maxpool(self, attributes: dict[str, Any], x: Stream) -> Stream:
        views = self._windows(attributes, x, attributes["kernel_shape"])
        windows = views.reshape(-1, views.shape[3])
        if (windows.max(-1) < 0).any():
            raise Rejected("MaxPool with a window of padding alone is not one that the checker reads")
        windows = np.where(windows < 0, windows.max(-1, keepdims=True), windows)
        self.nodes.append(Node(len(windows), pool=x.node, windows=windows))
        return Stream(len(self.nodes) - 1, (1, *views.shape[:3]))

    def _batchnormalization(self, attributes: dict[str, Any], x: Stream, *parameters: Any) -> Stream:
        if attributes.get("training_mode", 0) or not attributes.get("spatial", 1):
            raise Rejected("BatchNormalization in training, or of single entries, is not one that the checker reads")
        along = [1, -1] + [1] * (len(x.shape) - 2)
        scale, shift, mean, variance = (np.asarray(o, dtype=np.float64).reshape(along) for o in parameters)
        factor = scale / np.sqrt(variance + attributes.get("epsilon", float(np.float32(1e-5))))
        parts = np.broadcast_to(np.abs(shift) + np.abs(mean * factor), x.shape)
        return self._add([self._scale(x, factor, x.shape, 4)], shift - mean * factor, x.shape, parts)

    def _sum(self, attributes: dict[str, Any], *operands: Any, last: float = 1.0) -> Stream:
        shape = np.broadcast_shapes(*(o.shape for o in operands))
        signed = list(zip(operands, [1.0] * (len(operands) - 1) + [last], strict=True))
        constants = [sign * np.asarray(o, dtype=np.float64) for o, sign in signed if not isinstance(o, Stream)]
        if len(constants) > 1:
            raise Rejected("a sum with several constants is not one that the checker reads")
        terms = [self._scale(o, sign, shape) for o, sign in signed if isinstance(o, Stream)]
        return self._add(terms, constants[0] if constants else None, shape)

    def _product(self, attributes: dict[str, Any], a: Any, b: Any) -> Stream:
        x, constant = (a, b) if isinstance(a, Stream) else (b, a)
        if isinstance(constant, Stream):
            raise Rejected("a product of two values that depend on the input is not piecewise linear")
        shape = np.broadcast_shapes(x.shape, constant.shape)
        return self._add([self._scale(x, constant, shape)], None, shape)

    def _identity(self, attributes: dict[str, Any], x: Stream, ratio: Any = None, training: Any = None) -> Stream:
        if np.any(training) or attributes.get("to", self._type) != self._type:
            raise Rejected("dropping entries or changing their precision is not what the checker reads")
        return x

    def _quotient(self, attributes: dict[str, Any], a: Any, b: Any) -> Stream:
        if not isinstance(a, Stream) or isinstance(b, Stream):
            raise Rejected("a division by a value that depends on the input is not piecewise linear")
        return self._product(attributes, a, 1.0 / np.asarray(b, dtype=np.float64))


STANDARD = ("", "ai.onnx")

# By operator, the attributes that its reader knows; a node with another one may mean something else.
_WINDOWED = {"auto_pad", "ceil_mode", "dilations", "kernel_shape", "pads", "storage_order", "strides"}
ATTRIBUTES: dict[str, set[str]] = {
    "AveragePool": _WINDOWED | {"count_include_pad"},
    "BatchNormalization": {"epsilon", "momentum", "spatial", "training_mode"},
    "Cast": {"saturate", "to"},
    "Clip": {"max", "min"},
    "Conv": _WINDOWED | {"group"},
    "Dropout": {"ratio", "seed"},
    "Gemm": {"alpha", "beta", "transA", "transB"},
    "LeakyRelu": {"alpha"},
    "MaxPool": _WINDOWED,
    "Shape": {"end", "start"},
}

READERS: dict[str, Callable[..., Any]] = {
    "Abs": lambda network, attributes, x: network._hinges(x, -1.0, {0.0: [2.0]}),
    "Add": Network._sum,
    "AveragePool": Network._averagepool,
    "BatchNormalization": Network._batchnormalization,
    "Cast": Network._identity,
    "Clip": Network._clip,
    "Conv": Network._conv,
    "Div": Network._quotient,
    "Dropout": Network._identity,
    "Gemm": Network._gemm,
    "GlobalAveragePool": Network._globalaveragepool,
    "LeakyRelu": Network._leaky,
    "MatMul": Network._matmul,
    "MaxPool": Network._maxpool,
    "Mul": Network._product,
    "Neg": lambda network, attributes, x: network._product(attributes, x, np.full((), -1.0)),
    "PRelu": Network._leaky,
    "Relu": Network._relu,
    "Shape": lambda network, attributes, x: np.array(x.shape)[attributes.get("start", 0) : attributes.get("end")],
    "Sub": lambda network, attributes, a, b: network._sum(attributes, a, b, last=-1.0),
    "Sum": Network._sum,
}

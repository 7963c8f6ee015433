"""The checker's own reading of an ONNX file: a list of affine nodes and ReLUs over flat float64 vectors.

It shares no code with the verifier. Each linear map knows itself, its transpose, its entrywise absolute value, and how
many roundings one entry of either product takes at most; the rounding bounds of `arithmetic` are made of these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Array = NDArray[np.float64]


class Rejected(Exception):
    """Why a proof is not valid, in one line."""


class Dense:
    """y = W x."""

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self.forward_terms, self.backward_terms = weight.shape[1] + 1, weight.shape[0] + 1

    def apply(self, x: Array) -> Array:
        return x @ self.weight.T

    def transposed(self, y: Array) -> Array:
        return y @ self.weight

    def absolute(self) -> Dense:
        return Dense(np.abs(self.weight))


class Gather:
    """y[i] = x[index[i]], or 0 where the index is -1: reshapes of any kind."""

    def __init__(self, index: NDArray[np.int64], size: int) -> None:
        self.index, self.size = index.ravel(), size
        kept = self.index[self.index >= 0]
        self.forward_terms, self.backward_terms = 0, int(np.bincount(kept).max(initial=0))

    def apply(self, x: Array) -> Array:
        return np.where(self.index >= 0, x[..., self.index], 0.0)

    def transposed(self, y: Array) -> Array:
        x = np.zeros((*y.shape[:-1], self.size))
        if self.backward_terms <= 1:
            x[..., self.index[self.index >= 0]] = y[..., self.index >= 0]
        else:
            np.add.at(x.T, self.index[self.index >= 0], y[..., self.index >= 0].T)
        return x

    def absolute(self) -> Gather:
        return self


class Scale:
    """y = factor * x; `roundings` of the factor itself come on top of the product's."""

    def __init__(self, factor: Array, roundings: int = 1) -> None:
        self.factor, self.roundings = factor, roundings
        self.forward_terms = self.backward_terms = roundings + 1

    def apply(self, x: Array) -> Array:
        return x * self.factor

    def transposed(self, y: Array) -> Array:
        return y * self.factor

    def absolute(self) -> Scale:
        return Scale(np.abs(self.factor), self.roundings)


class Convolution:
    """Cross-correlation of images (channels, height, width) with a kernel (out, in / groups, height, width)."""

    def __init__(
        self,
        weight: Array,
        shape: tuple[int, ...],
        strides: list[int],
        pads: list[int],
        dilations: list[int],
        group: int,
    ) -> None:
        self.weight, self.shape, self.strides, self.pads = weight, shape, strides, pads
        self.dilations, self.group = dilations, group
        sides = [
            (shape[1 + a] + pads[a] + pads[a + 2] - dilations[a] * (weight.shape[2 + a] - 1) - 1) // strides[a] + 1
            for a in (0, 1)
        ]
        if min(sides) < 1:
            raise Rejected("a convolution's kernel does not fit its image")
        self.out_shape = (weight.shape[0], sides[0], sides[1])
        self.forward_terms = weight[0].size + 1
        self.backward_terms = weight.shape[0] * weight.shape[2] * weight.shape[3] + 1

    def _taps(self) -> list[tuple[Array, slice, slice]]:
        """For each kernel position its weights (group, out, in) and the window of the padded image that it meets."""
        weight = self.weight.reshape(self.group, -1, *self.weight.shape[1:])

        def window(axis: int, position: int) -> slice:
            begin, step = position * self.dilations[axis], self.strides[axis]
            return slice(begin, begin + step * (self.out_shape[1 + axis] - 1) + 1, step)

        sides = weight.shape[3:]
        return [(weight[..., i, j], window(0, i), window(1, j)) for i in range(sides[0]) for j in range(sides[1])]

    def apply(self, x: Array) -> Array:
        channels, height, width = self.shape
        top, left, bottom, right = self.pads
        image = x.reshape(-1, self.group, channels // self.group, height, width)
        image = np.pad(image, [(0, 0)] * 3 + [(top, bottom), (left, right)])
        y = np.zeros((len(image), self.group, self.out_shape[0] // self.group, self.out_shape[1] * self.out_shape[2]))
        for weight, rows, columns in self._taps():
            y += weight @ image[..., rows, columns].reshape(*image.shape[:3], -1)
        return y.reshape(*x.shape[:-1], -1)

    def transposed(self, y: Array) -> Array:
        channels, height, width = self.shape
        top, left, bottom, right = self.pads
        maps = y.reshape(-1, self.group, self.out_shape[0] // self.group, self.out_shape[1] * self.out_shape[2])
        image = np.zeros((len(maps), self.group, channels // self.group, height + top + bottom, width + left + right))
        for weight, rows, columns in self._taps():
            met = weight.swapaxes(1, 2) @ maps
            image[..., rows, columns] += met.reshape(*met.shape[:3], *self.out_shape[1:])
        return image[..., top : top + height, left : left + width].reshape(*y.shape[:-1], -1)

    def absolute(self) -> Convolution:
        return Convolution(np.abs(self.weight), self.shape, self.strides, self.pads, self.dilations, self.group)


Linear = Dense | Gather | Scale | Convolution


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
    windows: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), np.int64))

    def reads(self) -> list[int]:
        """The nodes that this one reads, once for each term."""
        return [self.relu] if self.relu >= 0 else [self.pool] if self.pool >= 0 else [j for j, _ in self.terms]


@dataclass
class Stream:
    """A node seen with an ONNX shape."""

    node: int
    shape: tuple[int, ...]


class Network:
    """The nodes of an ONNX file; `relus` are the indices of ReLU nodes, in the file's order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        constants = [a.t for node in graph.node for a in node.attribute]
        if any(t.external_data or t.data_location for t in [*graph.initializer, *constants]):
            raise Rejected("weights in files of their own are not read: the hash of the model would not cover them")
        values: dict[str, Any] = {t.name: np.asarray(numpy_helper.to_array(t)) for t in graph.initializer}
        entries = [v for v in graph.input if v.name not in values]
        if len(entries) != 1 or len(graph.output) != 1:
            raise Rejected("the model does not have one input and one output")
        dims = [d.dim_value for d in entries[0].type.tensor_type.shape.dim]
        shape = tuple(1 if i == 0 and d == 0 else d for i, d in enumerate(dims))
        if not shape or min(shape) < 1 or (len(shape) > 1 and shape[0] != 1):
            raise Rejected("the model's input has no fixed shape for a batch of one")
        self.nodes = [Node(prod(shape))]
        self.double = entries[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
        values[entries[0].name] = Stream(0, shape)
        for node in graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            operands = [values.get(name) for name in node.input if name]
            if any(o is None for o in operands):
                raise Rejected(f"node '{node.name}' reads a value that is not there")
            values[node.output[0]] = self._read(node.op_type, operands, attributes)
        result = values.get(graph.output[0].name)
        if not isinstance(result, Stream) or result.node != len(self.nodes) - 1:
            raise Rejected("the model's output is not its last computation")
        self.relus = [i for i, node in enumerate(self.nodes) if node.relu >= 0]
        self.readers = [0] * len(self.nodes)
        for node in self.nodes:
            for j in node.reads():
                self.readers[j] += 1

    def _add(
        self, terms: list[tuple[int, Linear]], bias: Array | None, shape: tuple[int, ...], parts: Array | None = None
    ) -> Stream:
        """An affine node; `parts` adds up the absolute values of numbers that the bias was computed from, in 8 roundings."""
        size = prod(shape)
        flat = np.zeros(size) if bias is None else bias.astype(np.float64).ravel()
        error = np.zeros(size) if parts is None else 8 * 2.0**-53 * parts.ravel()
        self.nodes.append(Node(size, terms, flat, error, np.abs(flat) if parts is None else parts.ravel()))
        return Stream(len(self.nodes) - 1, shape)

    def _pick(self, x: Stream, positions: NDArray[np.int64]) -> Stream:
        return self._add([(x.node, Gather(positions, prod(x.shape)))], None, positions.shape)

    def _read(self, op: str, operands: list[Any], attributes: dict[str, Any]) -> Any:
        if op == "Constant":
            return np.asarray(numpy_helper.to_array(attributes["value"]))
        if not any(isinstance(o, Stream) for o in operands):
            if op in ("Identity", "Cast"):
                return operands[0]
            if op == "Transpose":
                return operands[0].transpose(attributes.get("perm"))
            raise Rejected(f"operator {op} on constants is not one that the checker reads")
        if op not in READERS:
            raise Rejected(f"operator {op} is not one that the checker reads")
        return READERS[op](self, operands, attributes)

    def _relu(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        self.nodes.append(Node(prod(operands[0].shape), relu=operands[0].node))
        return Stream(len(self.nodes) - 1, operands[0].shape)

    def _gemm(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, weight = operands[0], np.asarray(operands[1], dtype=np.float64)
        if not isinstance(x, Stream) or attributes.get("transA", 0) or x.shape[0] != 1 or weight.ndim != 2:
            raise Rejected("Gemm of this form is not one that the checker reads")
        weight = weight if attributes.get("transB", 0) else weight.T
        if attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0:
            raise Rejected("Gemm with alpha or beta is not one that the checker reads")
        bias = np.broadcast_to(operands[2], (1, len(weight))) if len(operands) > 2 else None
        return self._add([(x.node, Dense(weight))], bias, (1, len(weight)))

    def _matmul(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        if isinstance(operands[0], Stream):
            x, weight = operands[0], np.asarray(operands[1], dtype=np.float64).T
            shape = (*x.shape[:-1], len(weight))
        else:
            x, weight = operands[1], np.asarray(operands[0], dtype=np.float64)
            shape = (len(weight), *x.shape[1:])
        if weight.ndim != 2 or weight.shape[1] != prod(x.shape):
            raise Rejected("MatMul of this form is not one that the checker reads")
        return self._add([(x.node, Dense(weight))], None, shape)

    def _conv(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, weight = operands[0], np.asarray(operands[1], dtype=np.float64)
        if len(x.shape) != 4 or attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
            raise Rejected("Conv of this form is not one that the checker reads")
        conv = Convolution(
            weight,
            x.shape[1:],
            list(attributes.get("strides", (1, 1))),
            list(attributes.get("pads", (0, 0, 0, 0))),
            list(attributes.get("dilations", (1, 1))),
            attributes.get("group", 1),
        )
        bias = np.zeros(len(weight)) if len(operands) < 3 else np.asarray(operands[2])
        bias = np.broadcast_to(bias[:, None, None], conv.out_shape)
        return self._add([(x.node, conv)], bias, (1, *conv.out_shape))

    def _averagepool(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, kernel = operands[0], list(attributes["kernel_shape"])
        if any(attributes.get("pads", ())) or attributes.get("ceil_mode", 0) or len(x.shape) != 4:
            raise Rejected("AveragePool of this form is not one that the checker reads")
        weight = np.full((x.shape[1], 1, *kernel), 1.0 / prod(kernel))
        strides = list(attributes.get("strides", (1, 1)))
        conv = Convolution(weight, x.shape[1:], strides, [0] * 4, [1, 1], x.shape[1])
        return self._add([(x.node, conv)], None, (1, *conv.out_shape))

    def _globalaveragepool(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        return self._averagepool(operands, {"kernel_shape": operands[0].shape[2:]})

    def _maxpool(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, kernel = operands[0], list(attributes["kernel_shape"])
        if (
            len(x.shape) != 4
            or len(kernel) != 2
            or attributes.get("ceil_mode", 0)
            or attributes.get("storage_order", 0)
        ):
            raise Rejected("MaxPool of this form is not one that the checker reads")
        if any(d != 1 for d in attributes.get("dilations", (1, 1))):
            raise Rejected("MaxPool with dilations is not one that the checker reads")
        pads, strides = list(attributes.get("pads", [0] * 4)), list(attributes.get("strides", (1, 1)))
        positions = np.arange(prod(x.shape)).reshape(x.shape[1:])
        padded = np.pad(positions, [(0, 0), (pads[0], pads[2]), (pads[1], pads[3])], constant_values=-1)
        views = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(1, 2))[:, :: strides[0], :: strides[1]]
        windows = views.reshape(-1, prod(kernel))
        if (windows.max(-1) < 0).any():
            raise Rejected("MaxPool with a window of padding alone is not one that the checker reads")
        windows = np.where(windows < 0, windows.max(-1, keepdims=True), windows)
        self.nodes.append(Node(len(windows), pool=x.node, windows=windows))
        return Stream(len(self.nodes) - 1, (1, *views.shape[:3]))

    def _batchnormalization(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, (scale, shift, mean, variance) = operands[0], (np.asarray(o, dtype=np.float64) for o in operands[1:5])
        factor = scale / np.sqrt(variance + attributes.get("epsilon", 1e-5))
        shape = [1, -1] + [1] * (len(x.shape) - 2)
        full = np.broadcast_to(factor.reshape(shape), x.shape).ravel()
        bias = np.broadcast_to((shift - mean * factor).reshape(shape), x.shape)
        parts = np.broadcast_to((np.abs(shift) + np.abs(mean * factor)).reshape(shape), x.shape)
        return self._add([(x.node, Scale(full, roundings=4))], bias, x.shape, parts)

    def _add_like(self, operands: list[Any], sign: float) -> Stream:
        a, b = operands
        if isinstance(a, Stream) and isinstance(b, Stream):
            if a.shape != b.shape:
                raise Rejected("a sum of values of different shapes is not one that the checker reads")
            size = prod(a.shape)
            return self._add([(a.node, Scale(np.ones(size))), (b.node, Scale(np.full(size, sign)))], None, a.shape)
        x, constant, factor = (a, np.asarray(b), 1.0) if isinstance(a, Stream) else (b, np.asarray(a), sign)
        shift = np.broadcast_to(constant, x.shape) * (sign if isinstance(a, Stream) else 1.0)
        return self._add([(x.node, Scale(np.full(prod(x.shape), factor)))], shift, x.shape)

    def _sub(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        return self._add_like(operands, -1.0)

    def _mul(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, constant = operands if isinstance(operands[0], Stream) else operands[::-1]
        return self._scaled(x, constant)

    def _div(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        if not isinstance(operands[0], Stream) or isinstance(operands[1], Stream):
            raise Rejected("a division by a value that depends on the input is not piecewise linear")
        return self._scaled(operands[0], 1.0 / np.asarray(operands[1], dtype=np.float64))

    def _scaled(self, x: Stream, factor: Any) -> Stream:
        if isinstance(factor, Stream):
            raise Rejected("a product of two values that depend on the input is not piecewise linear")
        full = np.broadcast_to(np.asarray(factor, dtype=np.float64), x.shape).ravel()
        return self._add([(x.node, Scale(full))], None, x.shape)

    def _identity(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        return Stream(operands[0].node, operands[0].shape)

    def _flatten(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        axis = attributes.get("axis", 1)
        return Stream(operands[0].node, (prod(operands[0].shape[:axis]), prod(operands[0].shape[axis:])))

    def _reshape(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, target = operands[0], [int(v) for v in np.ravel(operands[1])]
        target = [x.shape[k] if v == 0 else v for k, v in enumerate(target)]
        return Stream(x.node, np.empty(x.shape, dtype=np.bool_).reshape(target).shape)

    def _pad(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x, value = operands[0], operands[2] if len(operands) > 2 else attributes.get("value", 0.0)
        pads = [int(v) for v in (attributes["pads"] if "pads" in attributes else np.ravel(operands[1]))]
        rank = len(x.shape)
        if attributes.get("mode", b"constant") != b"constant" or np.any(value) or min(pads) < 0 or len(operands) > 3:
            raise Rejected("Pad of this form is not one that the checker reads")
        positions = np.arange(prod(x.shape)).reshape(x.shape)
        widths = list(zip(pads[:rank], pads[rank:], strict=True))
        return self._pick(x, np.pad(positions, widths, constant_values=-1))

    def _transpose(self, operands: list[Any], attributes: dict[str, Any]) -> Stream:
        x = operands[0]
        return self._pick(x, np.arange(prod(x.shape)).reshape(x.shape).transpose(attributes.get("perm")))


READERS = {
    "Add": lambda network, operands, attributes: network._add_like(operands, 1.0),
    "AveragePool": Network._averagepool,
    "BatchNormalization": Network._batchnormalization,
    "Conv": Network._conv,
    "Div": Network._div,
    "Dropout": Network._identity,
    "Flatten": Network._flatten,
    "Gemm": Network._gemm,
    "GlobalAveragePool": Network._globalaveragepool,
    "Identity": Network._identity,
    "MatMul": Network._matmul,
    "MaxPool": Network._maxpool,
    "Mul": Network._mul,
    "Pad": Network._pad,
    "Relu": Network._relu,
    "Reshape": Network._reshape,
    "Sub": Network._sub,
    "Transpose": Network._transpose,
}

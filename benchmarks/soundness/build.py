"""A network built twice, side by side: as exact rational nodes, and as an ONNX file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from onnx import TensorProto, checker, helper, numpy_helper

from .exact import Affine, Network, Pool, Relu


@dataclass(frozen=True)
class Value:
    """A tensor: its node in the exact network, its name in the file, its shape without the batch axis."""

    node: int
    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))


def exact(array: ArrayLike) -> list[Fraction]:
    """The values as they are stored in float32."""
    return [Fraction(float(v)) for v in np.asarray(array, dtype=np.float32).ravel()]


class Builder:
    """Adds one operator at a time to both."""

    def __init__(self, shape: Sequence[int], free_batch: bool = False) -> None:
        """Begin with an input of a shape (without the batch axis)."""
        self.shape, self.free_batch = tuple(shape), free_batch
        self.network = Network(int(np.prod(shape)))
        self.input = Value(0, "input", self.shape)
        self._nodes: list[object] = []
        self._constants: list[object] = []

    def _constant(self, array: ArrayLike, kind: str = "float32") -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(array, dtype=kind), name))
        return name

    def _operator(self, kind: str, inputs: Sequence[str], **attributes: object) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def _affine(self, sources: Sequence[Value], weights: Sequence[Sequence[Fraction]], bias: Sequence[Fraction]) -> int:
        node = Affine(tuple(s.node for s in sources), tuple(tuple(row) for row in weights), tuple(bias))
        self.network.nodes.append(node)
        return len(self.network.nodes)

    def gemm(self, x: Value, weights: ArrayLike, bias: ArrayLike, style: int = 0) -> Value:
        """W x + b of a vector: as Gemm with transB (0), as Gemm without (1), or as MatMul and Add (2)."""
        w, b = np.asarray(weights, dtype=np.float32), np.asarray(bias, dtype=np.float32)
        if style == 0:
            name = self._operator("Gemm", [x.name, self._constant(w), self._constant(b)], transB=1)
        elif style == 1:
            name = self._operator("Gemm", [x.name, self._constant(w.T), self._constant(b)])
        else:
            product = self._operator("MatMul", [x.name, self._constant(w.T)])
            name = self._operator("Add", [product, self._constant(b)])
        return Value(self._affine([x], [exact(row) for row in w], exact(b)), name, (len(b),))

    def scaled(self, x: Value, scale: ArrayLike, shift: ArrayLike, style: int = 0) -> Value:
        """scale * x + shift for each value: Mul and Add (0), Sub and Div by powers of two (1), or of channels, by BN (2)."""
        s, t = np.asarray(scale, dtype=np.float32).ravel(), np.asarray(shift, dtype=np.float32).ravel()
        if style == 0:
            product = self._operator("Mul", [x.name, self._constant(s.reshape(x.shape))])
            name = self._operator("Add", [product, self._constant(t.reshape(x.shape))])
        elif style == 1:  # (x + t / s) / (1 / s): exact where s are powers of two
            moved = self._operator("Sub", [x.name, self._constant((-t / s).reshape(x.shape))])
            name = self._operator("Div", [moved, self._constant((1 / s).reshape(x.shape))])
        else:  # variance + epsilon = 1/4, a square
            channels = x.shape[0]
            gamma, beta = s.reshape(channels, -1)[:, 0] / 2, t.reshape(channels, -1)[:, 0]
            parts = [gamma, beta, np.zeros(channels), np.full(channels, 0.25 - 2.0**-10)]
            constants = [self._constant(np.asarray(part)) for part in parts]
            name = self._operator("BatchNormalization", [x.name, *constants], epsilon=2.0**-10)
        diagonal = [[Fraction(float(s[k])) * (i == k) for i in range(x.size)] for k in range(x.size)]
        return Value(self._affine([x], diagonal, exact(t)), name, x.shape)

    def conv(self, x: Value, kernel: ArrayLike, bias: ArrayLike, pad: int = 0, stride: int = 1) -> Value:
        """A convolution of (channels, height, width)."""
        k, b = np.asarray(kernel, dtype=np.float32), np.asarray(bias, dtype=np.float32)
        inputs = [x.name, self._constant(k), self._constant(b)]
        name = self._operator("Conv", inputs, kernel_shape=list(k.shape[2:]), pads=[pad] * 4, strides=[stride] * 2)
        c, h, w = x.shape
        high, wide = (h + 2 * pad - k.shape[2]) // stride + 1, (w + 2 * pad - k.shape[3]) // stride + 1
        rows, offsets = [], []
        for out in range(len(b)):
            for i in range(high):
                for j in range(wide):
                    row = [Fraction(0)] * x.size
                    for channel, di, dj in np.ndindex(*k.shape[1:]):
                        r, s = i * stride + di - pad, j * stride + dj - pad
                        if 0 <= r < h and 0 <= s < w:
                            row[(channel * h + r) * w + s] += Fraction(float(k[out, channel, di, dj]))
                    rows.append(row)
                    offsets.append(Fraction(float(b[out])))
        return Value(self._affine([x], rows, offsets), name, (len(b), high, wide))

    def pool(self, x: Value, kind: str, size: tuple[int, int], stride: int = 1) -> Value:
        """A `MaxPool`, or an `AveragePool` over a number of values that is a power of two."""
        name = self._operator(kind, [x.name], kernel_shape=list(size), strides=[stride] * 2)
        c, h, w = x.shape
        high, wide = (h - size[0]) // stride + 1, (w - size[1]) // stride + 1
        groups = [
            tuple((k * h + i * stride + di) * w + j * stride + dj for di in range(size[0]) for dj in range(size[1]))
            for k, i, j in np.ndindex(c, high, wide)
        ]
        shape = (c, high, wide)
        if kind == "MaxPool":
            self.network.nodes.append(Pool(x.node, tuple(groups)))
            return Value(len(self.network.nodes), name, shape)
        part = Fraction(1, size[0] * size[1])
        rows = [[part * (i in group) for i in range(x.size)] for group in groups]
        return Value(self._affine([x], rows, [Fraction(0)] * len(groups)), name, shape)

    def relu(self, x: Value) -> Value:
        """max(0, x)."""
        self.network.nodes.append(Relu(x.node))
        return Value(len(self.network.nodes), self._operator("Relu", [x.name]), x.shape)

    def flatten(self, x: Value) -> Value:
        """As a vector."""
        return Value(x.node, self._operator("Flatten", [x.name]), (x.size,))

    def add(self, x: Value, y: Value, sign: int = 1) -> Value:
        """x + y or x - y."""
        name = self._operator("Add" if sign > 0 else "Sub", [x.name, y.name])
        n = x.size
        rows = [[Fraction(int(i == k) + sign * int(i == n + k)) for i in range(2 * n)] for k in range(n)]
        return Value(self._affine([x, y], rows, [Fraction(0)] * n), name, x.shape)

    def concat(self, values: Sequence[Value]) -> Value:
        """One after the other, on the first axis behind the batch."""
        name = self._operator("Concat", [v.name for v in values], axis=1)
        n = sum(v.size for v in values)
        rows = [[Fraction(int(i == k)) for i in range(n)] for k in range(n)]
        shape = (sum(v.shape[0] for v in values), *values[0].shape[1:])
        return Value(self._affine(values, rows, [Fraction(0)] * n), name, shape)

    def finish(self, x: Value, ending: str = "", after: str = "") -> Network:
        """Take a vector as the output, behind an `ending`, behind an operator that changes nothing (`after`)."""
        assert x.node == len(self.network.nodes), "the output is the last node"
        name = x.name
        if ending:
            axis = {} if ending == "Sigmoid" else {"axis": 1}
            name = self._operator(ending, [name], **axis)
        if after == "Identity":
            name = self._operator("Identity", [name])
        elif after == "Reshape":
            name = self._operator("Reshape", [name, self._constant([1, x.size], "int64")])
        self._output = name
        self.network.ending = ending
        return self.network

    def write(self, path: Path) -> None:
        """The ONNX file."""
        batch: list[object] = ["N" if self.free_batch else 1]
        value = helper.make_tensor_value_info
        inputs = [value("input", TensorProto.FLOAT, [*batch, *self.shape])]
        outputs = [value(self._output, TensorProto.FLOAT, [*batch, self.network.outputs])]
        graph = helper.make_graph(self._nodes, "soundness", inputs, outputs, initializer=self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        checker.check_model(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model.SerializeToString())

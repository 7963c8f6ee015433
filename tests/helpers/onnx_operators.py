"""Random models of one operator each, with every attribute that the operator has: for comparison with onnxruntime.

Some are invalid: what counts is that no reader reads one differently from how onnxruntime executes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = (8, 9, 10, 11, 12, 13, 15, 17, 18, 19)


class Draw:
    """Random choices, and the weights that they leave behind."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.weights = rng, list[onnx.TensorProto]()
        self.opset = int(rng.choice(OPSETS))

    def const(self, array: Any, kind: Any = np.float32) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(array, dtype=kind), name))
        return name

    def normal(self, *shape: int) -> str:
        return self.const(self.rng.normal(size=shape))

    def ints(self, low: int, high: int, count: int) -> list[int]:
        return [int(v) for v in self.rng.integers(low, high, count)]

    def one(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def shape(self, low: int = 1, high: int = 4) -> list[int]:
        return [1, *self.ints(1, 5, int(self.rng.integers(low, high)))]

    def image(self) -> list[int]:
        return [1, self.one(1, 2, 4), *self.ints(3, 8, self.one(1, 2, 2, 2))]

    def broadcast(self, shape: list[int]) -> list[int]:
        """A shape that broadcasts with another one, mostly to it."""
        own = [n if self.rng.random() < 0.5 else 1 for n in shape][int(self.rng.integers(len(shape) + 1)) :]
        return [2, *own] if len(own) == len(shape) and self.rng.random() < 0.1 else own

    def maybe(self, **attributes: Any) -> dict[str, Any]:
        return {key: value for key, value in attributes.items() if self.rng.random() < 0.6}

    def listed(self, name: str, values: list[int], since: int, attributes: dict[str, Any], inputs: list[str]) -> None:
        """A list that is an attribute up to an opset and an input from then on."""
        if self.opset < since:
            attributes[name] = values
        else:
            inputs.append(self.const(values, np.int64))


Case = tuple[list[int], list[onnx.NodeProto]]


def _binary(op: str) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        shape = d.shape()
        other = d.rng.normal(size=d.broadcast(shape))
        value = d.const(np.where(np.abs(other) < 0.1, 0.5, other))
        if d.rng.random() < 0.2:
            return shape, [
                helper.make_node("Neg", ["x"], ["m"]),
                helper.make_node(op, ["x", "m"], ["y"]),
            ]
        return shape, [helper.make_node(op, d.one(["x", value], [value, "x"]), ["y"])]

    return case


def _unary(op: str, **attributes: Any) -> Callable[[Draw], Case]:
    return lambda d: (d.shape(), [helper.make_node(op, ["x"], ["y"], **d.maybe(**attributes))])


def _several(op: str) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        shape = d.shape()
        inputs = ["x", "m", d.normal(*d.broadcast(shape)), d.normal(*d.broadcast(shape))]
        order = [inputs[k] for k in d.rng.permutation(4)[: d.one(2, 3, 4)]]
        order = order if "x" in order or "m" in order else ["x", *order]
        row = d.normal(*shape)
        return shape, [helper.make_node("Mul", ["x", row], ["m"]), helper.make_node(op, order, ["y"])]

    return case


def gemm(d: Draw) -> Case:
    inner, columns, rows = *d.ints(1, 5, 2), d.one(1, 1, 1, 3)
    attributes = d.maybe(alpha=0.5, beta=-2.0)
    turned, across = d.one(0, 1), d.one(0, 0, 1)
    weight = d.normal(*((columns, inner) if turned else (inner, columns)))
    shape = [inner, rows] if across else [rows, inner]
    inputs = ["x", weight] + ([d.normal(*d.one([columns], [1, columns], [rows, 1], [1], []))] if d.one(0, 1) else [])
    return shape, [helper.make_node("Gemm", inputs, ["y"], transB=turned, transA=across, **attributes)]


def matmul(d: Draw) -> Case:
    inner, columns = d.ints(1, 5, 2)
    shape = d.one([inner], [1, inner], [1, 3, inner], [1, 2, 3, inner])
    weight = d.one([inner], [inner, columns], [1, inner, columns], [2, inner, columns], [3, 1, inner, columns])
    if d.one(0, 1):
        return shape, [helper.make_node("MatMul", ["x", d.normal(*weight)], ["y"])]
    turned = [*shape[:-2], shape[-1], shape[-2]] if len(shape) > 1 else shape
    left = [*weight[:-2], weight[-1], weight[-2]] if len(weight) > 1 else weight
    return turned, [helper.make_node("MatMul", [d.normal(*left), "x"], ["y"])]


def _window(d: Draw, sides: int, kernel: list[int]) -> dict[str, Any]:
    attributes = d.maybe(strides=d.ints(1, 4, sides), dilations=d.ints(1, 3, sides))
    auto = d.one("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if d.rng.random() < 0.6:
        attributes["auto_pad"] = auto
    if attributes.get("auto_pad", "NOTSET") == "NOTSET" and d.one(0, 1):
        attributes["pads"] = d.ints(0, 3, 2 * sides)
    return attributes


def conv(d: Draw) -> Case:
    shape = d.image()
    sides = len(shape) - 2
    kernel, group = d.ints(1, 4, sides), d.one(1, shape[1])
    outer = 2 * group
    inputs = ["x", d.normal(outer, shape[1] // group, *kernel)] + ([d.normal(outer)] if d.one(0, 1) else [])
    attributes = _window(d, sides, kernel) | d.maybe(kernel_shape=kernel)
    return shape, [helper.make_node("Conv", inputs, ["y"], group=group, **attributes)]


def conv_transpose(d: Draw) -> Case:
    shape = d.image()
    sides = len(shape) - 2
    kernel, group = d.ints(1, 4, sides), d.one(1, shape[1])
    inputs = ["x", d.normal(shape[1], 2, *kernel)] + ([d.normal(2 * group)] if d.one(0, 1) else [])
    attributes = _window(d, sides, kernel) | d.maybe(output_padding=d.ints(0, 2, sides))
    return shape, [helper.make_node("ConvTranspose", inputs, ["y"], group=group, **attributes)]


def _pool(op: str) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        shape = d.image()
        sides = len(shape) - 2
        kernel = d.ints(1, 4, sides)
        attributes = _window(d, sides, kernel) | (d.maybe(ceil_mode=1) if d.opset >= 10 else {})
        if op == "AveragePool":
            attributes |= d.maybe(count_include_pad=1)
        if d.opset < (10 if op == "MaxPool" else 19):
            attributes.pop("dilations", None)
        return shape, [helper.make_node(op, ["x"], ["y"], kernel_shape=kernel, **attributes)]

    return case


def batch_normalization(d: Draw) -> Case:
    shape = d.shape(1, 4)
    c = shape[1]
    names = [d.normal(c), d.normal(c), d.normal(c), d.const(np.abs(d.rng.normal(size=c)) + 0.01)]
    return shape, [helper.make_node("BatchNormalization", ["x", *names], ["y"], **d.maybe(epsilon=0.1))]


def prelu(d: Draw) -> Case:
    shape = d.shape()
    return shape, [helper.make_node("PRelu", ["x", d.normal(*d.broadcast(shape))], ["y"])]


def clip(d: Draw) -> Case:
    low, high = sorted(d.rng.normal(size=2))
    if d.one(0, 0, 0, 1):
        low, high = d.one((-3.4e38, high), (low, 3.4e38), (high, low), (low, low), (-np.inf, np.inf))
    if d.opset < 11:
        return d.shape(), [helper.make_node("Clip", ["x"], ["y"], **d.maybe(min=float(low), max=float(high)))]
    inputs = ["x", d.one("", d.const(low)), d.one("", d.const(high))]
    return d.shape(), [helper.make_node("Clip", inputs, ["y"])]


def where(d: Draw) -> Case:
    shape = d.shape()
    condition = d.const(d.rng.random(d.broadcast(shape)) < 0.5, np.bool_)
    value = d.normal(*d.broadcast(shape))
    nodes = [helper.make_node("Neg", ["x"], ["m"])]
    sides = d.one(["x", value], [value, "x"], ["x", "m"])
    return shape, [*nodes, helper.make_node("Where", [condition, *sides], ["y"])]


def flatten(d: Draw) -> Case:
    shape = d.shape()
    return shape, [helper.make_node("Flatten", ["x"], ["y"], **d.maybe(axis=int(d.rng.integers(0, len(shape) + 1))))]


def reshape(d: Draw) -> Case:
    shape = d.shape()
    total = int(np.prod(shape))
    wanted = d.one([-1], [0, -1], [1, -1, 1], [total], [-1, shape[-1]], [0, 0, -1])
    attributes = d.maybe(allowzero=d.one(0, 1)) if d.opset >= 14 else {}
    return shape, [helper.make_node("Reshape", ["x", d.const(wanted, np.int64)], ["y"], **attributes)]


def transpose(d: Draw) -> Case:
    shape = d.shape()
    order = [int(a) for a in d.rng.permutation(len(shape))]
    return shape, [helper.make_node("Transpose", ["x"], ["y"], **d.maybe(perm=order))]


def squeeze(d: Draw) -> Case:
    shape = d.shape()
    ones = [a for a, n in enumerate(shape) if n == 1]
    axes = [int(a) - d.one(0, 0, len(shape) if d.opset >= 11 else 0) for a in ones if d.one(0, 1)]
    attributes: dict[str, Any] = {}
    inputs = ["x"]
    if axes:
        d.listed("axes", axes, 13, attributes, inputs)
    return shape, [helper.make_node("Squeeze", inputs, ["y"], **attributes)]


def unsqueeze(d: Draw) -> Case:
    shape = d.shape()
    rank = len(shape) + 2
    axes = [int(a) for a in d.rng.permutation(rank)[:2]]
    axes = [a - (rank if d.opset >= 11 and d.one(0, 0, 1) else 0) for a in axes]
    attributes: dict[str, Any] = {}
    inputs = ["x"]
    d.listed("axes", axes, 13, attributes, inputs)
    return shape, [helper.make_node("Unsqueeze", inputs, ["y"], **attributes)]


def slice_(d: Draw) -> Case:
    shape = d.shape()
    axes = [int(a) for a in d.rng.permutation(len(shape))[: d.one(1, 2)]]
    odd = [-(1 << 63), -(1 << 31), (1 << 31) - 1, (1 << 63) - 1]
    starts = [d.one(0, 0, *range(-7, 8), *odd) for _ in axes]
    ends = [d.one(9, 9, *range(-7, 8), *odd) for _ in axes]
    if d.opset < 10:
        return shape, [helper.make_node("Slice", ["x"], ["y"], starts=starts, ends=ends, **d.maybe(axes=axes))]
    inputs = ["x", d.const(starts, np.int64), d.const(ends, np.int64)]
    if d.one(0, 1, 1):
        inputs.append(d.const([a - d.one(0, len(shape)) for a in axes], np.int64))
        if d.one(0, 1, 1):
            inputs.append(d.const([d.one(1, 1, 2, 3, -1, -1, -2, -9, 9) for _ in axes], np.int64))
    return shape, [helper.make_node("Slice", inputs, ["y"])]


def split(d: Draw) -> Case:
    shape = d.shape()
    axis = int(d.rng.integers(len(shape)))
    count = int(d.rng.integers(1, 4))
    names = [f"p{k}" for k in range(count)]
    attributes: dict[str, Any] = {"axis": axis - d.one(0, len(shape) if d.opset >= 11 else 0)}
    inputs = ["x"]
    if d.one(0, 1):
        sizes = np.bincount(d.rng.integers(0, count, shape[axis]), minlength=count).tolist()
        d.listed("split", sizes, 13, attributes, inputs)
    elif d.opset >= 18:
        attributes["num_outputs"] = count
    last = names[int(d.rng.integers(count))]
    return shape, [helper.make_node("Split", inputs, names, **attributes), helper.make_node("Relu", [last], ["y"])]


def concat(d: Draw) -> Case:
    shape = d.shape()
    axis = int(d.rng.integers(len(shape)))
    other = [n if a != axis else 2 for a, n in enumerate(shape)]
    parts = d.one(["x", d.normal(*other)], [d.normal(*other), "x"], ["x", "m", "x"], ["m", "x", d.normal(*other)])
    nodes = [helper.make_node("Neg", ["x"], ["m"])]
    return shape, [*nodes, helper.make_node("Concat", parts, ["y"], axis=axis - d.one(0, len(shape)))]


def gather(d: Draw) -> Case:
    shape = d.shape()
    axis = int(d.rng.integers(len(shape)))
    index = d.rng.integers(-shape[axis], shape[axis], d.one([], [1], [3], [2, 2]))
    return shape, [helper.make_node("Gather", ["x", d.const(index, np.int64)], ["y"], axis=axis - d.one(0, len(shape)))]


def pad(d: Draw) -> Case:
    shape = d.shape(2, 4)
    pads = [d.one(0, 0, 1, 2, -1) for _ in range(2 * len(shape))]
    attributes: dict[str, Any] = {"mode": d.one("constant", "constant", "reflect", "edge")}
    inputs = ["x"]
    if d.opset >= 18 and d.one(0, 1):
        axes = [int(a) for a in d.rng.permutation(len(shape))[:2]]
        inputs += [d.const(pads[:4], np.int64), d.one("", d.const(0.5)), d.const(axes, np.int64)]
    elif d.opset >= 11:
        inputs.append(d.const(pads, np.int64))
        inputs += [d.const(d.one(0.0, 0.5))] if d.one(0, 1) else []
    else:
        attributes |= {"pads": pads} | d.maybe(value=0.5)
    return shape, [helper.make_node("Pad", inputs, ["y"], **attributes)]


def expand(d: Draw) -> Case:
    shape = d.shape()
    wanted = [n if n > 1 else d.one(1, 2, 3) for n in shape]
    wanted = d.one(wanted, [2, *wanted], wanted[1:], [1] * len(shape))
    return shape, [helper.make_node("Expand", ["x", d.const(wanted, np.int64)], ["y"])]


def _reduce(op: str, since: int) -> Callable[[Draw], Case]:
    def case(d: Draw) -> Case:
        shape = d.shape()
        axes = [int(a) for a in d.rng.permutation(len(shape))[: d.one(1, 2)]]
        axes = [a - (len(shape) if d.opset >= 11 and d.one(0, 1) else 0) for a in axes]
        attributes = d.maybe(keepdims=d.one(0, 1))
        inputs = ["x"]
        if d.one(0, 1, 1):
            d.listed("axes", axes, since, attributes, inputs)
        if d.opset >= since:
            attributes |= d.maybe(noop_with_empty_axes=d.one(0, 1))
        return shape, [helper.make_node(op, inputs, ["y"], **attributes)]

    return case


def resize(d: Draw) -> Case:
    shape = [1, d.one(1, 2), *d.ints(1, 6, 2)]
    scales = [1.0, 1.0, *(float(d.one(0.4, 0.5, 1.0, 1.5, 2.0, 2.3, 3.0, 1 / 3)) for _ in range(2))]
    d.opset = max(d.opset, 10)
    if d.opset == 10:
        return shape, [helper.make_node("Resize", ["x", d.const(scales)], ["y"], **d.maybe(mode="nearest"))]
    modes = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "tf_half_pixel_for_nn"]
    attributes = d.maybe(
        coordinate_transformation_mode=d.one(*modes),
        nearest_mode=d.one("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"),
    )
    sizes = [*shape[:2], *(max(int(n * s), 1) for n, s in zip(shape[2:], scales[2:], strict=True))]
    inputs = ["x", d.const([])] if d.opset < 13 else ["x", ""]
    if d.one(0, 1):
        inputs.append(d.const(scales))
    elif d.opset >= 18 and d.one(0, 1):
        attributes["axes"] = [2, 3]
        inputs += ["", d.const(sizes[2:], np.int64)]
    else:
        inputs += ["" if d.opset >= 13 else d.const([]), d.const(sizes, np.int64)]
    return shape, [helper.make_node("Resize", inputs, ["y"], mode="nearest", **attributes)]


def upsample(d: Draw) -> Case:
    d.opset = d.one(8, 9)
    shape = [1, d.one(1, 2), *d.ints(1, 5, 2)]
    scales = [1.0, 1.0, *(float(d.one(1.0, 1.5, 2.0, 3.0)) for _ in range(2))]
    if d.opset == 8:
        return shape, [helper.make_node("Upsample", ["x"], ["y"], scales=scales)]
    return shape, [helper.make_node("Upsample", ["x", d.const(scales)], ["y"])]


def tile(d: Draw) -> Case:
    shape = d.shape()
    return shape, [helper.make_node("Tile", ["x", d.const(d.ints(1, 4, len(shape)), np.int64)], ["y"])]


def depth_to_space(d: Draw) -> Case:
    b = d.one(1, 2, 3)
    shape = [1, b * b * d.one(1, 2), *d.ints(1, 4, 2)]
    attributes = d.maybe(mode=d.one("DCR", "CRD")) if d.opset >= 11 else {}
    return shape, [helper.make_node("DepthToSpace", ["x"], ["y"], blocksize=b, **attributes)]


def space_to_depth(d: Draw) -> Case:
    b = d.one(1, 2, 3)
    shape = [1, d.one(1, 2), *(b * n for n in d.ints(1, 3, 2))]
    return shape, [helper.make_node("SpaceToDepth", ["x"], ["y"], blocksize=b)]


CASES: dict[str, Callable[[Draw], Case]] = {
    "Abs": _unary("Abs"),
    "Add": _binary("Add"),
    "AveragePool": _pool("AveragePool"),
    "BatchNormalization": batch_normalization,
    "Cast": lambda d: (d.shape(), [helper.make_node("Cast", ["x"], ["y"], to=d.one(1, 11))]),
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "DepthToSpace": depth_to_space,
    "Div": _binary("Div"),
    "Dropout": _unary("Dropout"),
    "Expand": expand,
    "Flatten": flatten,
    "Gather": gather,
    "Gemm": gemm,
    "GlobalAveragePool": lambda d: (d.image(), [helper.make_node("GlobalAveragePool", ["x"], ["y"])]),
    "GlobalMaxPool": lambda d: (d.image(), [helper.make_node("GlobalMaxPool", ["x"], ["y"])]),
    "HardSigmoid": _unary("HardSigmoid", alpha=0.7, beta=0.1),
    "Identity": _unary("Identity"),
    "LeakyRelu": _unary("LeakyRelu", alpha=-0.5),
    "MatMul": matmul,
    "Max": _several("Max"),
    "MaxPool": _pool("MaxPool"),
    "Min": _several("Min"),
    "Mul": _binary("Mul"),
    "Neg": _unary("Neg"),
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMax": _reduce("ReduceMax", 18),
    "ReduceMean": _reduce("ReduceMean", 18),
    "ReduceMin": _reduce("ReduceMin", 18),
    "ReduceSum": _reduce("ReduceSum", 13),
    "Relu": _unary("Relu"),
    "Reshape": reshape,
    "Resize": resize,
    "Slice": slice_,
    "SpaceToDepth": space_to_depth,
    "Split": split,
    "Squeeze": squeeze,
    "Sub": _binary("Sub"),
    "Sum": _several("Sum"),
    "Tile": tile,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Upsample": upsample,
    "Where": where,
}


def random_model(op: str, rng: np.random.Generator) -> onnx.ModelProto:
    """x -> y by one operator (and another one before or behind it where it needs one)."""
    d = Draw(rng)
    shape, nodes = CASES[op](d)
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE if is_double(nodes) else TensorProto.FLOAT, None)],
        d.weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", d.opset)], ir_version=8)


def is_double(nodes: list[onnx.NodeProto]) -> bool:
    """Whether the last node casts to float64."""
    last = nodes[-1]
    return last.op_type == "Cast" and any(a.i == TensorProto.DOUBLE for a in last.attribute)

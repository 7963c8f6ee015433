"""Random small ONNX graphs over the supported operators, against onnxruntime; and files that must be refused."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from advverify.verifier.errors import InvalidModel, UnsupportedOperator
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Affine
from advverify.verifier.network.onnx_reader import read_model, read_onnx
from advverify.verifier.network.onnx_runtime import OnnxExecutor
from advverify.verifier.network.operators import Conv2d

IMAGE_OPS = (
    "Conv", "ConvTranspose", "BatchNormalization", "Relu", "LeakyRelu", "Clip", "Residual", "SubConst", "MulConst",
    "DivConst", "Neg", "Pad", "MaxPool", "AveragePool", "Slice", "SplitConcat", "Transpose", "Identity", "Dropout",
)  # fmt: skip
VECTOR_OPS = (
    "Gemm",
    "MatMul",
    "Relu",
    "LeakyRelu",
    "Clip",
    "SubConst",
    "MulConst",
    "Neg",
    "SqueezeUnsqueeze",
    "ConcatConst",
)


class Graph:
    """Appends random nodes; keeps the shape of the last value."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
        self.rng, self.shape, self.value = rng, shape, "input"
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def const(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        array = np.asarray(array)
        kind = np.int64 if array.dtype.kind == "i" else np.float32
        self.weights.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def random(self, *shape: int) -> np.ndarray:
        return np.asarray(self.rng.normal(size=shape) * 0.5)

    def add(self, op: str, inputs: list[str], outputs: int = 1, **attributes: Any) -> list[str]:
        names = [f"v{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        self.value = names[0]
        return names

    def step(self, op: str) -> None:
        rng, x, shape = self.rng, self.value, self.shape
        if op == "Conv":
            groups = int(rng.choice([1, shape[1]]))
            weight = self.const(self.random(2 * groups, shape[1] // groups, 2, 3))
            pads = [int(v) for v in rng.integers(0, 2, 4)]
            strides = [int(v) for v in rng.integers(1, 3, 2)]
            bias = self.const(self.random(2 * groups))
            self.add(
                "Conv",
                [x, weight, bias],
                group=groups,
                pads=pads,
                strides=strides,
                dilations=[int(rng.integers(1, 3)), 1],
            )
        elif op == "ConvTranspose":
            weight = self.const(self.random(shape[1], 2, 2, 2))
            self.add("ConvTranspose", [x, weight], strides=[2, 1], pads=[0, 1, 0, 0], output_padding=[1, 0])
        elif op == "BatchNormalization":
            c = shape[1]
            names = [
                self.const(v) for v in (self.random(c), self.random(c), self.random(c), np.abs(self.random(c)) + 0.1)
            ]
            self.add("BatchNormalization", [x, *names])
        elif op in ("Relu", "Neg", "Identity", "Dropout"):
            self.add(op, [x])
        elif op == "LeakyRelu":
            self.add("LeakyRelu", [x], alpha=0.2)
        elif op == "Clip":
            self.add("Clip", [x, self.const(np.array(0.0)), self.const(np.array(0.7))])
        elif op == "Residual":
            y = self.add("Relu", [x])[0]
            self.add("Add" if rng.random() < 0.5 else "Sub", [x, y])
        elif op in ("SubConst", "MulConst", "DivConst"):
            value = self.random(*([1] * (len(shape) - 1)), shape[-1])
            self.add(op[:3], [x, self.const(value if op != "DivConst" else np.abs(value) + 0.5)])
        elif op == "Pad":
            self.add("Pad", [x, self.const(np.array([0, 0, 1, 0, 0, 0, 0, 2])), self.const(np.array(0.3))])
        elif op in ("MaxPool", "AveragePool"):
            ceil = int(rng.integers(2)) if op == "MaxPool" else 0
            # With end padding onnx's shape inference and onnxruntime disagree on the size under ceil_mode.
            attributes: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 1], "ceil_mode": ceil}
            attributes["pads"] = [0, 0, 0, 0] if ceil else [0, 1, 1, 0]
            if op == "AveragePool":
                attributes["count_include_pad"] = int(rng.integers(2))
            self.add(op, [x], **attributes)
        elif op == "Slice":
            consts = [self.const(np.array(v)) for v in ([shape[2] - 1], [-100], [2], [-1])]
            self.add("Slice", [x, *consts])
        elif op == "SplitConcat":
            parts = self.add("Split", [x, self.const(np.array([1, shape[2] - 1]))], 2, axis=2)
            self.add("Concat", parts[::-1], axis=2)
        elif op == "Transpose":
            self.add("Transpose", [x], perm=[0, 1, 3, 2])
        elif op == "Gemm":
            self.add("Gemm", [x, self.const(self.random(5, shape[1])), self.const(self.random(5))], transB=1, alpha=0.5)
        elif op == "MatMul":
            self.add("MatMul", [x, self.const(self.random(shape[1], 4))])
        elif op == "SqueezeUnsqueeze":
            axes = self.const(np.array([1]))
            self.add("Squeeze", [self.add("Unsqueeze", [x, axes])[0], axes])
        elif op == "ConcatConst":
            self.add("Concat", [x, self.const(self.random(1, 2))], axis=1)
        self.infer()

    def model(self, batch: int | str = 1, start: tuple[int, ...] = ()) -> onnx.ModelProto:
        entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, *start[1:]])
        exit_ = helper.make_empty_tensor_value_info(self.value)
        exit_ = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", [entry], [exit_], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def infer(self) -> None:
        model = onnx.shape_inference.infer_shapes(self.model(1, self.start))
        found = {v.name: v for v in [*model.graph.value_info, *model.graph.output]}
        self.shape = tuple(d.dim_value for d in found[self.value].type.tensor_type.shape.dim)

    start: tuple[int, ...] = ()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(IMAGE_OPS), min_size=1, max_size=4),
    st.sampled_from(["Flatten", "Reshape", "GlobalAveragePool", "ReduceMean"]),
    st.lists(st.sampled_from(VECTOR_OPS), max_size=3),
    st.integers(0, 10**6),
)
def test_random_graphs_agree_with_onnxruntime(
    tmp_path: Path, images: list[str], bridge: str, vectors: list[str], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = Graph(rng, (1, 2, 6, 6))
    graph.start = graph.shape
    for op in images:
        if len(graph.shape) != 4 or min(graph.shape[2:]) < 4:
            break
        graph.step(op)
    if bridge == "GlobalAveragePool":
        graph.add("Flatten", graph.add("GlobalAveragePool", [graph.value]))
    elif bridge == "ReduceMean":
        graph.add("ReduceMean", [graph.value], axes=[2, 3], keepdims=0)
    elif bridge == "Reshape":
        graph.add("Reshape", [graph.value, graph.const(np.array([1, -1]))])
    else:
        graph.add("Flatten", [graph.value])
    graph.infer()
    for op in [*vectors, "Gemm"]:
        graph.step(op)
    path = tmp_path / "model.onnx"
    onnx.save(graph.model(1, graph.start), path)
    network, executor = read_onnx(path), OnnxExecutor(path)
    x = rng.random((3, network.input_size)).astype(np.float32)
    ours = evaluate(network, torch.tensor(x, dtype=torch.float64)).numpy()
    np.testing.assert_allclose(ours, executor.run(x), rtol=1e-4, atol=1e-4)
    for node in network.nodes:  # the laws of operators, on everything the reader makes
        if isinstance(node, Affine):
            for operator in node.operators:
                matrix = operator.to_sparse().toarray()
                u, v = rng.normal(size=(2, operator.in_size)), rng.normal(size=(2, operator.out_size))
                np.testing.assert_allclose(operator.apply(torch.tensor(u)).numpy(), u @ matrix.T, atol=1e-9)
                np.testing.assert_allclose(operator.adjoint(torch.tensor(v)).numpy(), v @ matrix, atol=1e-9)
                bound = operator.absolute.apply(torch.tensor(np.abs(u))).numpy()
                assert (bound >= np.abs(u) @ np.abs(matrix).T - 1e-9).all()


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_fan_counts_every_term_of_a_convolution(kernel: int, stride: int, dilation: int, groups: int) -> None:
    """Rounding losses are made of these counts: one too few would let a bound claim too much."""
    weight = torch.ones(4, 4 // groups, kernel, kernel, dtype=torch.float64)
    pads = (1, 0, 0, 1)
    operator = Conv2d(weight, (4, 16, 16), (stride, stride), pads, (dilation, dilation), groups)
    matrix = operator.to_sparse()
    assert operator.fan_in >= matrix.getnnz(1).max() and operator.fan_out >= matrix.getnnz(0).max()


def tiny(op: str = "Relu", weight: float = 1.0) -> onnx.ModelProto:
    entry = helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])
    exit_ = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    w = numpy_helper.from_array(np.full((2, 2), weight, np.float32), "w")
    nodes = [
        helper.make_node("MatMul", ["input", "w"], ["h"], name="first"),
        helper.make_node(op, ["h"], ["out"], name="second"),
    ]
    graph = helper.make_graph(nodes, "g", [entry], [exit_], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_unsupported_operator_is_named() -> None:
    with pytest.raises(
        UnsupportedOperator, match="'second': operator Tanh is not supported; `advverify capabilities` lists"
    ):
        read_model(tiny("Tanh"))


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e12])
def test_weights_that_cannot_be_verified_are_refused(weight: float) -> None:
    with pytest.raises(InvalidModel, match="weight 'w'"):
        read_model(tiny(weight=weight))


def test_large_weights_are_flagged() -> None:
    assert "not trusted" in read_model(tiny(weight=1e6)).notes[0]


def test_the_ending_is_named() -> None:
    for name in ("Softmax", "LogSoftmax", "Sigmoid"):
        network = read_model(tiny(name))
        assert network.ending == name and "margins of logits" in network.notes[0]
    assert read_model(tiny("Relu")).ending == ""


def test_not_onnx(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"hello")
    with pytest.raises(InvalidModel):
        read_onnx(path)
    with pytest.raises(InvalidModel, match="no such file"):
        read_onnx(tmp_path / "y.onnx")

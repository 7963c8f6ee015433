"""Tiny random networks as ONNX files, for what reads files: proofs and their checker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FILE_KINDS = ("mlp", "residual", "conv", "pool", "mixed")  # "wide" besides, an "mlp" with six inputs


def write_network(path: Path, kind: str, seed: int) -> Path:
    """At most 9 ReLUs, 3 outputs, 3, 6 or 9 inputs in [0, 1]."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(array: np.ndarray) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def number(value: int) -> str:
        name = f"w{len(weights)}"
        weights.append(numpy_helper.from_array(np.array([value]), name))
        return name

    def add(op: str, inputs: list[str], **attributes: object) -> str:
        name = f"h{len(nodes)}"
        nodes.append(helper.make_node(op, inputs, [name], **attributes))
        return name

    def dense(x: str, rows: int, columns: int, scale: float = 1.0) -> str:
        weight, bias = rng.normal(size=(rows, columns)) * scale, rng.normal(size=rows) * 0.3
        if rng.random() < 0.5:
            return add("Gemm", [x, constant(weight), constant(bias)], transB=1)
        return add("Add", [add("MatMul", [x, constant(weight.T)]), constant(bias)])

    shape: list[int | str] = ["n", 6 if kind == "wide" else 3]
    if kind in ("mlp", "wide"):
        h = add("Relu", [dense("x", 4, int(shape[1]))])
        h = add("Relu", [dense(h, 3, 4)])
        out = dense(h, 3, 3)
    elif kind == "residual":
        h = dense("x", 3, 3)
        for _ in range(2):
            h = add("Add", [h, dense(add("Relu", [dense(h, 3, 3)]), 3, 3, 0.7)])
        out = dense(h, 3, 3)
    elif kind == "mixed":  # other activations, and operators that move entries
        h = dense("x", 3, 3)
        leaky, rest = (
            add("Slice", [h, number(0), number(2), number(1)]),
            add("Slice", [h, number(2), number(3), number(1)]),
        )
        clipped = add("Clip", [rest, constant(np.array(-0.3)), constant(np.array(0.4))])
        h = add("Concat", [clipped, add("LeakyRelu", [leaky], alpha=0.3)], axis=1)
        h = add("Transpose", [add("PRelu", [dense(h, 3, 3), constant(np.array([0.1, -0.5, 2.0]))])], perm=[1, 0])
        h = add(
            "Sub", [constant(rng.normal(size=(1, 3))), add("Squeeze", [add("Unsqueeze", [h, number(0)]), number(2)])]
        )
        out = dense(add("Neg", [h]), 3, 3)
    elif kind == "pool":
        shape = ["n", 1, 3, 3]
        kernel, bias = rng.normal(size=(1, 1, 2, 2)), rng.normal(size=1) * 0.3
        h = add("Conv", ["x", constant(kernel), constant(bias)])
        h = add("MaxPool", [h if seed % 2 else add("Relu", [h])], kernel_shape=[2, 1], strides=[1, 1])
        out = dense(add("Relu", [dense(add("Flatten", [h]), 3, 2)]), 3, 3)
    else:
        shape = ["n", 1, 3, 3]
        kernel, bias = rng.normal(size=(2, 1, 2, 2)), rng.normal(size=2) * 0.3
        h = add("Conv", ["x", constant(kernel), constant(bias)], strides=[1, 1], pads=[0, 0, 0, 0])
        out = dense(add("Flatten", [add("Relu", [h])]), 3, 8)
    graph = helper.make_graph(
        nodes,
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def linear(path: Path, weight: np.ndarray, bias: np.ndarray, double: bool = False) -> Path:
    """y = W x + b as a file; no ReLU."""
    dtype, kind = (np.float64, TensorProto.DOUBLE) if double else (np.float32, TensorProto.FLOAT)
    entries = [numpy_helper.from_array(a.astype(dtype), n) for n, a in (("w", weight), ("b", bias))]
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    ends = [helper.make_tensor_value_info(n, kind, [1, k]) for n, k in zip("xy", weight.shape[::-1], strict=True)]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], entries)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path

"""ONNX graphs put together node by node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

node = helper.make_node


RNG = np.random.default_rng(5)


W, V = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 3))


def weights(kind: Any = np.float32, **arrays: Any) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(a).astype(kind), name) for name, a in arrays.items()]


def build(
    nodes: list[onnx.NodeProto],
    initializers: list[onnx.TensorProto],
    outputs: dict[str, int] | None = None,
    shape: tuple[int | str, ...] = (1, 4),
    kind: int = TensorProto.FLOAT,
    opset: int = 13,
    **more: Any,
) -> onnx.ModelProto:
    exits = [helper.make_tensor_value_info(n, k, None) for n, k in (outputs or {"y": TensorProto.FLOAT}).items()]
    entry = helper.make_tensor_value_info("x", kind, list(shape))
    sparse = more.pop("sparse", [])
    graph = helper.make_graph(nodes, "g", [entry], exits, initializers, sparse_initializer=sparse)
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8, **more)


def classifier(*tail: onnx.NodeProto, rows: Any = V) -> onnx.ModelProto:
    """Two layers that compute z, and what comes after."""
    nodes = [
        node("Gemm", ["x", "W"], ["h"], transB=1),
        node("Relu", ["h"], ["r"]),
        node("Gemm", ["r", "V"], ["z"], transB=1),
    ]
    return build([*nodes, *tail], weights(W=W, V=rows))

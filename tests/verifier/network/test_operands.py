"""Nodes with fewer or other operands than their operator takes are refused by name, whatever the operator."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from advverify.verifier.errors import AdvverifyError
from advverify.verifier.network.onnx_ops import READERS
from advverify.verifier.network.onnx_reader import read_onnx

FOLDED = (
    "DequantizeLinear",
    "Cast",
    "Concat",
    "ConstantOfShape",
    "Expand",
    "Gather",
    "MatMul",
    "Range",
    "Tile",
    "Where",
)


def of_operands(kind: str, names: tuple[str, ...]) -> onnx.ModelProto:
    """x + kind(names), where names are of x, a constant vector c, or empty."""
    nodes = [helper.make_node(kind, list(names), ["v"]), helper.make_node("Add", ["x", "v"], ["y"])]
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    weight = numpy_helper.from_array(np.ones(4, dtype=np.float32), "c")
    graph = helper.make_graph(nodes, "g", value[:1], value[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize("kind", sorted({*READERS, *FOLDED}))
def test_nodes_with_missing_operands(kind: str, tmp_path: Path) -> None:
    refused = 0
    for names in ((), ("c",), ("x",), ("", "c"), ("c", ""), ("", "x"), ("x", ""), ("c", "c"), ("x", "c", "c", "c")):
        path = tmp_path / "m.onnx"
        path.write_bytes(of_operands(kind, names).SerializeToString())
        try:
            read_onnx(path)
        except AdvverifyError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 2

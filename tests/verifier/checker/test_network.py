"""Files that the checker must not read, since runtimes or the ONNX specification read them otherwise than it would."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from proof_files import checked_values

from advverify.verifier.checker.model_file import open_model
from advverify.verifier.checker.network import Network, Rejected
from advverify.verifier.errors import UnsupportedOperator
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx

node = helper.make_node
KERNEL = numpy_helper.from_array(np.ones((1, 1, 2, 2), dtype=np.float32), "k")
VECTOR = numpy_helper.from_array(np.ones(1, dtype=np.float32), "v")
POOL: dict[str, Any] = {"kernel_shape": [2, 2]}
NORMAL = ["x", "v", "v", "v", "v"]


def model(
    *nodes: onnx.NodeProto,
    opsets: tuple[tuple[str, int], ...] = (("", 13),),
    kind: int = TensorProto.FLOAT,
    constants: dict[str, list[Any]] | None = None,
) -> onnx.ModelProto:
    """Of an image of 4 x 4; the last node's output is y."""
    more = [numpy_helper.from_array(np.array(value), name) for name, value in (constants or {}).items()]
    entry, leave = (
        helper.make_tensor_value_info(name, kind, shape) for name, shape in (("x", [1, 1, 4, 4]), ("y", None))
    )
    graph = helper.make_graph(list(nodes), "g", [entry], [leave], [KERNEL, VECTOR, *more])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(*o) for o in opsets], ir_version=8)


READ = {
    "a pool": model(node("MaxPool", ["x"], ["y"], **POOL, pads=[1, 1, 1, 1])),
    "a pool without padding": model(node("MaxPool", ["x"], ["y"], **POOL, auto_pad="VALID")),
    "a convolution": model(node("Conv", ["x", "k"], ["y"], kernel_shape=[2, 2], pads=[1, 1, 0, 0])),
    "a normalisation": model(node("BatchNormalization", NORMAL, ["y"])),
    "a sum": model(node("Add", ["x", "v"], ["y"]), opsets=(("", 7),)),
}
REFUSED = {
    "pads of a maximum beside VALID": model(node("MaxPool", ["x"], ["y"], **POOL, pads=[1, 1, 1, 1], auto_pad="VALID")),
    "pads of a mean beside VALID": model(
        node("AveragePool", ["x"], ["y"], **POOL, pads=[1, 1, 1, 1], auto_pad="VALID")
    ),
    "pads of a convolution beside VALID": model(node("Conv", ["x", "k"], ["y"], pads=[1, 1, 1, 1], auto_pad="VALID")),
    "another kernel than is said": model(node("Conv", ["x", "k"], ["y"], kernel_shape=[1, 1])),
    "statistics of single entries": model(node("BatchNormalization", NORMAL, ["y"], spatial=0), opsets=(("", 7),)),
    "an old opset": model(node("Add", ["x", "v"], ["y"]), opsets=(("", 6),)),
    "an opset to come": model(node("Add", ["x", "v"], ["y"]), opsets=(("", 999),)),
    "no opset": model(node("Add", ["x", "v"], ["y"]), opsets=(("my", 1),)),
    "two opsets": model(node("Add", ["x", "v"], ["y"]), opsets=(("", 13), ("ai.onnx", 7))),
    "a sum along an axis": model(node("Add", ["x", "v"], ["y"], broadcast=1, axis=1)),
    "an attribute that nobody knows": model(node("Relu", ["x"], ["y"], upper=6.0)),
    "axes that are not in order": model(
        node("Unsqueeze", ["x"], ["u"], axes=[2, 0]), node("Squeeze", ["u"], ["y"], axes=[0]), opsets=(("", 11),)
    ),
    "an axis from the end in an old opset": model(node("Squeeze", ["x"], ["y"], axes=[-4]), opsets=(("", 9),)),
    "statistics of a batch": model(node("BatchNormalization", NORMAL, ["y", "a", "b", "c", "d"]), opsets=(("", 9),)),
    "indices of maxima": model(node("MaxPool", ["x"], ["y", "i"], **POOL)),
    "windows over two images": model(
        node("Reshape", ["x", "two"], ["t"]), node("Conv", ["t", "k"], ["y"]), constants={"two": [2, 1, 2, 4]}
    ),
    "a mean over two images": model(
        node("Reshape", ["x", "two"], ["t"]), node("GlobalAveragePool", ["t"], ["y"]), constants={"two": [2, 1, 2, 4]}
    ),
    "a cast that some round twice": model(
        node("Cast", ["d"], ["h"], to=TensorProto.FLOAT16),
        node("Cast", ["h"], ["f"], to=TensorProto.FLOAT),
        node("Add", ["x", "f"], ["y"]),
        constants={"d": [1.0]},
    ),
    "whole numbers": model(node("Add", ["x", "x"], ["y"]), kind=TensorProto.INT64),
    "a value computed twice": model(node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])),
    "an input computed": model(node("Relu", ["x"], ["x"]), node("Neg", ["x"], ["y"])),
}


@pytest.mark.parametrize("where", ["attribute", "constant"])
@pytest.mark.parametrize("limit", [2e30, 1e38, float(np.finfo(np.float32).max), np.inf])
def test_limits_of_clip_however_large(limit: float, where: str, tmp_path: Path) -> None:
    """The largest number of the type is none, any other is one."""
    if where == "attribute":
        clip, opset = node("Clip", ["x"], ["y"], max=limit), 10
    else:
        clip, opset = node("Clip", ["x", "", "m"], ["y"]), 13
    file = model(clip, opsets=(("", opset),))
    file.graph.initializer.append(numpy_helper.from_array(np.array(limit, dtype=np.float32), "m"))
    onnx.save(file, tmp_path / "m.onnx")
    clips = any(each.relu >= 0 for each in Network(open_model(tmp_path / "m.onnx")[0]).nodes)
    assert clips == (limit < 3.4e38)


@pytest.mark.parametrize("name", READ)
def test_what_is_read(name: str, tmp_path: Path) -> None:
    onnx.save(READ[name], tmp_path / "m.onnx")
    assert len(Network(open_model(tmp_path / "m.onnx")[0]).nodes) > 1


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, tmp_path: Path) -> None:
    onnx.save(REFUSED[name], tmp_path / "m.onnx")
    with pytest.raises(Rejected):
        Network(open_model(tmp_path / "m.onnx")[0])


def test_the_verifier_does_not_read_pads_beside_valid_either(tmp_path: Path) -> None:
    for name in (name for name in REFUSED if name.endswith("beside VALID")):
        onnx.save(REFUSED[name], tmp_path / "m.onnx")
        with pytest.raises(UnsupportedOperator, match="VALID beside pads"):
            read_onnx(tmp_path / "m.onnx")


def test_defaults_are_float32_numbers(tmp_path: Path) -> None:
    """ONNX has no double attributes: a missing slope is the float32 number 0.01, a missing epsilon 1e-5, for both readers."""
    low = torch.full((1, 16), -1.0, dtype=torch.float64)
    for made, right in (
        (node("LeakyRelu", ["x"], ["y"]), -np.float64(np.float32(0.01))),
        (node("BatchNormalization", NORMAL, ["y"]), 1 - 2 / np.sqrt(1 + np.float64(np.float32(1e-5)))),
    ):
        path = tmp_path / "m.onnx"
        onnx.save(model(made), path)
        values = checked_values(Network(open_model(path)[0]), low.numpy())
        np.testing.assert_allclose(values[-1], right, rtol=1e-13)
        np.testing.assert_allclose(evaluate(read_onnx(path), low), right, rtol=1e-13)

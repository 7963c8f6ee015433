"""Networks with one output: certify and distance know their two classes; commands that compare outputs refuse them."""

from pathlib import Path

import numpy as np
import pytest
from command_line import run
from onnx import TensorProto, helper, numpy_helper, save


@pytest.fixture
def single(tmp_path: Path) -> tuple[str, str]:
    weight = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 64), ("y", 1))]
    graph = helper.make_graph([node], "single", ports[:1], ports[1:], [numpy_helper.from_array(weight, "w")])
    path = tmp_path / "single.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    images = np.random.default_rng(1).random((4, 64)).astype(np.float32)
    np.savez(tmp_path / "data.npz", images=images, labels=(images @ weight > 0).ravel().astype(np.int64))
    return str(path), f"npz:{tmp_path / 'data.npz'}"


def test_certify_and_distance_know_two_classes(single: tuple[str, str]) -> None:
    path, data = single
    for command in ("certify", "distance"):
        done = run(command, path, "--data", data, "--images", "0:4", "--eps", "0.001", "--timeout", "10")
        assert done.returncode == 0 and "│ misclassified" not in done.stdout, done.stderr


@pytest.mark.parametrize(
    "command", [("compare",), ("attack", "--attack", "fgsm", "--norm", "inf"), ("geometry", "--out", "unused")]
)
def test_commands_that_compare_outputs_refuse(command: tuple[str, ...], single: tuple[str, str]) -> None:
    path, data = single
    done = run(command[0], path, *command[1:], "--data", data, "--images", "0:4")
    assert done.returncode == 2 and "has one output" in done.stderr and "Traceback" not in done.stderr

"""A module becomes a file that anyone can execute, or nothing is written."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import advverify
from advverify.verifier.errors import InvalidInput, InvalidModel, UnsupportedOperator

EXAMPLE = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def network() -> nn.Module:
    torch.manual_seed(1)
    conv = nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 3, 3))
    return nn.Sequential(
        conv, nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(12, 4)
    )


def test_the_file_is_portable(tmp_path: Path) -> None:
    module = network()
    path = advverify.export(module, EXAMPLE, tmp_path / "net.onnx", card={"data": "npz:mine.npz", "notes": ["a", "b"]})
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"input": EXAMPLE.numpy()})  # the batch dimension is free
    with torch.no_grad():
        np.testing.assert_allclose(given, module.eval()(EXAMPLE).numpy(), atol=1e-5)
    card = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert (
        json.loads(card["input_shape"]) == [1, 6, 6] and card["data"] == "npz:mine.npz" and card["name"] == "Sequential"
    )
    assert float(card["export_error"]) < 1e-5 and int(card["parameters"]) == sum(p.numel() for p in module.parameters())
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    kinds = {node.op_type for node in onnx.load(str(path)).graph.node}
    assert kinds == {"Conv", "Relu", "MaxPool", "Flatten", "Gemm"}


class Choosing(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) if float(x.sum()) < 1 else -x.flatten(1)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_nothing_is_written_where_something_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Tanh(), nn.Linear(4, 2))
    with pytest.raises(UnsupportedOperator, match="the module cannot be verified, for its layer Tanh '2'"):
        advverify.export(smooth, EXAMPLE, path)
    with pytest.raises(InvalidModel, match="computes something else than the module"):
        advverify.export(Choosing(), EXAMPLE, path)
    with pytest.raises(InvalidInput, match="export takes a torch.nn.Module, got str"):
        advverify.export("zoo:digits-mlp", EXAMPLE, path)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"inputs \(N, ...\) as the module takes them"):
        advverify.export(network(), torch.rand(6), path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInput, match="cannot be written"):
        advverify.export(network(), EXAMPLE, tmp_path / "no" / "net.onnx")

"""The comparison at load: a wrong reading does not pass, a right one always does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_graphs import build, classifier, node, weights
from onnx_networks import FILE_KINDS, write_network

from advverify.verifier.api import Model
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.agreement import Agreement
from advverify.verifier.network.nodes import Affine, Network
from advverify.verifier.network.onnx_reader import read_file
from advverify.verifier.network.onnx_runtime import OnnxExecutor


def shifted(network: Network, index: int, factor: float, shift: float) -> Network:
    """The network with one affine node's bias changed."""
    nodes = list(network.nodes)
    changed = nodes[index]
    assert isinstance(changed, Affine)
    nodes[index] = replace(changed, bias=changed.bias * factor + shift)
    return replace(network, nodes=tuple(nodes))


@pytest.mark.parametrize("kind", FILE_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_a_wrong_reading_is_caught(tmp_path: Path, kind: str, seed: int) -> None:
    path = write_network(tmp_path / "m.onnx", kind, seed)
    reading, executor = read_file(path), OnnxExecutor(path)
    Agreement(reading.network, reading.plain, executor).check()
    last = reading.network.output
    with pytest.raises(InvalidModel, match="something else than what was read"):
        Agreement(shifted(reading.network, last, 1.0, 1e-3), reading.plain, executor).check()


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax", "Sigmoid"])
def test_a_wrong_ending_or_logits_behind_one_are_caught(tmp_path: Path, ending: str) -> None:
    onnx.save(classifier(node(ending, ["z"], ["y"])), tmp_path / "m.onnx")
    reading, executor = read_file(tmp_path / "m.onnx"), OnnxExecutor(tmp_path / "m.onnx")
    Agreement(reading.network, reading.plain, executor).check()
    others = {"Softmax": "LogSoftmax", "LogSoftmax": "Sigmoid", "Sigmoid": "Softmax"}
    for wrong in (
        replace(reading.network, ending=others[ending]),
        shifted(reading.network, reading.network.output, 1.0, 0.01),  # the same for all: Softmax does not see it
    ):
        with pytest.raises(InvalidModel, match="something else"):
            Agreement(wrong, reading.plain, executor).check()


def test_a_network_with_a_note_is_compared(tmp_path: Path) -> None:
    constants = weights(W=np.full((2, 4), 1e6), b=np.zeros(2))
    onnx.save(build([node("Gemm", ["x", "W", "b"], ["y"], transB=1)], constants), tmp_path / "m.onnx")
    reading, executor = read_file(tmp_path / "m.onnx"), OnnxExecutor(tmp_path / "m.onnx")
    assert reading.network.notes
    with pytest.raises(InvalidModel, match="something else"):
        Agreement(shifted(reading.network, reading.network.output, 1.0, 100.0), reading.plain, executor).check()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(-6, 6), st.booleans(), st.booleans())
def test_a_right_reading_is_never_refused(
    tmp_path: Path, seed: int, depth: int, scale: int, cancel: bool, twice: bool
) -> None:
    """Scales from 1e-6 to 1e6, layers that cancel, neurons that are copies of each other."""
    rng = np.random.default_rng(seed)
    width, nodes, constants, value = int(rng.integers(1, 40)), [], [], "x"
    inner = 4
    for k in range(depth):
        factor = 10.0 ** (scale if k == 0 else rng.integers(-1, 2))
        weight = rng.normal(size=(width, inner)) * factor / np.sqrt(inner)
        weight = np.repeat(weight[:1], width, axis=0) if twice else weight
        bias = rng.normal(size=width) * (factor if rng.random() < 0.5 else 0.0)
        constants += weights(**{f"W{k}": weight, f"b{k}": bias})
        nodes.append(node("Gemm", [value, f"W{k}", f"b{k}"], [f"h{k}"], transB=1))
        value = f"h{k}"
        if cancel:  # a normalisation whose mean and bias are large beside what is left
            far = np.full(width, min(1e4 * factor, 1e7))
            constants += weights(**{f"far{k}": far})
            nodes += [node("Add", [value, f"far{k}"], [f"a{k}"]), node("Sub", [f"a{k}", f"far{k}"], [f"s{k}"])]
            value = f"s{k}"
        nodes.append(node("Relu", [value], [f"r{k}"]))
        value, inner = f"r{k}", width
    path = tmp_path / "m.onnx"
    onnx.save(build([*nodes, node("Neg", [value], ["y"])], constants), path)
    model = Model(path)
    model.check_on(rng.random(4))
    assert torch.isfinite(model.network.nodes[-1].bias).all()  # type: ignore[union-attr]

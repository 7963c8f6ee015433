"""Limits that are the largest number of their type are left out only where no value comes near them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_graphs import build, node

from advverify import Threat, certify, distance, export_mip
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.model_file import Rejected, open_model
from advverify.verifier.checker.network import Network as CheckedNetwork
from advverify.verifier.checker.region import Region
from advverify.verifier.errors import InvalidInput, UnsupportedOperator
from advverify.verifier.network.compose import max_to_relu, restricted, with_input_rows, with_one_perturbation
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_model
from advverify.verifier.outcome import Verdict

LARGEST = float(np.finfo(np.float32).max)


def scaled(factors: list[float], kind: str = "Clip", back: float = 1e-7) -> onnx.ModelProto:
    """Margin min(prod(factors) x, LARGEST) 1e-30 back - x + 1."""
    nodes, read = [], "x"
    arrays: dict[str, Any] = {}
    for k, factor in enumerate([*factors, None, 1e-10, 1e-10, 1e-10, back]):
        if factor is None:
            operands = {"Clip": [read, "", "limit"], "Clip without a limit": [read], "Min": [read, "limit"]}[kind]
            nodes.append(node(kind.split()[0], operands, [f"h{k}"]))
        else:
            arrays[f"w{k}"] = np.array([[factor]], np.float32)
            nodes.append(node("MatMul", [read, f"w{k}"], [f"h{k}"]))
        read = f"h{k}"
    arrays |= {
        "limit": np.array(LARGEST, np.float32),
        "r": np.array([[1.0, 0.0]], np.float32),
        "q": np.array([[0.0, 1.0]], np.float32),
        "b": np.array([1.0, 0.0], np.float32),
    }
    nodes += [node("MatMul", [read, "r"], ["p"]), node("Gemm", ["x", "q", "b"], ["s"]), node("Add", ["p", "s"], ["y"])]
    return build(nodes, [numpy_helper.from_array(a, name) for name, a in arrays.items()], shape=(1, 1))


STEEP = [1e8, 1e8, 1e8, 1e8, 5e5]  # 5e37 in all: the limit binds from 6.8 on


@pytest.mark.parametrize("kind", ["Clip", "Clip without a limit", "Min"])
def test_inputs_at_which_the_limit_binds(kind: str, tmp_path: Path) -> None:
    """Class 1 wins above 36 since the limit binds; without it class 0 would win everywhere."""
    path = tmp_path / "m.onnx"
    onnx.save(scaled(STEEP, kind), path)
    wide: dict[str, Any] = {"norm": "inf", "valid_range": (0.0, 1000.0), "timeout": 10, "threads": 1}
    with pytest.raises(InvalidInput, match="may reach a limit of Clip"):
        certify(path, np.array([0.5]), 0, eps=900.0, **wide)
    with pytest.raises(InvalidInput, match="may reach a limit of Clip"):
        distance(path, np.array([0.5]), 0, **wide)
    with pytest.raises(InvalidInput, match="may reach a limit of Clip"):
        export_mip(path, np.array([0.5]), 0, tmp_path / "m.mps", Threat("inf", 900.0, valid_range=(0.0, 1000.0)))
    assert certify(path, np.array([0.5]), 0, eps=3.0, **wide).verdict is Verdict.ROBUST


@pytest.mark.parametrize("kind", ["Clip", "Clip without a limit", "Min"])
def test_files_whose_values_may_be_as_large_at_once(kind: str) -> None:
    with pytest.raises(UnsupportedOperator, match="may reach the limit"):
        read_model(scaled([1e8] * 5, kind))


def test_a_cast_changes_whose_largest_number_it_is() -> None:
    """A file that takes float64 and goes on in float32: a missing limit is float32's."""
    for factors in ([1e8] * 5, STEEP):
        plain = scaled(factors, "Clip without a limit")
        for other in plain.graph.node:
            other.input[:] = ["xf" if name == "x" else name for name in other.input]
        nodes = [node("Cast", ["x"], ["xf"], to=onnx.TensorProto.FLOAT), *plain.graph.node]
        model = build(nodes, list(plain.graph.initializer), shape=(1, 1), kind=onnx.TensorProto.DOUBLE)
        if factors is STEEP:
            assert read_model(model).input_limit == read_model(scaled(factors, "Clip without a limit")).input_limit < 10
        else:
            with pytest.raises(UnsupportedOperator, match="may reach the limit"):
                read_model(model)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e8, 1e8, width=32), min_size=1, max_size=5), st.integers(0, 2**32))
def test_the_limit_of_inputs_is_honest(factors: list[float], seed: int) -> None:
    """No input up to it takes a value as far as the limit that was left out."""
    model = scaled(factors, back=1.0)
    try:
        network = read_model(model)
    except UnsupportedOperator:
        assert abs(math.prod(factors)) > 0.9 * LARGEST
        return
    limit = network.input_limit
    largest = min(limit, 1e300)
    points = np.random.default_rng(seed).uniform(-largest, largest, (50, 1))
    assert (np.abs(points * math.prod(map(float, factors))) < LARGEST).all()
    assert limit >= 1.0 and limit * abs(math.prod(map(float, factors))) > 0.9 * LARGEST or math.isinf(limit)


def test_networks_made_of_it_keep_the_limit() -> None:
    network = read_model(scaled(STEEP))
    limit = network.input_limit
    assert 6.0 < limit < 6.9
    assert max_to_relu(network).input_limit == with_input_rows(network, np.ones((1, 1))).input_limit == limit
    moved = restricted(network, np.array([2.0]), np.array([[4.0]]))
    assert 0.9 < moved.input_limit <= (limit - 2.0) / 4.0
    assert evaluate(moved, torch.tensor([[0.5]], dtype=torch.float64)).shape == (1, 2)
    assert restricted(network, np.array([9.0]), np.array([[0.0]])).input_limit < 0  # the origin itself is too far
    images = np.array([[1.0], [3.0]])
    assert with_one_perturbation(network, images, np.zeros(2, int), None).input_limit <= limit - 3.0
    assert math.isinf(with_one_perturbation(network, images, np.zeros(2, int), (0.0, 5.0)).input_limit)
    assert with_one_perturbation(network, images, np.zeros(2, int), (0.0, 50.0)).input_limit <= limit - 3.0


@pytest.mark.parametrize("kind", ["Clip", "Clip without a limit"])
def test_the_checker_looks_at_the_region(kind: str, tmp_path: Path) -> None:
    onnx.save(scaled(STEEP, kind), tmp_path / "m.onnx")
    network = CheckedNetwork(open_model(tmp_path / "m.onnx")[0])
    near, far = (Region(np.zeros(1), np.full(1, size)) for size in (3.0, 100.0))
    Relaxation(network, near)
    with pytest.raises(Rejected, match="may reach a limit of Clip"):
        Relaxation(network, far)

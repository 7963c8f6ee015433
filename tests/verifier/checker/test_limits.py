"""Files made to cost the checker much, or to be read in two ways."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper
from onnx_graphs import build, node

from advverify.verifier.checker import Rejected, check
from advverify.verifier.checker.check import Arrays, Case
from advverify.verifier.checker.model_file import open_model
from advverify.verifier.checker.network import Network
from advverify.verifier.checker.statement import Statement, contradictory
from advverify.verifier.checker.trees import Trees
from advverify.verifier.proof.file import ProofFile


def network(path: Path) -> Path:
    arrays = {"a": np.array([[1, -1], [2, 1]], np.float32), "b": np.array([[1, 2], [-1, 1]], np.float32)}
    nodes = [node("MatMul", ["x", "a"], ["h"]), node("Relu", ["h"], ["r"]), node("MatMul", ["r", "b"], ["y"])]
    initializers = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    onnx.save(build(nodes, initializers, shape=(1, 2)), path)
    return path


def proof_of(path: Path, model: Path, codes: np.ndarray, betas: int) -> Path:
    """A proof with one tree, which excludes outputs of -1000 and less."""
    proof = ProofFile(open_model(model)[1], {})
    unsafe = ((np.array([[1.0, 0.0]]), np.array([-1000.0])),)
    proof.add_case(Statement(np.zeros(2), np.ones(2), None, None, np.inf, 1, unsafe))
    leaves = int((codes < 0).sum())
    arrays: dict[str, Any] = {
        "codes": codes,
        "columns": np.zeros(0, np.int32),
        "slopes": np.zeros((leaves, 0), np.uint16),
        "betas": np.zeros(betas, np.float32),
        "polytopes": np.zeros(1, np.int32),
        "weights": np.ones(leaves or 1, np.float32),
    }
    proof.add_step({"kind": "goals", "refine": False}, arrays)
    proof.save(path)
    return path


def test_a_chain_of_splits_without_leaves(tmp_path: Path) -> None:
    """A file of two kilobytes takes no gigabytes."""
    model = network(tmp_path / "m.onnx")
    proof = proof_of(tmp_path / "p", model, np.zeros(10_000, np.int32), 0)
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="a tree ends before its leaves do"):
            check(proof, model)
        assert tracemalloc.get_traced_memory()[1] < 100e6  # paths written out would be 400 MB of pointers alone
    finally:
        tracemalloc.stop()


def test_a_deep_tree(tmp_path: Path) -> None:
    """Multipliers have to be there for every split above every leaf before anything is made of them."""
    model = network(tmp_path / "m.onnx")
    depth = 30_000
    codes = np.full(2 * depth + 1, -1, np.int32)
    codes[0::2][:-1] = 0  # each split has a leaf on one side
    with pytest.raises(Rejected, match="betas"):
        check(proof_of(tmp_path / "p", model, codes, 5), model)
    shallow = np.array([0, 1, -1, -1, -1], np.int32)
    assert check(proof_of(tmp_path / "q", model, shallow, 5), model).leaves == 3


def test_paths_of_leaves(tmp_path: Path) -> None:
    """From the root on, with the side that a leaf lies on."""
    model = network(tmp_path / "m.onnx")
    arrays = Arrays(proof_of(tmp_path / "p", model, np.array([0, 1, -1, -1, -1], np.int32), 5))
    case = Case(Network(open_model(model)[0]), arrays, "0", arrays.header["cases"][0])
    trees = Trees(arrays, "0.0", case.relaxation, case.bounds, False)
    assert [trees.path(leaf) for leaf in range(3)] == [[(0, 1), (1, 1)], [(0, 1), (1, -1)], [(0, -1)]]


def test_contradictions_of_many_rows_are_not_looked_for() -> None:
    """Rational arithmetic on hundreds of dense rows takes minutes; few rows are decided."""
    rng = np.random.default_rng(0)
    for rows, right in ((12, True), (200, False)):
        matrix = np.zeros((rows, rows))
        matrix[:, : rows - 1] = np.round(rng.standard_normal((rows, rows - 1)) * 2**30) / 2**30
        matrix[-1] = -matrix[:-1].sum(0)
        offset = rng.uniform(0, 1, rows)
        offset[-1] = -offset[:-1].sum() - 1
        assert contradictory(matrix, offset) is right


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("NaN", np.array([np.nan], np.float32)),
        ("too large", np.array([3e9], np.float32)),
        ("short", np.array([1.0], np.float32)),
    ],
)
def test_casts_that_runtimes_do_differently(kind: str, value: np.ndarray, tmp_path: Path) -> None:
    short = kind == "short"
    target = TensorProto.FLOAT8E5M2 if short else TensorProto.INT32
    nodes = [
        node("Cast", ["c"], ["d"], to=target),
        node("Cast", ["d"], ["e"], to=TensorProto.FLOAT),
        node("Add", ["x", "e"], ["y"]),
    ]
    onnx.save(build(nodes, [numpy_helper.from_array(value, "c")], shape=(1, 1), opset=19), tmp_path / "m.onnx")
    with pytest.raises(Rejected, match="cast"):
        Network(open_model(tmp_path / "m.onnx")[0])


def test_a_split_that_says_another_number_of_parts(tmp_path: Path) -> None:
    """onnx's evaluator gives the first of two parts, runtimes give all of it."""
    nodes = [node("Split", ["x"], ["a"], axis=1, num_outputs=2), node("Relu", ["a"], ["y"])]
    onnx.save(build(nodes, [], shape=(1, 4), opset=18), tmp_path / "m.onnx")
    with pytest.raises(Rejected, match="Split"):
        Network(open_model(tmp_path / "m.onnx")[0])


def test_a_process_that_flushes_small_numbers(tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    proof = proof_of(tmp_path / "p", model, np.array([-1], np.int32), 0)
    assert check(proof, model).leaves == 1
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        with pytest.raises(Rejected, match="flush to zero"):
            check(proof, model)
    finally:
        torch.set_flush_denormal(False)

"""What a file may look like: orders, functions, endings, outputs, files beside it; and what is refused, in what words."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import RNG, V, W, build, classifier, node, weights

from advverify.verifier.api import Model
from advverify.verifier.checker.model_file import Rejected, open_model
from advverify.verifier.errors import InvalidModel, UnsupportedOperator
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_model, read_onnx


def logits(x: np.ndarray, rows: Any = V) -> np.ndarray:
    single = [a.astype(np.float32).astype(np.float64) for a in (W, np.asarray(rows))]
    return np.asarray(np.maximum(x @ single[0].T, 0) @ single[1].T)


def opened(tmp_path: Path, model: onnx.ModelProto) -> Model:
    onnx.save(model, tmp_path / "m.onnx")
    return Model(tmp_path / "m.onnx")


def agrees(model: Model, expected: Any = None) -> None:
    """Nodes, execution and (where it is given) formula say the same of the logits."""
    x = np.random.default_rng(1).normal(size=(5, model.network.input_size)).astype(np.float32).astype(np.float64)
    ours = evaluate(model.network, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(ours, model.executor.logits(x), 1e-4, 1e-4)
    if expected is not None:
        np.testing.assert_allclose(ours, expected(x), 1e-4, 1e-4)


TAILS: list[list[onnx.NodeProto]] = [
    [node("Identity", ["p"], ["y"])],
    [node("Cast", ["p"], ["y"], to=TensorProto.FLOAT)],
    [node("Flatten", ["p"], ["q"]), node("Identity", ["q"], ["y"])],
    [node("Squeeze", ["p"], ["y"])],
]


@pytest.mark.parametrize("ending", ["Softmax", "LogSoftmax", "Sigmoid"])
@pytest.mark.parametrize("tail", TAILS, ids=["identity", "cast", "flatten", "squeeze"])
def test_endings(tmp_path: Path, ending: str, tail: list[onnx.NodeProto]) -> None:
    model = opened(tmp_path, classifier(node(ending, ["z"], ["p"]), *tail))
    assert model.network.ending == ending and "margins of logits" in " ".join(model.network.notes)
    agrees(model, logits)
    x = np.random.default_rng(2).random((3, 4))
    z = logits(x.astype(np.float32).astype(np.float64))
    soft = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    right = {"Softmax": soft, "LogSoftmax": np.log(soft), "Sigmoid": 1 / (1 + np.exp(-z))}[ending]
    np.testing.assert_allclose(model.executor.run(x), right, 1e-4, 1e-5)


def test_without_an_ending_logits_are_the_outputs(tmp_path: Path) -> None:
    model = opened(tmp_path, classifier(node("Identity", ["z"], ["y"])))
    x = np.random.default_rng(2).random((3, 4))
    assert model.network.ending == "" and model.network.notes == ()
    np.testing.assert_array_equal(model.executor.run(x), model.executor.logits(x))


def test_an_ending_inside_is_refused() -> None:
    for kind in ("Softmax", "LogSoftmax", "Sigmoid"):
        with pytest.raises(UnsupportedOperator, match="as the last layer only"):
            read_model(classifier(node(kind, ["z"], ["p"]), node("Relu", ["p"], ["y"])))


def test_softmax_over_one_of_two_long_axes_is_refused() -> None:
    shape = weights(np.int64, shape=[1, 2, 2])
    nodes = [node("Relu", ["x"], ["h"]), node("Reshape", ["h", "shape"], ["z"]), node("Softmax", ["z"], ["y"], axis=1)]
    with pytest.raises(UnsupportedOperator, match="axis"):
        read_model(build(nodes, shape))


def test_one_output(tmp_path: Path) -> None:
    notes = opened(tmp_path, classifier(node("Sigmoid", ["z"], ["y"]), rows=V[:1])).network.notes
    assert "one output: class 1 where it is above 0, 0.5 after the Sigmoid" in notes
    notes = opened(tmp_path, classifier(node("Identity", ["z"], ["y"]), rows=V[:1])).network.notes
    assert notes == ("one output: class 1 where it is above 0",)


def scikit_learn(last: list[onnx.NodeProto], rows: Any, extra: list[onnx.TensorProto]) -> onnx.ModelProto:
    """As skl2onnx writes an MLPClassifier without ZipMap."""
    nodes = [
        node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        node("MatMul", ["c", "W"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "V"], ["z"]),
        *last,
        node("ArgMax", ["probabilities"], ["best"], axis=1),
        node("ArrayFeatureExtractor", ["classes", "best"], ["picked"], domain="ai.onnx.ml"),
        node("Reshape", ["picked", "shape"], ["label"]),
    ]
    constants = weights(W=W.T, V=np.asarray(rows).T) + weights(np.int64, classes=np.arange(3), shape=[-1]) + extra
    return build(nodes, constants, {"label": TensorProto.INT64, "probabilities": TensorProto.FLOAT}, ("n", 4))


def test_scikit_learn(tmp_path: Path) -> None:
    rows = RNG.normal(size=(3, 3))
    last = [node("Softmax", ["z"], ["p"], axis=1), node("Identity", ["p"], ["probabilities"])]
    model = opened(tmp_path, scikit_learn(last, rows, []))
    assert model.network.ending == "Softmax" and "output 'probabilities' is read" in model.network.notes[0]
    agrees(model, lambda x: logits(x, rows))


def test_scikit_learn_with_two_classes(tmp_path: Path) -> None:
    """Its probabilities are 1 - s and s of one logit: the Softmax of 0 and that logit."""
    last = [
        node("Sigmoid", ["z"], ["s"]),
        node("Sub", ["one", "s"], ["t"]),
        node("Concat", ["t", "s"], ["probabilities"], axis=1),
    ]
    model = opened(tmp_path, scikit_learn(last, V[:1], weights(one=1.0)))
    assert model.network.ending == "Softmax" and model.network.output_size == 2
    agrees(model, lambda x: np.concatenate([np.zeros((len(x), 1)), logits(x, V[:1])], axis=1))


def test_two_outputs_that_are_both_numbers_are_refused() -> None:
    model = build([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["z"])], [], {"y": 1, "z": 1})
    with pytest.raises(InvalidModel, match="has 2 outputs"):
        read_model(model)


def test_nodes_in_any_order(tmp_path: Path) -> None:
    model = classifier(node("Identity", ["z"], ["y"]))
    for _ in range(3):
        first = model.graph.node.pop(0)
        model.graph.node.append(first)
        network = read_model(model)
        x = np.random.default_rng(3).normal(size=(3, 4))
        np.testing.assert_allclose(evaluate(network, torch.from_numpy(x)).numpy(), logits(x), 1e-9)


def test_cycles_and_values_computed_twice_are_refused() -> None:
    with pytest.raises(InvalidModel, match="cycle"):
        read_model(build([node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Neg", ["b"], ["y"])], []))
    with pytest.raises(InvalidModel, match="'y' is computed twice"):
        read_model(build([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], []))


def test_local_functions(tmp_path: Path) -> None:
    body = [node("Gemm", ["a", "w"], ["t"], transB=1), node("Relu", ["t"], ["b"])]
    block = helper.make_function("my", "Block", ["a", "w"], ["b"], body, [helper.make_opsetid("", 13)])
    model = build([node("Block", ["x", "W"], ["y"], domain="my")], weights(W=W), functions=[block])
    agrees(opened(tmp_path, model), lambda x: np.maximum(x @ W.astype(np.float32).astype(float).T, 0))


def test_sparse_initializers(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.array([2.0, -3.0], np.float32), "S")
    sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([1, 6]), "S_at"), [2, 4])
    model = opened(
        tmp_path, build([node("Gemm", ["x", "S"], ["h"], transB=1), node("Relu", ["h"], ["y"])], [], sparse=[sparse])
    )
    agrees(model, lambda x: np.maximum(np.stack([2 * x[:, 1], -3 * x[:, 2]], 1), 0))


def test_clamp_as_max_is_a_relu(tmp_path: Path) -> None:
    for operands in (["h", "zero"], ["zero", "h"]):
        model = build([node("Gemm", ["x", "W"], ["h"], transB=1), node("Max", operands, ["y"])], weights(W=W, zero=0.0))
        network = opened(tmp_path, model).network
        assert [type(n).__name__ for n in network.nodes] == ["Input", "Affine", "Relu", "Affine"]


def test_weights_of_eight_bits(tmp_path: Path) -> None:
    q = np.random.default_rng(4).integers(-128, 128, (3, 4))
    for scale, zero in ((0.01, 3), ([0.01, 0.1, 0.5], [1, -2, 0])):
        constants = weights(np.int8, q=q, zero=zero) + weights(scale=scale)
        nodes = [
            node("DequantizeLinear", ["q", "scale", "zero"], ["w"], axis=0),
            node("Gemm", ["x", "w"], ["y"], transB=1),
        ]
        model = opened(tmp_path, build(nodes, constants))
        dense = (q - np.reshape(zero, (-1, 1))) * np.reshape(scale, (-1, 1)).astype(np.float32).astype(float)
        agrees(model, lambda x, dense=dense: x @ dense.T)


def test_types_are_refused_by_name() -> None:
    half = build([node("Gemm", ["x", "W"], ["y"])], weights(np.float16, W=W.T), {"y": 10}, kind=TensorProto.FLOAT16)
    with pytest.raises(InvalidModel, match="input 'x' is of type float16"):
        read_model(half)
    byte = build([node("Cast", ["x"], ["h"], to=1), node("Relu", ["h"], ["y"])], [], kind=TensorProto.UINT8)
    with pytest.raises(InvalidModel, match="input 'x' is of type uint8"):
        read_model(byte)
    inside = build([node("Cast", ["x"], ["h"], to=10), node("Cast", ["h"], ["y"], to=1)], [])
    with pytest.raises(InvalidModel, match="Cast"):
        read_model(inside)
    double = build([node("Relu", ["x"], ["y"])], [], {"y": TensorProto.DOUBLE}, kind=TensorProto.DOUBLE)
    assert (
        read_model(double).input_dtype == "float64"
        and read_model(classifier(node("Neg", ["z"], ["y"]))).input_dtype == "float32"
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e30, 3e38, 1e12])
def test_constants_that_no_verifier_can_work_with(value: float) -> None:
    array = np.array([value, 0.0, 1.0], np.float32)
    constant = node("Constant", [], ["b"], value=numpy_helper.from_array(array))
    listed = node("Constant", [], ["b"], value_floats=array.tolist())
    product = node("Gemm", ["x", "W", "b"], ["y"], transB=1)
    for model in (
        build([constant, product], weights(W=W)),
        build([listed, product], weights(W=W)),
        build([product], weights(W=W, b=array)),
        build([node("Identity", ["b0"], ["b"]), product], weights(W=W, b0=array)),
    ):
        with pytest.raises(InvalidModel, match="weight 'b'"):
            read_model(model)


def test_limits_that_are_none_are_fine(tmp_path: Path) -> None:
    largest = float(np.finfo(np.float32).max)
    for high in (largest, np.inf):
        model = build([node("Clip", ["x", "low", "high"], ["y"])], weights(low=0.0, high=high))
        assert opened(tmp_path, model).network.relu_count == 4
    with pytest.raises(UnsupportedOperator, match="Clip to"):
        read_model(build([node("Clip", ["x", "low"], ["y"])], weights(low=largest)))


@pytest.mark.parametrize("kind", ["Clip", "Min", "Max"])
@pytest.mark.parametrize("limit", [2e30, 3.4e38])
def test_limits_that_are_large_are_limits(kind: str, limit: float) -> None:
    """Behind weights of 1e8 and before others of 1e-8 they are reached; what is too large to work with is refused, not left out."""
    operands = ["x", "low", "high"] if kind == "Clip" else ["x", "high"]
    with pytest.raises(InvalidModel, match="weight 'high' holds values up to"):
        read_model(build([node(kind, operands, ["y"])], weights(low=0.0, high=-limit if kind == "Max" else limit)))


def test_a_batch_that_is_fixed_above_one() -> None:
    flat = build([node("Gemm", ["x", "W"], ["y"], transB=1)], weights(W=W), shape=(5, 4))
    kernel = weights(k=np.ones((2, 1, 2, 2)))
    image = build([node("Conv", ["x", "k"], ["y"])], kernel, shape=(2, 1, 4, 4))
    for model, size in ((flat, 5), (image, 2)):
        with pytest.raises(InvalidModel, match=f"input 'x' has its batch dimension fixed at {size}"):
            read_model(model)


def test_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx.gz"
    path.write_bytes(gzip.compress(classifier(node("Softmax", ["z"], ["y"])).SerializeToString()))
    model = Model(path)
    agrees(model, logits)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert model.network.sha256 == digest == open_model(path)[1]
    path.write_bytes(b"no gzip")
    with pytest.raises(InvalidModel, match="not a readable .gz file"):
        read_onnx(path)
    with pytest.raises(Rejected):
        open_model(path)


def external(folder: Path, cut: int) -> Path:
    """Two weights in two files, which together always hold the same bytes."""
    folder.mkdir()
    data = np.arange(8, dtype=np.float32).tobytes()
    (folder / "a.bin").write_bytes(data[:cut])
    (folder / "b.bin").write_bytes(data[cut:])
    tensors = weights(W=np.ones((2, 4)), b=np.ones(2))
    for tensor, name, size in zip(tensors, ("a.bin", "b.bin"), (16, 8), strict=True):
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", name), ("offset", "0"), ("length", str(size))):
            tensor.external_data.add(key=key, value=value)
    tensors[0].dims[:] = [1, 4]
    tensors[1].dims[:] = [2]
    model = build(
        [node("Gemm", ["x", "W"], ["h"], transB=1), node("Add", ["h", "b"], ["z"]), node("Softmax", ["z"], ["y"])],
        tensors,
    )
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return folder / "m.onnx"


def test_weights_in_several_files(tmp_path: Path) -> None:
    """Two models whose files differ only in where one ends have different hashes; the checker's is the same."""
    first, second = external(tmp_path / "1", 16), external(tmp_path / "2", 20)
    hashes = [read_onnx(path).sha256 for path in (first, second)]
    assert hashes[0] != hashes[1]
    assert [open_model(path)[1] for path in (first, second)] == hashes
    agrees(Model(first), lambda x: x @ np.arange(4.0)[:, None] + np.array([4.0, 5.0]))

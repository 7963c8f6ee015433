"""Float32: no execution leaves the stated error bound, and `executed` verdicts hold for the program."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_networks import FILE_KINDS, write_network

from advverify.models.zoo import names, path_of
from advverify.verifier.api import Model, certify, certify_all, distance
from advverify.verifier.checker import check
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.execution import execution_error
from advverify.verifier.checker.network import Network
from advverify.verifier.checker.region import Region
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.specification import Threat
from benchmarks.executions import ORDERS, SINGLE, execute


def torch_single(path: Path, x: np.ndarray) -> np.ndarray:
    network = read_onnx(path).to(torch.float32)
    return evaluate(network, torch.from_numpy(x.astype(SINGLE))).double().numpy()


def errors(network: Network, center: np.ndarray, radius: float) -> np.ndarray:
    """Error bound of each output over a linf ball inside [0, 1]."""
    region = Region.of(np.maximum(center - radius, 0), np.minimum(center + radius, 1), "inf", None, np.inf)
    relaxation = Relaxation(network, region)
    outputs = network.nodes[-1].size
    return execution_error(relaxation, relaxation.crown(relaxation.start()), np.eye(outputs))


def batch_normalised(path: Path) -> Path:
    """A convolution with a batch normalisation that a runtime folds into it, padding, a pool and a residual."""
    rng = np.random.default_rng(5)
    shapes = {"k": (4, 2, 3, 3), "b": (4,), "s": (4,), "t": (4,), "m": (4,), "w": (144, 3)}
    weights = [numpy_helper.from_array(rng.normal(size=v).astype(SINGLE), name) for name, v in shapes.items()]
    weights.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "z"))
    weights.append(numpy_helper.from_array((0.1 + rng.random(4)).astype(SINGLE), "v"))
    nodes = [
        helper.make_node("Conv", ["x", "k", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Add", ["r", "n"], ["a"]),
        helper.make_node("Pad", ["a", "z"], ["d"]),
        helper.make_node("AveragePool", ["d"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Flatten", ["q"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def subjects(folder: Path) -> list[Path]:
    tiny = [write_network(folder / f"{kind}{seed}.onnx", kind, seed) for kind in FILE_KINDS for seed in range(4)]
    return [*tiny, batch_normalised(folder / "bn.onnx"), *(path_of(name) for name in names())]


def test_no_execution_leaves_the_bound(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    closest = 0.0
    for path in subjects(tmp_path):
        network, model, exact = Network(onnx.load(str(path))), Model(path), read_onnx(path)
        center = rng.random(network.nodes[0].size)
        bound = errors(network, center, 0.1)
        points = np.clip(center + 0.1 * rng.uniform(-1, 1, (6, len(center))), 0, 1)
        inside = np.clip(points.astype(SINGLE), np.maximum(center - 0.1, 0), np.minimum(center + 0.1, 1))
        points = np.array([p for p in inside if (p == p.astype(SINGLE)).all()]).astype(SINGLE).astype(np.float64)
        assert len(points)
        true = evaluate(exact, torch.from_numpy(points)).numpy()
        runs = {"onnxruntime": model.executor.run(points), "torch": torch_single(path, points)}
        runs |= {name: np.stack([execute(network, p, order) for p in points]) for name, order in ORDERS.items()}
        for name, got in runs.items():
            assert (np.abs(got - true) <= bound + 1e-12).all(), (path.name, name)
            closest = max(closest, float((np.abs(got - true) / bound).max()))
    assert closest > 1e-3  # a bound a thousand times too large would say nothing


def cancelling(path: Path, size: float) -> Path:
    """Logits x + 1/2 (computed through x + size - size) and 1/2 + 1/1024: class 0 wins exactly where x > 1/1024."""
    weights = [
        numpy_helper.from_array(np.array(values, SINGLE), name)
        for name, values in {"a": [size, 0.0], "b": [0.5 - size, 0.5 + 2.0**-10], "w": [[1.0, 0.0], [0.0, 0.0]]}.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["p"]),
        helper.make_node("Add", ["p", "a"], ["q"]),
        helper.make_node("Add", ["q", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_robust_in_exact_arithmetic_but_not_in_float32(tmp_path: Path) -> None:
    """After Jia & Rinard, "Exploiting Verified Neural Networks via Floating Point Numerical Error", 2021."""
    path = cancelling(tmp_path / "m.onnx", 4096.0)  # the numbers between are multiples of 1/2048
    image, quick = np.array([0.00147, 0.5]), Settings(timeout=10, threads=1)
    assert (
        certify(read_onnx(path), image, 0, Threat("inf", 0.0003), settings=quick).verdict is Verdict.ROBUST
    )  # x > 1/1024
    session = onnxruntime.InferenceSession(str(path))
    near = session.run(None, {"x": np.array([[0.00118, 0.5]], SINGLE)})[0][0]
    assert near[0] <= near[1]  # and yet: rounded to 1/1024 this is a tie
    outcome = certify(path, image, 0, Threat("inf", 0.0003), settings=quick)
    assert outcome.verdict is Verdict.UNKNOWN and "execution" in outcome.reason
    assert certify(path, image, 0, Threat("inf", 0.0003, float32=True), settings=quick).verdict is not Verdict.ROBUST
    far = certify(path, np.array([0.5, 0.5]), 0, Threat("inf", 0.4, float32=True), settings=quick)
    assert far.verdict is Verdict.ROBUST


def test_many_images_are_asked_about_in_the_same_arithmetic(tmp_path: Path) -> None:
    """So near to the distance that real arithmetic proves what executions are not proved to keep."""
    settings, engines, apart = Settings(timeout=10, threads=1, gap=1e-7), ("propagate", "relu-split"), 0
    for seed in range(3):
        model = Model(write_network(tmp_path / f"{seed}.onnx", "mlp", seed))
        image = np.random.default_rng(seed).random(model.network.input_size)
        label = model.predict(image)
        eps = distance(model, image, label, Threat("inf"), settings=settings).bracket.lower
        verdicts = []
        for float32 in (False, True):
            threat = Threat("inf", eps, float32=float32)
            alone = certify(model, image, label, threat, settings=settings, engines=engines).verdict
            found = dict(certify_all(model, [image] * 5, [label] * 5, threat, settings=settings, engines=engines))
            assert {found[k].verdict for k in range(5)} == {alone}  # as many as make a batch
            verdicts.append(alone)
        apart += verdicts[0] is Verdict.ROBUST and verdicts[1] is Verdict.UNKNOWN
    assert apart >= 1


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_executed_verdicts_come_with_proofs(kind: str, tmp_path: Path) -> None:
    path = write_network(tmp_path / "m.onnx", kind, 1)
    model, settings = Model(path), Settings(timeout=10, threads=1, proofs=tmp_path)
    image = np.random.default_rng(1001).random(model.network.input_size)
    label = model.predict(image)
    exact = distance(model, image, label, Threat("inf"), settings=Settings(timeout=10, threads=1)).bracket
    executed = distance(model, image, label, Threat("inf", float32=True), settings=settings)
    assert executed.bracket.lower <= exact.upper and executed.bracket.lower >= exact.lower - 1e-3
    if np.isfinite(exact.upper):
        outcome = certify(model, image, label, Threat("inf", 0.9 * exact.upper, float32=True), settings=settings)
        assert outcome.verdict is Verdict.ROBUST
        if kind != "pool":
            assert outcome.trust is Trust.CHECKED and outcome.proof is not None
            assert "any execution" in check(outcome.proof, path).statement
        assert (
            certify(model, image, label, Threat("inf", 1.1 * exact.upper, float32=True)).verdict is Verdict.ADVERSARIAL
        )

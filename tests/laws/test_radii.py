"""Radii and corners that are no float32 numbers: every answer follows from a comparison of rationals.

A network tells whether its first input is above a threshold, without any rounding. So within a radius r of c there is an
adversarial example that float32 can hold if and only if the largest float32 number at or below c + r is above the threshold.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from advverify.verifier.api import Model, certify, distance, verify
from advverify.verifier.engines import Settings
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.specification import Threat

RADII = (1 / 255, 2 / 255, 8 / 255, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.7)
CENTERS = (0.125, 0.2, float(np.float32(0.1)))
DECIMALS = ("0.1", "0.3", "0.7", "0.33", "1.1", "0.123456789", "2.5e-3")


def above(path: Path, threshold: np.float32) -> Path:
    """Two inputs, two outputs: the threshold and the first input."""
    weight = numpy_helper.from_array(np.array([[0, 0], [1, 0]], np.float32), "w")
    bias = numpy_helper.from_array(np.array([threshold, 0], np.float32), "b")
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])
    graph = helper.make_graph([node], "above", [x], [y], [weight, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def at_or_below(value: Fraction) -> np.float32:
    """The largest float32 number there."""
    number = np.float32(float(value))
    while Fraction(float(number)) > value:
        number = np.nextafter(number, np.float32(-np.inf))
    while Fraction(float(np.nextafter(number, np.float32(np.inf)))) <= value:
        number = np.nextafter(number, np.float32(np.inf))
    return number


def neighbours(value: Fraction) -> dict[Verdict, np.float32]:
    """Thresholds next to a value: one that only the last float32 number before it exceeds, and one that nothing exceeds."""
    last = at_or_below(value)
    reached = Fraction(float(last)) == value
    return {
        Verdict.ADVERSARIAL: np.nextafter(last, np.float32(-np.inf)),
        Verdict.ROBUST: last if reached else np.nextafter(last, np.float32(np.inf)),
    }


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_images(norm: str, tmp_path: Path) -> None:
    for center in CENTERS:
        image = np.array([center, 0.5])
        for radius in RADII:
            for verdict, threshold in neighbours(Fraction(center) + Fraction(radius)).items():
                model = Model(above(tmp_path / "above.onnx", threshold))
                outcome = certify(model, image, 0, Threat(norm, radius))
                assert outcome.verdict is verdict, (center, radius, outcome)
                check(outcome, center, radius, threshold)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_limits_of_distances(norm: str, tmp_path: Path) -> None:
    for center, radius in ((0.2, 0.3), (0.2, 8 / 255), (CENTERS[2], 0.03), (0.125, 0.7)):
        for verdict, threshold in neighbours(Fraction(center) + Fraction(radius)).items():
            model = Model(above(tmp_path / "above.onnx", threshold))
            outcome = distance(model, np.array([center, 0.5]), 0, Threat(norm, radius))
            assert outcome.verdict is verdict, (center, radius, outcome)
            exact = Fraction(float(threshold)) - Fraction(center)
            assert Fraction(outcome.bracket.lower) <= min(exact, Fraction(radius))
            check(outcome, center, radius, threshold)


def check(outcome: Outcome, center: float, radius: float, threshold: np.float32) -> None:
    """A witness lies in the ball and above the threshold."""
    if outcome.verdict is Verdict.ADVERSARIAL:
        witness = outcome.bracket.witness
        assert witness is not None and witness[0] > threshold
        assert Fraction(float(witness[0])) - Fraction(center) <= Fraction(radius)


def test_counts(tmp_path: Path) -> None:
    """In norm 0 a radius below 1 is none, and the distance is a whole number."""
    model, image = Model(above(tmp_path / "above.onnx", np.float32(0.7))), np.array([0.1, 0.5])
    for radius in (*RADII, 1.0, 1.5):
        verdict = Verdict.ROBUST if radius < 1 else Verdict.ADVERSARIAL
        assert certify(model, image, 0, Threat(0, radius)).verdict is verdict
        nearest = distance(model, image, 0, Threat(0, radius))
        assert nearest.verdict is verdict
        assert nearest.bracket.lower <= 1.0


@pytest.mark.parametrize("decimal", DECIMALS)
def test_properties(decimal: str, tmp_path: Path) -> None:
    """Corners of a box are the decimals as written; a strict side leaves the numbers before it."""
    spec = tmp_path / "spec.vnnlib"
    declared = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
    for comparison in ("<=", "<"):
        spec.write_text(
            f"{declared}(assert (and (>= X_0 -3) ({comparison} X_0 {decimal}) (>= X_1 0) (<= X_1 0) (> Y_1 Y_0)))"
        )
        value = Fraction(decimal)
        for verdict, threshold in neighbours(value).items():
            outcome = verify(above(tmp_path / "above.onnx", threshold), spec)
            assert outcome.verdict is verdict, (decimal, comparison, threshold, outcome)
            witness = outcome.bracket.witness
            assert (witness is None) == (verdict is Verdict.ROBUST)
            if witness is not None:
                reached = Fraction(float(witness[0]))
                assert threshold < witness[0] and (reached < value or (comparison == "<=" and reached == value))


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_no_radius_says_something_about_the_center_alone(norm: str) -> None:
    """Every distance is at least 0; whether the center itself is safe wants a proof like any other point."""
    big, image = 2.0**26, np.array([1.0, 0.5])
    for one, safe in (
        (-(2.0**-30), True),
        (2.0**-30, False),
    ):  # relu(2^26 x + one) - relu(2^26 x), which is 0 as it is executed
        builder = NetworkBuilder((2,))
        hidden = builder.relu(builder.affine([0], [Dense(tensor(np.array([[big, 0.0]] * 2)))], np.array([one, 0.0])))
        network = builder.finish(
            builder.affine([hidden], [Dense(tensor(np.array([[0.0, 0.0], [1.0, -1.0]])))], np.zeros(2))
        )
        for engines in ((), ("crown",), ("propagate",), ("falsify",), ("milp",), ("lp-split",), ("relu-split",)):
            found = distance(network, image, 0, Threat(norm, 0.0), settings=Settings(timeout=0.5), engines=engines)
            assert found.lower == 0.0 or (norm == "0" and safe)
            if not safe:
                assert found.verdict is not Verdict.ROBUST, engines
    easy = NetworkBuilder((2,))
    network = easy.finish(easy.affine([0], [Dense(tensor(np.array([[1.0, 0.0], [0.0, 0.0]])))], np.zeros(2)))
    found = distance(network, image, 0, Threat(norm, 0.0))
    assert found.verdict is Verdict.ROBUST and found.lower == float(norm == "0")
    assert found.labels["objective"] == "min_distortion"

"""Both sides of a margin's bracket are about real numbers, also where the file computes in float32."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from networks import KINDS, forward_exactly, random_network, scaled
from onnx_networks import linear

from advverify.verifier.api import Model, certify
from advverify.verifier.engines import Settings
from advverify.verifier.engines.real_margin import violation_above
from advverify.verifier.specification import Threat, robustness


@pytest.mark.parametrize("factor", [1.0, 1e7])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_above_the_exact_value_and_hardly_so(kind: str, factor: float) -> None:
    for seed in range(4):
        network = scaled(random_network(kind, seed), factor)
        x = np.random.default_rng(seed).random(network.input_size)
        unsafe = robustness(x, 0, Threat("inf", 0.1), network.output_size).disjuncts[0].unsafe
        outputs = forward_exactly(network, [Fraction(float(v)) for v in x])[-1]
        exact = min(outputs[0] - other for other in outputs[1:])
        found = violation_above(network, x, unsafe)
        size = max(abs(float(value)) for value in outputs)
        assert exact <= Fraction(found) <= exact + Fraction(1e-9 * (1 + factor * size))


def test_brackets_hold_the_real_margin_of_files_that_round(tmp_path: Path) -> None:
    """Outputs of a million that differ by little: float32 is off by more than the gap, to both sides."""
    closed = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weight = (rng.normal(size=(3, 4)) * 1e5).astype(np.float32)
        bias = np.array([1e6, 1e6 - 3e5, 1e6 - 4e5], dtype=np.float32)
        model = Model(linear(tmp_path / f"{seed}.onnx", weight, bias))
        image, eps = rng.random(4).astype(np.float32).astype(np.float64), 0.01
        label = model.predict(image)
        outcome = certify(
            model, image, label, Threat("inf", eps), exact_margin=True, settings=Settings(timeout=10, gap=1e-5)
        )
        low, high = np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1)
        truth = min(_least(weight[label], weight[k], bias[label], bias[k], low, high) for k in range(3) if k != label)
        assert Fraction(outcome.bracket.lower) <= truth <= Fraction(outcome.bracket.upper), seed
        assert outcome.bracket.upper - outcome.bracket.lower <= 1e-5 * abs(float(truth)) + 1e-2
        closed += outcome.bracket.upper - outcome.bracket.lower <= 1.1e-5 * abs(float(truth))
    assert closed >= 8


def _least(
    own: np.ndarray, other: np.ndarray, own_bias: float, other_bias: float, low: np.ndarray, high: np.ndarray
) -> Fraction:
    """The least difference of two outputs over a box, exactly."""
    total = Fraction(float(own_bias)) - Fraction(float(other_bias))
    for a, b, least, most in zip(own, other, low, high, strict=True):
        slope = Fraction(float(a)) - Fraction(float(b))
        total += min(slope * Fraction(float(least)), slope * Fraction(float(most)))
    return total

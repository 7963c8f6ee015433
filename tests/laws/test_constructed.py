"""Networks whose answer is known from how they are built: none wrong, and nearly all settled."""

from pathlib import Path

import pytest

from advverify.verifier.api import certify, distance, verify
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat
from benchmarks.constructed import contraction, formula_network, isometry, needle, parity, pigeonhole, planted_formula

SETTINGS = Settings(timeout=10, threads=1)


def test_formulas(tmp_path: Path) -> None:
    formulas = [planted_formula(6, 18, seed) for seed in range(3)]
    formulas += [pigeonhole(2), parity(5, True), parity(5, False), parity(8, True)]
    settled = 0
    for number, formula in enumerate(formulas):
        model, text = tmp_path / f"{number}.onnx", tmp_path / f"{number}.vnnlib"
        formula_network(formula, model, text)
        verdict = verify(model, text, settings=SETTINGS).verdict
        assert verdict is not (Verdict.ROBUST if formula.satisfiable else Verdict.ADVERSARIAL), formula
        settled += verdict is not Verdict.UNKNOWN
    assert settled >= len(formulas) - 2


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_isometries_have_their_exact_distance(norm: str, tmp_path: Path) -> None:
    for seed in range(3):
        known = isometry(3 + seed, 2 + seed, seed, tmp_path / f"{seed}.onnx")
        exact = known.distance[norm]
        bracket = distance(known.path, known.image, 0, Threat(norm), settings=SETTINGS).bracket
        assert bracket.lower <= exact * (1 + 1e-12), (seed, bracket)
        assert exact * (1 - 1e-6) <= bracket.upper <= exact * (1 + 1e-3)
        assert bracket.lower >= exact * (1 - 1e-3)


def test_contractions_are_robust_within_half_of_the_gap(tmp_path: Path) -> None:
    settled = 0
    for seed in range(4):
        known = contraction(4, 2, seed, tmp_path / f"{seed}.onnx", gap=0.25)
        eps = known.distance["inf"] * 0.99
        verdict = certify(known.path, known.image, 0, Threat("inf", eps), settings=SETTINGS).verdict
        assert verdict is not Verdict.ADVERSARIAL
        settled += verdict is Verdict.ROBUST
    assert settled == 4


@pytest.mark.parametrize("norm", ["inf", "1"])
def test_needles_where_gradients_are_zero(norm: str, tmp_path: Path) -> None:
    for seed in range(3):
        known = needle(2 + seed, seed, tmp_path / f"{seed}.onnx")
        exact = known.distance[norm]
        for factor, right in ((0.999, Verdict.ROBUST), (1.001, Verdict.ADVERSARIAL)):
            verdict = certify(known.path, known.image, 0, Threat(norm, exact * factor), settings=SETTINGS).verdict
            assert verdict is right, (seed, factor)
        bracket = distance(known.path, known.image, 0, Threat(norm), settings=SETTINGS).bracket
        assert bracket.lower <= exact * (1 + 1e-12) and bracket.upper >= exact * (1 - 1e-6)

"""Rows added up with weights: what the checker makes of them never says more than the rows do."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from proof_files import repack, unpack

from advverify.verifier.api import verify
from advverify.verifier.checker import Rejected, check
from advverify.verifier.checker.check import combined
from advverify.verifier.engines import Settings
from benchmarks.constructed import crowded_formula, flat_formula_network


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 5))
def test_a_sum_of_rows_lies_below_what_the_rows_give(seed: int, rows: int, outputs: int) -> None:
    """In rational arithmetic, at the corners where rounding counts most, and inside."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, outputs)) * 10.0 ** rng.integers(-3, 4, size=(rows, outputs))
    offset = rng.normal(size=rows)
    weights = np.where(rng.random(rows) < 0.3, 0.0, rng.random(rows)).astype(np.float32).astype(np.float64)
    largest = rng.random(outputs) * 100
    coefficients, constant = combined((matrix, offset), weights, largest)
    for _ in range(8):
        y = largest * rng.choice((-1.0, 1.0, rng.random()), size=outputs)
        claimed = Fraction(constant) + sum(Fraction(a) * Fraction(v) for a, v in zip(coefficients, y, strict=True))
        true = sum(
            Fraction(w) * (sum(Fraction(c) * Fraction(v) for c, v in zip(row, y, strict=True)) - Fraction(d))
            for w, row, d in zip(weights, matrix, offset, strict=True)
        )
        assert claimed <= true


def test_cancelling_rows_lose_what_rounding_may_have_added() -> None:
    """The exact sum is 0 times y; what rounding leaves of it must not count for the claim."""
    matrix = np.array([[1.0], [-3.0]])
    weights = np.array([0.3, np.float64(0.1)])  # 3 * 0.1 is more than 0.3 in floating point
    coefficients, constant = combined((matrix, np.zeros(2)), weights, np.array([1e6]))
    exact = Fraction(weights[0]) - 3 * Fraction(weights[1])
    for y in (1e6, -1e6):
        assert Fraction(constant) + Fraction(float(coefficients[0])) * Fraction(y) <= exact * Fraction(y)


@pytest.fixture(scope="module")
def proved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network of a formula, and the proof that nothing satisfies it."""
    folder = tmp_path_factory.mktemp("weights")
    flat_formula_network(crowded_formula(8, 260, 3), folder / "f.onnx", folder / "f.vnnlib")
    settings = Settings(timeout=30, threads=1, proofs=folder)
    outcome = verify(folder / "f.onnx", folder / "f.vnnlib", settings=settings)
    assert outcome.proof is not None, outcome.statistics
    return folder / "f.onnx", Path(outcome.proof)


def test_both_rows_are_needed(proved: tuple[Path, Path], tmp_path: Path) -> None:
    """With either of them alone, or turned around, nothing is proved; as it was written it is."""
    model, proof = proved
    check(proof, model)
    header, arrays = unpack(proof)
    (name,) = [name for name in arrays if name.endswith(".weights")]
    weights = arrays[name].reshape(-1, 2)
    assert (weights > 0).all(1).any()
    for changed in (weights * [1, 0], weights * [0, 1], weights * [1, -1], weights * [-1, 1], 0 * weights):
        repack(tmp_path / "x.proof", header, {**arrays, name: changed.astype(np.float32).ravel()})
        with pytest.raises(Rejected):
            check(tmp_path / "x.proof", model)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(proved: tuple[Path, Path], value: float, tmp_path: Path) -> None:
    model, proof = proved
    header, arrays = unpack(proof)
    (name,) = [name for name in arrays if name.endswith(".weights")]
    arrays[name] = np.where(np.arange(arrays[name].size) == 1, value, arrays[name]).astype(np.float32)
    repack(tmp_path / "x.proof", header, arrays)
    with pytest.raises(Rejected, match="NaN|finite"):
        check(tmp_path / "x.proof", model)


def test_there_is_a_weight_for_every_row(proved: tuple[Path, Path], tmp_path: Path) -> None:
    model, proof = proved
    header, arrays = unpack(proof)
    (name,) = [name for name in arrays if name.endswith(".weights")]
    arrays[name] = arrays[name][:-1]
    repack(tmp_path / "x.proof", header, arrays)
    with pytest.raises(Rejected, match="shape"):
        check(tmp_path / "x.proof", model)

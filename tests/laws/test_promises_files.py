"""What single lines that read models, properties and proofs promise, one at a time."""

import importlib
import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from onnx_networks import linear
from proof_files import base, repack, subject, unpack

from advverify.verifier.api import certify
from advverify.verifier.checker import Rejected
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.network import Network as CheckedNetwork
from advverify.verifier.checker.operators import Pick
from advverify.verifier.checker.region import Region as BoxRegion
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.agreement import Agreement, rounding_errors
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.onnx_runtime import OnnxExecutor
from advverify.verifier.network.operators import Dense
from advverify.verifier.specification import Polytope, Threat
from advverify.verifier.specification.vnnlib import Facts
from advverify.verifier.specification.vnnlib.compile import compile_vnnlib
from advverify.verifier.specification.vnnlib.formula import Inequality, Linear
from advverify.verifier.specification.vnnlib.rows import row_of

checking = importlib.import_module("advverify.verifier.checker.check")  # packages have functions of these names


class Shifted:
    """A runtime that is off by a little more than independent roundings, and by less than the worst ones."""

    path, dtype, has_ending = Path("m.onnx"), np.dtype(np.float32), False

    def __init__(self, network: Network, shift: np.ndarray) -> None:
        self.network, self.shift = network, shift

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(evaluate(self.network, torch.from_numpy(x)).numpy() + self.shift)


def test_a_reading_that_is_off_by_more_than_chance_is_refused() -> None:
    rng = np.random.default_rng(0)
    b, node = NetworkBuilder((60,)), 0
    for _ in range(8):
        node = b.relu(b.affine([node], [Dense(tensor(rng.normal(size=(60, 60)) / 8))], rng.normal(size=60)))
    network = b.finish(b.affine([node], [Dense(tensor(rng.normal(size=(3, 60))))], np.zeros(3)))
    network = replace(network, input_dtype="float32")
    x = rng.random((1, 60))
    rounding = rounding_errors(network, torch.from_numpy(x.astype(np.float32).astype(float)), "float32")
    worst, likely = rounding.worst.numpy(), rounding.likely.numpy()
    assert (worst > 300 * likely).all()
    for factor, refused in ((150.0, True), (20.0, False)):
        executor = cast(OnnxExecutor, Shifted(network, factor * likely))
        agreement = Agreement(network, network, executor)
        if refused:
            with pytest.raises(InvalidModel, match="something else"):
                agreement.check_on(x)
        else:
            agreement.check_on(x)


@pytest.mark.parametrize("limit", ["0.1", "-0.1", "0.3", "1e-40", "123456789.123456789", "0.5", "1e308", "-1e200"])
def test_limits_are_rounded_up_and_not_attained_then(limit: str) -> None:
    for factor in (Fraction(1), Fraction(2), Fraction(1, 3)):
        terms = {("Y", 0): factor, ("Y", 1): Fraction(-1, 7) if factor.denominator == 3 else Fraction(-1)}
        for strict in (False, True):
            row = row_of(Inequality(Linear(terms, -Fraction(limit)), strict, 0))
            scale = Fraction(row.terms["Y", 0]) / factor
            exact = Fraction(limit) * scale
            assert Fraction(row.offset) >= exact and Fraction(math.nextafter(row.offset, -math.inf)) < exact
            assert row.strict == (strict or Fraction(row.offset) != exact)
            if Fraction(row.offset) != exact and row.exact:
                assert row.decimal == (exact, strict)
    if abs(Fraction(limit)) > 10**100:  # made moderate by a power of 2
        return
    rough = Linear(
        {("Y", 0): Fraction("0.1000000000000000000000001"), ("Y", 1): Fraction(1, 3 * 2**70)}, -Fraction(limit)
    )
    row = row_of(Inequality(rough, False, 0))
    assert not row.exact and Fraction(row.offset) >= Fraction(limit)
    assert row.strict == (Fraction(row.offset) != Fraction(limit))


def translated(ending: str, outputs: int, assertion: str) -> Polytope:
    declared = "(declare-const X_0 Real)" + "".join(f"(declare-const Y_{k} Real)" for k in range(outputs))
    text = f"{declared}(assert (>= X_0 0.0))(assert (<= X_0 1.0))(assert {assertion})"
    return compile_vnnlib(text, Facts(1, outputs, ending, "float32")).specification.unsafe[0]


def logit(p: str) -> Decimal:
    with localcontext(prec=80):
        return (Decimal(p) / (1 - Decimal(p))).ln()


@pytest.mark.parametrize("p", ["0.1", "0.3", "0.7", "0.999", "1e-9"])
def test_translated_thresholds_lose_no_unsafe_output(p: str) -> None:
    """Against logarithms of 80 digits: the limit lies beyond the true one, by an ulp of float64 at most."""
    with localcontext(prec=80):
        ratio = Decimal(p).ln()
    for ending, outputs, assertion, row, limit in (
        ("Sigmoid", 1, f"(<= Y_0 {p})", [1.0], logit(p)),
        ("Sigmoid", 1, f"(>= Y_0 {p})", [-1.0], -logit(p)),
        ("Softmax", 2, f"(<= Y_0 {p})", [1.0, -1.0], logit(p)),
        ("Softmax", 2, f"(>= Y_0 {p})", [-1.0, 1.0], -logit(p)),
        ("Softmax", 3, f"(<= Y_0 (* {p} Y_2))", [1.0, 0.0, -1.0], ratio),
        ("Softmax", 3, f"(>= Y_0 (* {p} Y_2))", [-1.0, 0.0, 1.0], -ratio),
        ("LogSoftmax", 3, f"(<= (- Y_0 Y_1) -{p})", [1.0, -1.0, 0.0], Decimal("-" + p)),
    ):
        found = translated(ending, outputs, assertion)
        scale = np.abs(found.matrix[0]).max()
        assert (found.matrix[0] / scale).tolist() == row, assertion
        off = (Fraction(float(found.offset[0])) - Fraction(limit) * Fraction(float(scale))) / abs(Fraction(limit))
        assert 0 <= off <= Fraction(1, 2**50), assertion


def test_entries_shown_several_times_add_up() -> None:
    index = np.array([0, 1, 0, -1, 1, 1])
    pick, y = Pick(index, 3), np.arange(1.0, 7.0)[None]
    matrix = np.zeros((6, 3))
    matrix[np.flatnonzero(index >= 0), index[index >= 0]] = 1.0
    np.testing.assert_array_equal(pick.transposed(y), y @ matrix)
    np.testing.assert_array_equal(Pick(np.array([2, 0]), 3).transposed(np.array([[5.0, 7.0]])), [[7.0, 0.0, 5.0]])


@pytest.mark.parametrize("bound", [0.0, -1e-9, -0.01, math.nan])
def test_boxes_count_only_where_their_bound_is_positive(
    bound: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _, _ = base("mlp", 3, "boxes")
    model = subject("mlp", 3)[0]
    checking.check(source, model)
    monkeypatch.setattr(checking, "part_bound", lambda *_: (bound, np.zeros((1, 3))))
    with pytest.raises(Rejected, match="is not excluded on a box"):
        checking.check(source, model)


def test_members_of_maxima_are_gathered_with_losses() -> None:
    """In the checker: sums over overlapping windows round, by a unit of the largest value at least."""
    network = CheckedNetwork(onnx.load(str(subject("pool", 0)[0])))
    size = network.nodes[0].size
    loss = Relaxation(network, BoxRegion(np.full(size, 0.5), np.ones(size))).loss
    pools = [i for i, node in enumerate(network.nodes) if node.pool >= 0]
    assert pools and all((loss[i] >= 1e-3 * 2.0**-53).all() for i in pools)


def test_a_ball_of_another_norm_is_another_ball(tmp_path: Path) -> None:
    """A proof for norm 1 says nothing of norm 2 at the same radius, where an adversarial example is."""
    path = linear(tmp_path / "m.onnx", np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), np.array([0.0, 1.0]))
    image = np.array([0.5, 0.5, 0.5])  # class 0 by 0.5: distance 0.5 in norm 1, 0.289 in norm 2
    outcome = certify(path, image, 0, Threat("1", 0.4), settings=Settings(timeout=10, threads=1, proofs=tmp_path))
    assert outcome.proof is not None
    checking.check(outcome.proof, path)
    header, arrays = unpack(Path(outcome.proof))
    for norm in ("2", "inf"):
        header["cases"][0]["norm"] = norm
        repack(tmp_path / "other.proof", header, arrays)
        with pytest.raises(Rejected):
            checking.check(tmp_path / "other.proof", path)

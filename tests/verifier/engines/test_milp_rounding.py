"""The MIP path where rounding is all that decides: entries that cancel, and rows too large for a solver's tolerances."""

from __future__ import annotations

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from advverify.verifier.api import certify, verify
from advverify.verifier.encoding.program import ColumnMap, ProgramBuilder
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.engines.milp import confirm
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Disjunct, Polytope, Region, Specification, Threat

ENGINES = (("milp",), ("lp-split",), ("falsify", "propagate", "milp"))


def cancelling(kind: str, m: float, w: tuple[float, float], bias: float) -> tuple[Network, Fraction]:
    """Two logits of x whose difference is slope x + bias; the slope is what rounding of two products leaves.

    The hidden layer has a second reader, a maximum or a ReLU, so that nothing is folded. Returns the network and the slope, exact.
    """
    second = m * w[0] / w[1]
    builder = NetworkBuilder((2,), exact=True)
    hidden = builder.affine([0], [Dense(tensor(np.array([[m, 0], [second, 0], [0, 1.0]])))], np.zeros(3))
    reader = builder.maximum(hidden, np.array([[0, 1]])) if kind == "max" else builder.relu(hidden)
    size = 1 if kind == "max" else 3
    read = Dense(tensor(np.array([[w[0], -w[1], 0], [0, 0, 0.0]])))
    output = builder.affine([hidden, reader], [read, Dense(tensor(np.zeros((2, size))))], np.array([bias, 0.0]))
    return builder.finish(output), Fraction(m) * Fraction(w[0]) - Fraction(second) * Fraction(w[1])


@pytest.mark.parametrize("exact_margin", [False, True])
@pytest.mark.parametrize("kind", ["max", "relu"])
def test_products_of_affine_nodes_that_cancel(kind: str, exact_margin: bool) -> None:
    """Rounded, the product's entry is 0 or of the other sign; half of what it is worth is the margin that is claimed."""
    rng = np.random.default_rng(0)
    refused = settled = 0
    for _ in range(12):
        m, w = (
            float(rng.uniform(1, 2) * 10.0 ** rng.integers(0, 9)),
            (float(rng.uniform(1, 2)), float(rng.uniform(1, 2))),
        )
        w = (w[0] * 10.0 ** int(rng.integers(0, 5)), w[1])
        _, slope = cancelling(kind, m, w, 0.0)
        if slope == 0:
            continue
        worst = min(slope / 4, slope * 3 / 4)
        for bias in (float(-worst / 2), float(10**6 * abs(worst))):
            network, _ = cancelling(kind, m, w, bias)
            truth = worst + Fraction(bias)
            image = np.array([0.75 if slope > 0 else 0.25, 0.5])
            for engines, substitute in itertools.product(ENGINES, (True, False)):
                settings = Settings(timeout=3, threads=1, milp=MilpOptions(substitute=substitute))
                found = certify(
                    network,
                    image,
                    0,
                    Threat("inf", 0.5, valid_range=(0.25, 0.75)),
                    settings=settings,
                    engines=engines,
                    exact_margin=exact_margin,
                )
                if found.verdict is Verdict.MISCLASSIFIED:
                    continue
                lower = found.bracket.lower
                assert not np.isfinite(lower) or Fraction(lower) <= max(truth, Fraction(1, 10**12)), (m, w, bias, lower)
                assert truth > 0 or found.verdict is not Verdict.ROBUST, (m, w, bias, engines, substitute)
                refused += truth <= 0
                settled += truth > 0 and found.verdict is Verdict.ROBUST
    assert refused >= 10, refused
    assert settled >= 10, settled


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e10])
def test_a_solver_is_not_believed_on_rows_that_it_cannot_judge(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where our own tree has no time: what rests on a solver's runs lies below the truth, and large rows settle nothing."""
    monkeypatch.setattr(confirm, "_TREE_SHARE", 1e-12)
    monkeypatch.setattr(confirm, "_ROW_SHARE", 1e-12)
    rested = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        builder = NetworkBuilder((2,), exact=True)
        first = builder.relu(
            builder.affine([0], [Dense(tensor(scale * rng.normal(size=(4, 2))))], scale * rng.normal(size=4))
        )
        second = builder.relu(builder.affine([first], [Dense(tensor(rng.normal(size=(4, 4))))], rng.normal(size=4)))
        network = builder.finish(builder.affine([second], [Dense(tensor(rng.normal(size=(2, 4))))], np.zeros(2)))
        image = rng.random(2)
        label = int(predict(network, tensor(image)[None])[0])
        settings = Settings(timeout=5, threads=1, milp=MilpOptions(tighten="none", cuts="none"))
        threat = Threat("inf", 0.2)
        trees = certify(network, image, label, threat, exact_margin=True, engines=("relu-split",))
        claimed = certify(network, image, label, threat, exact_margin=True, settings=settings, engines=("milp",))
        words = claimed.statistics.get("lower_rests_on") in ("two solver runs", "elastic form")
        assert not (words and scale > 1e6), seed
        if words:
            rested += 1
            assert claimed.bracket.lower <= trees.bracket.upper - 5e-7, (seed, claimed.bracket, trees.bracket)
    assert rested >= 2 or scale > 1e6, rested


def test_the_doubt_of_a_program_grows_with_its_rows() -> None:
    """A share of what rows come to, and without end where their rounding exceeds a solver's tolerances or columns are open."""
    builder = ProgramBuilder()
    x = builder.columns(np.array([-1.0, 0.0]), np.array([2.0, 3.0]))
    builder.rows(sp.csr_matrix([[1.0, -2.0], [0.5, 0.0]]), -np.inf, 1.0, loss=np.array([0.0, 1e-3]))
    program = builder.finish({0: 1.0}, ColumnMap(x))
    assert program.doubt() == pytest.approx(1e-3, rel=1e-5)
    plain = replace(program, row_loss=None)
    assert plain.doubt() == pytest.approx(8e-9)
    assert replace(plain, matrix=sp.csr_matrix(1e3 * plain.matrix)).doubt() == pytest.approx(8e-6)
    assert replace(plain, matrix=sp.csr_matrix(1e9 * plain.matrix)).doubt() == np.inf
    assert replace(plain, col_upper=np.array([2.0, np.inf])).doubt() == np.inf
    tiny = replace(plain, matrix=sp.csr_matrix(1e-10 * plain.matrix))  # HiGHS takes these entries for 0
    assert tiny.doubt() >= 8e-10


def test_entries_that_a_solver_leaves_out_settle_nothing() -> None:
    """Rows of entries of 1e-13 over inputs of 1e6: without them the row is 0 <= -6e-7, and every input seems safe."""
    builder = NetworkBuilder((2,), exact=True)
    hidden = builder.relu(builder.affine([0], [Dense(tensor(np.diag([1.0, 1.0])))], np.zeros(2)))
    output = builder.affine([hidden], [Dense(tensor(np.array([[-8e-13, 1e-13]])))], np.zeros(1))
    network = builder.finish(output)
    region = Region(np.array([875_000.0, 750_000.0]), np.array([1_000_000.0, 1_375_000.0]))
    refused = 0
    for share, reachable in ((0.99, True), (0.5, True), (1.5, False)):
        limit = share * (-8e-13 * 1_000_000.0 + 1e-13 * 750_000.0)
        unsafe = Polytope(np.array([[1.0]]), np.array([limit]), np.array([False]))
        specification = Specification((Disjunct(region, (unsafe,)),))
        found = verify(network, specification, settings=Settings(timeout=5, threads=1), engines=("milp",))
        assert not (reachable and found.verdict is Verdict.ROBUST), share
        refused += reachable
    assert refused == 2

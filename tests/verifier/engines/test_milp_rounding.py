"""The MIP path where rounding is all that decides: entries that cancel, and rows too large for a solver's tolerances."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from advverify.verifier.api import certify, verify
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.mip_record import SOLVE
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Verdict
from advverify.verifier.solvers.lp_tree import LpTree, TreeResult
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


def dull(scale: float, width: float, rng: np.random.Generator) -> Network:
    """Two inputs that move hidden values by about `scale` over boxes of `width`, and outputs by a small share of that."""
    builder = NetworkBuilder((2,), exact=True)
    first = builder.affine([0], [Dense(tensor(scale / width * rng.normal(size=(4, 2))))], scale * rng.normal(size=4))
    hidden = builder.relu(first)
    second = builder.affine(
        [hidden], [Dense(tensor(rng.normal(size=(4, 4)) / width))], rng.normal(size=4) * scale / width
    )
    return builder.finish(builder.affine([builder.relu(second)], [Dense(tensor(rng.normal(size=(2, 4))))], np.zeros(2)))


@pytest.mark.parametrize("solver", ["highs", "scip"])
@pytest.mark.parametrize(("scale", "width"), [(1.0, 1.0), (1e3, 1.0), (1e10, 1.0), (500.0, 1e5), (1e-3, 1e7)])
def test_nothing_rests_on_a_solvers_word(
    solver: str, scale: float, width: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where our own trees have no time nothing is proved but by relaxations, however many solvers agree.

    They did agree on wrong answers where reduced costs times the width of a column exceed what their tolerances see.
    """
    pytest.importorskip("pyscipopt" if solver == "scip" else "highspy")
    monkeypatch.setattr(LpTree, "minimum", lambda *_, **__: TreeResult(-np.inf, None, np.inf, 0, 0, False))
    solved = 0
    for seed in range(4):
        network = dull(scale, width, np.random.default_rng(seed))
        image = np.zeros(2)
        label = int(predict(network, tensor(image)[None])[0])
        options = MilpOptions(solver=solver, tighten="none", cuts="none")
        settings = Settings(timeout=5, threads=1, milp=options)
        threat = Threat("inf", width, valid_range=(-width, width))
        found = certify(network, image, label, threat, exact_margin=True, settings=settings, engines=("milp",))
        claims = [record for record in found.mips if record.role == SOLVE]
        proved = max(
            (value for record in found.mips for step, value in record.root.items() if step != "solver"), default=-np.inf
        )
        assert found.bracket.lower <= proved, (seed, found.bracket)
        assert "lower_rests_on" not in found.statistics
        solved += any(record.dual > proved for record in claims)
    assert solved >= 1 or (scale, width) not in ((1.0, 1.0), (1e3, 1.0)), solved


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

"""Ties: what no bound that allows for rounding can settle is settled in rational arithmetic."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracle import lowest

from advverify.verifier.api import certify, distance, verify
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.rational import Choices, RationalNetwork, least
from advverify.verifier.engines import Settings
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense, Operator
from advverify.verifier.norms import get_norm
from advverify.verifier.outcome import Verdict
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Disjunct, NormBall, Polytope, Region, Specification, Threat
from advverify.verifier.specification.vnnlib import Facts
from advverify.verifier.specification.vnnlib.compile import compile_vnnlib

NORMS: tuple[tuple[str, float], ...] = (("inf", 0.25), ("1", 0.5), ("2", 0.5), ("0", 1.0))


def tied(seed: int, excess: float = 0.0) -> Network:
    """Whole-numbered weights; output 1 is output 0 less a ReLU, plus `excess` times another one that is somewhere positive."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((2,), exact=True)
    hidden = b.relu(
        b.affine([0], [Dense(tensor(rng.integers(-2, 3, (4, 2)).astype(float)))], rng.integers(-1, 2, 4) / 2)
    )
    last = b.relu(b.affine([hidden], [Dense(tensor(rng.integers(-2, 3, (3, 4)).astype(float)))], np.zeros(3)))
    first, fall = rng.integers(-1, 2, (1, 3)).astype(float), np.array([[0.0, 1.0, 0.0]])
    rise = b.relu(b.affine([0], [Dense(tensor(np.array([[1.0, 0.0]])))], np.array([-0.5])))
    parts: list[Operator] = [
        Dense(tensor(np.concatenate([first, first - fall]))),
        Dense(tensor(np.array([[0.0], [excess]]))),
    ]
    return b.finish(b.affine([last, rise], parts, np.zeros(2)))


@pytest.mark.parametrize(("norm", "eps"), NORMS)
def test_ties_are_robust(norm: str, eps: float) -> None:
    image = np.array([0.5, 0.25])
    for seed in range(7):
        network = tied(seed)
        assert network.exact is not None
        assert certify(network, image, 0, Threat(norm, eps)).verdict is Verdict.ROBUST, seed
        assert distance(network, image, 0, Threat(norm)).verdict is Verdict.ROBUST, seed


def test_what_is_just_above_a_tie_is_found() -> None:
    found, image, eps = 0, np.array([0.5, 0.25]), 0.25
    for seed in range(12):
        network = tied(seed, 1.0)
        reachable = lowest(network, image - eps, image + eps, np.array([1.0, -1.0])) < -1e-9
        outcome = certify(network, image, 0, Threat("inf", eps))
        assert outcome.verdict is (Verdict.ADVERSARIAL if reachable else Verdict.ROBUST)
        found += reachable
    assert 2 <= found <= 10


def test_strict_rows_at_their_maximum() -> None:
    """y_1 - y_0 is at most 0: above 0 is safe, at least 0 is not where 0 is attained at a corner of a grid."""
    tied_somewhere = 0
    box, row = Region(np.zeros(2), np.ones(2)), np.array([[1.0, -1.0]])
    grid = torch.tensor(list(itertools.product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=2)), dtype=torch.float64)
    for seed in range(8):
        network = tied(seed)
        values = evaluate(network, grid)
        for strict in (True, False):
            unsafe = Polytope(row, np.zeros(1), np.array([strict]))
            outcome = verify(network, Specification((Disjunct(box, (unsafe,)),)))
            if strict:
                assert outcome.verdict is Verdict.ROBUST
            elif bool((values[:, 0] == values[:, 1]).any()):
                assert outcome.verdict is Verdict.ADVERSARIAL
                tied_somewhere += 1
    assert tied_somewhere >= 4


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_rational_bounds_hold(norm: str) -> None:
    """Below the network at points of the ball, in every slope and with phases that a point has."""
    rng = np.random.default_rng(0)
    for seed in range(6):
        network = tied(seed, 1.0).exact
        assert network is not None
        radius = 1.0 if norm == "0" else 0.3
        region = Region(np.zeros(2), np.ones(2), NormBall(np.array([0.5, 0.25]), get_norm(norm), radius))
        bounds = crown(network, InputSet.from_regions([region]))
        sides = {j: (bounds[j].lower[0].numpy(), bounds[j].upper[0].numpy()) for j in network.bounded}
        nothing = {i: np.zeros(network.nodes[i].size, dtype=np.int8) for i in network.relus}
        drawn = rng.integers(0, 65, (60, 2)) / 64
        if norm == "0":
            kept = rng.integers(0, 2, 60)
            drawn[np.arange(60), kept] = np.array([0.5, 0.25])[kept]
        points = [x for x in drawn if region.contains(x)]
        assert len(points) >= 3
        weights = {0: Fraction(1), 1: Fraction(-1)}
        for slope in (None, Fraction(0), Fraction(1), Fraction(1, 3)):
            form = RationalNetwork(network).lower_form(
                {network.output: dict(weights)}, Fraction(0), Choices(sides, nothing, slope)
            )
            low = least(form, region)
            for x in points:
                y = evaluate(network, torch.from_numpy(x)[None])[0]
                line = form.offset + sum((c * Fraction(float(x[k])) for k, c in form.coefficients.items()), Fraction(0))
                assert low <= line <= Fraction(float(y[0] - y[1]))


def straight(weight: float, sign: float = 1.0) -> Network:
    """y = sign relu(weight x)."""
    b = NetworkBuilder((1,), exact=True)
    hidden = b.relu(b.affine([0], [Dense(tensor(np.array([[weight]])))], np.zeros(1)))
    return b.finish(b.affine([hidden], [Dense(tensor(np.array([[sign]])))], np.zeros(1)))


def on_decimals(*assertions: str, dtype: str = "float32") -> Specification:
    """A property of one input and one output."""
    text = "".join(f"(assert {assertion})\n" for assertion in assertions)
    declared = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n"
    return compile_vnnlib(declared + text, Facts(1, 1, input_dtype=dtype)).specification


@pytest.mark.parametrize("side", ["0.1", "0.7", "0.3000000000000000000001", "1e-3", "123456.789"])
@pytest.mark.parametrize("weight", [1, 3, 7])
def test_strict_thresholds_at_decimals(side: str, weight: int) -> None:
    limit, network = Fraction(side) * weight, straight(weight)
    digits = limit.numerator * (10**30 // limit.denominator)
    assert Fraction(f"{digits}e-30") == limit
    box, short = ("(>= X_0 0.0)", f"(<= X_0 {side})"), Settings(timeout=2.0)
    assert verify(network, on_decimals(*box, f"(> Y_0 {digits}e-30)")).verdict is Verdict.ROBUST
    for reached in (f"(> Y_0 {digits - 1}e-30)", f"(>= Y_0 {digits}e-30)"):  # by real inputs, perhaps by no float32
        assert verify(network, on_decimals(*box, reached), settings=short).verdict is not Verdict.ROBUST


def test_boxes_that_differ_by_less_than_float64_tells_are_two() -> None:
    boxes = [f"(and (>= X_0 0.0) (<= X_0 0.1{digits}) (> Y_0 0.1))" for digits in ("", "0000000000000000000000001")]
    for order in (boxes, boxes[::-1]):
        specification = on_decimals(f"(or {' '.join(order)})")
        assert len(specification.disjuncts) == 2
        assert verify(straight(1.0), specification, settings=Settings(timeout=2.0)).verdict is not Verdict.ROBUST
    keys = {Query(straight(1.0), on_decimals(box), Objective.FEASIBILITY).key for box in boxes}
    assert len(keys) == 2


def test_witnesses_obey_decimal_limits_of_sums() -> None:
    """A float64 limit rounded up lies above 0.1, and a sum of two outputs can lie between the two."""
    row = compile_vnnlib(
        "(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
        "(assert (>= X_0 0.0))(assert (<= X_0 1.0))(assert (<= (+ Y_0 Y_1) 0.1))",
        Facts(1, 2, input_dtype="float32"),
    ).specification.unsafe[0]
    just_below = math.nextafter(0.1, 0.0)
    between = float((Fraction(0.1) - Fraction(just_below)) * Fraction(3, 5))
    for first, second in ((just_below, 0.0), (just_below, between), (0.1, 0.0), (just_below, 2 * between)):
        inside = Fraction(first) + Fraction(second) <= Fraction("0.1")
        assert row.contains(np.array([first, second])) == inside


@pytest.mark.parametrize("side", ["0.1", "0.3", "0.7"])
def test_float64_networks_take_the_number_of_a_decimal(side: str) -> None:
    """Which may lie outside of the interval, on either side; nothing is proved of an interval that excludes it."""
    fixed, network = (f"(>= X_0 {side})", f"(<= X_0 {side})"), straight(1.0)
    number, exact = Fraction(float(side)), Fraction(side)
    for row, reached in ((f"(>= Y_0 {side})", number >= exact), (f"(<= Y_0 {side})", number <= exact)):
        outcome = verify(network, on_decimals(*fixed, row, dtype="float64"), settings=Settings(timeout=5.0))
        assert outcome.verdict is (Verdict.ADVERSARIAL if reached else Verdict.ROBUST)
    thin = (f"(>= X_0 {side})", f"(<= X_0 {side}000000000000000000000001)", "(>= Y_0 0.0)")
    assert verify(network, on_decimals(*thin, dtype="float64")).verdict is Verdict.ADVERSARIAL


def test_maxima_at_their_maximum() -> None:
    """y = max of relu(a x + b): the largest value is at a corner; more is never reached, that much is."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        weight, bias = rng.integers(-3, 4, (4, 2)).astype(float), rng.integers(-2, 3, 4) / 4
        b = NetworkBuilder((2,), exact=True)
        hidden = b.relu(b.affine([0], [Dense(tensor(weight))], bias))
        pooled = b.maximum(hidden, np.array([[0, 1, 2], [1, 2, 3]]))
        network = b.finish(b.affine([pooled], [Dense(tensor(np.array([[1.0, 0.0], [0.0, 1.0]])))], np.zeros(2)))
        lower, upper = np.array([-0.5, 0.25]), np.array([0.75, 1.0])
        most = np.maximum((np.maximum(weight * lower, weight * upper)).sum(1) + bias, 0)
        for k, members in enumerate(([0, 1, 2], [1, 2, 3])):
            row, limit = -np.eye(2)[k : k + 1], -np.array([most[members].max()])
            for strict, verdict in ((True, Verdict.ROBUST), (False, Verdict.ADVERSARIAL)):
                disjunct = Disjunct(Region(lower, upper), (Polytope(row, limit, np.array([strict])),))
                outcome = verify(network, Specification((disjunct,)), settings=Settings(timeout=10.0))
                assert outcome.verdict is verdict, (seed, k, strict, outcome)


def test_other_limits_are_not_the_decimals_that_were_written() -> None:
    (row,) = on_decimals("(>= X_0 0.0)", "(<= X_0 1.0)", "(<= Y_0 0.1)").unsafe
    assert row.limit(0) == (Fraction("0.1"), False) and not row.contains(np.array([0.2]))
    wider = row.with_offset(np.array([0.25]))
    assert wider.limit(0)[0] == Fraction(0.25) and wider.contains(np.array([0.2]))

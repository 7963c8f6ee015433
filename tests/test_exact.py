"""Ties: what no bound that allows for rounding can settle is settled in rational arithmetic."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch
from oracle import lowest

from advverify.verifier.api import certify, distance, verify
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.rational import Choices, RationalNetwork, least
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense, Operator
from advverify.verifier.norms import get_norm
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Case, NormBall, Polytope, Region, Specification

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
    for seed in range(12):
        network = tied(seed)
        assert network.exact is not None
        assert certify(network, image, 0, norm, eps).verdict is Verdict.ROBUST, seed
        assert distance(network, image, 0, norm).verdict is Verdict.ROBUST, seed


def test_what_is_just_above_a_tie_is_found() -> None:
    found, image, eps = 0, np.array([0.5, 0.25]), 0.25
    for seed in range(12):
        network = tied(seed, 1.0)
        reachable = lowest(network, image - eps, image + eps, np.array([1.0, -1.0])) < -1e-9
        outcome = certify(network, image, 0, "inf", eps)
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
            outcome = verify(network, Specification((Case(box, (unsafe,)),)))
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

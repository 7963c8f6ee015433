"""Engine `lp-split` alone, and its tree when it is stopped half way: what it says is true, and it says enough."""

import itertools

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import nearest, worst_margin

from advverify.verifier.api import certify, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, encode
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict
from advverify.verifier.query import Objective
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness

KINDS = ("mlp", "conv", "residual", "leaky", "maxpool")
SETTINGS = Settings(timeout=20, gap=1e-5, threads=1)


def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


@pytest.mark.parametrize("norm", ["inf", "1"])
@pytest.mark.parametrize("kind", KINDS)
def test_distances_and_verdicts(kind: str, norm: str) -> None:
    settled = asked = 0
    for seed in range(4):
        network, image, label = case(kind, seed)
        truth = nearest(network, image, label, norm)
        bracket = distance(network, image, label, Threat(norm), settings=SETTINGS, engines=("lp-split",)).bracket
        assert bracket.lower <= truth + 1e-6 <= bracket.upper + 2e-6, seed
        settled += bracket.upper == np.inf == truth or bracket.gap <= 2e-5
        asked += 1
        for share, verdict in ((0.95, Verdict.ROBUST), (1.05, Verdict.ADVERSARIAL)):
            if not np.isfinite(truth):
                continue
            threat = Threat(norm, share * truth)
            found = certify(network, image, label, threat, settings=SETTINGS, engines=("lp-split",)).verdict
            assert found in (verdict, Verdict.UNKNOWN), (seed, share)
            settled += found is verdict
            asked += 1
    assert settled >= 0.9 * asked >= 3, (settled, asked)


@pytest.mark.parametrize("kind", KINDS)
def test_margins(kind: str) -> None:
    closed = 0
    for seed, eps in itertools.product(range(4), (0.1, 0.3)):
        network, image, label = case(kind, seed)
        truth = worst_margin(network, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1), label)
        engines = ("falsify", "lp-split")
        threat = Threat("inf", eps)
        found = certify(network, image, label, threat, exact_margin=True, settings=SETTINGS, engines=engines).bracket
        assert found.lower <= truth + 1e-6 <= found.upper + 2e-6, (seed, eps)
        closed += found.upper - found.lower <= 1e-4 * max(1.0, abs(truth))
    assert closed >= 7, closed


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_a_tree_that_is_stopped_keeps_what_it_holds(kind: str) -> None:
    """Wherever it is stopped, by a point or by what looks at relaxations, its bound is no more than the optimum."""
    stopped = 0
    for seed, eps in itertools.product(range(3), (0.2, 0.5)):
        network, image, label = case(kind, seed)
        disjunct = robustness(image, label, Threat("inf", eps), network.output_size, "").disjuncts[0]
        bounds = crown(network, InputSet.from_regions([disjunct.region]))
        form = Formulation(substitute=True)
        for polytope in disjunct.unsafe:
            program = encode(network, bounds, disjunct.region, (polytope,), Objective.MAX_MARGIN, form)
            tree = LpTree(program)
            whole = tree.minimum(20.0)
            assert whole.finished
            for most in range(1, 12):
                left = iter(range(most))
                part = tree.minimum(20.0, inspect=lambda *_, left=left: next(left, None) is None)
                assert part.bound <= whole.bound + 1e-9, (seed, eps, most)
                stopped += not part.finished
            first = tree.minimum(20.0, target=whole.objective - 1e-3, visit=lambda point: True)
            assert first.bound <= whole.bound + 1e-9
    assert stopped >= 20, stopped

"""The MILP engine, alone and with others: three objectives in four norms against enumeration, and against solvers that lie."""

import itertools

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import margin_within, nearest

from advverify.verifier.api import certify, distance
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict

EXACT = Settings(timeout=10, gap=5e-7, threads=1)
NORMS = ("inf", "1", "2", "0")


def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


def radii(network: Network, image: np.ndarray, label: int, norm: str) -> tuple[float, ...]:
    """A radius within the distance and one beyond it, so that margins of both signs are asked for."""
    truth = nearest(network, image, label, norm)
    if norm == "0":
        return (1.0, 2.0)
    return (0.8 * truth, 1.3 * truth) if np.isfinite(truth) else (0.3,)


@pytest.mark.parametrize("engines", [("milp",), ("falsify", "milp"), ()], ids=lambda names: "+".join(names) or "all")
@pytest.mark.parametrize("norm", NORMS)
def test_margins_are_exact_in_every_norm(norm: str, engines: tuple[str, ...]) -> None:
    negative = positive = 0
    for kind, seed in itertools.product(("mlp", "residual"), range(3)):
        network, image, label = case(kind, seed)
        for eps in radii(network, image, label, norm):
            truth = margin_within(network, image, label, norm, eps)
            outcome = certify(
                network, image, label, norm, eps, exact_margin=True, settings=EXACT, engines=engines
            )  # fmt: skip
            bracket = outcome.bracket
            assert bracket.lower <= truth + 1e-6 and bracket.upper >= truth - 1e-6, (kind, seed, eps, truth, bracket)
            closed = bracket.gap <= 2e-6 * max(1.0, abs(truth))
            negative += closed and truth < 0
            positive += closed and truth > 0
    assert negative >= 2 and positive >= 2, (negative, positive)


@pytest.mark.parametrize("engines", [("milp",), ("falsify", "milp")], ids="+".join)
@pytest.mark.parametrize("norm", NORMS)
def test_verdicts_and_distances_are_exact_in_every_norm(norm: str, engines: tuple[str, ...]) -> None:
    settled = asked = 0
    for kind, seed in itertools.product(("mlp", "residual"), range(3)):
        network, image, label = case(kind, seed)
        truth = nearest(network, image, label, norm)
        bracket = distance(network, image, label, norm, settings=EXACT, engines=engines).bracket
        assert bracket.lower <= truth * (1 + 1e-6) and bracket.upper >= truth * (1 - 1e-6), (kind, seed)
        settled += bracket.lower == bracket.upper == truth or bracket.gap <= 2e-6 * max(1.0, truth)
        asked += 1
        for eps in radii(network, image, label, norm):
            verdict = certify(network, image, label, norm, eps, settings=EXACT, engines=engines).verdict
            assert verdict is not (Verdict.ADVERSARIAL if eps < truth else Verdict.ROBUST), (kind, seed, eps)
            settled += verdict is not Verdict.UNKNOWN
            asked += 1
    assert settled >= 0.9 * asked, (settled, asked)

"""What a GPU answers and what its bounds promise; skipped where there is none."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from networks import KINDS, forward_exactly, random_network, scaled

from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify_all
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate_all, predict
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")

GPU = "cuda"


@pytest.mark.parametrize("factor", [1.0, 1e7])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_a_gpu_hold_in_rational_arithmetic(kind: str, factor: float) -> None:
    """At points, regions without width, nothing but rounding lies between a bound and a value."""
    for seed in range(3):
        network = scaled(random_network(kind, seed), factor)
        x = torch.from_numpy(np.random.default_rng(seed).random((1, network.input_size))) - 0.3
        values = forward_exactly(network, [Fraction(float(v)) for v in x[0]])
        bounds = crown(network.to(torch.float64, GPU), InputSet(x.to(GPU), x.to(GPU)))
        for node in network.bounded:
            least, most = bounds[node].lower[0].tolist(), bounds[node].upper[0].tolist()
            for value, below, above in zip(values[node], least, most, strict=True):
                assert Fraction(below) <= value <= Fraction(above), (node, float(value - Fraction(below)))


@pytest.mark.parametrize("kind", KINDS)
def test_bounds_of_a_gpu_hold_on_boxes(kind: str) -> None:
    for seed in range(3):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        center = torch.from_numpy(rng.normal(size=(2, network.input_size)) * 0.5)
        low, high = center - 0.3, center + 0.3
        bounds = crown(network.to(torch.float64, GPU), InputSet(low.to(GPU), high.to(GPU)))
        for member in range(2):
            share = torch.from_numpy(rng.random((200, network.input_size))).round(decimals=1)
            values = evaluate_all(network, low[member] + share * (high[member] - low[member]))
            for node in network.bounded:
                lower, upper = bounds[node].lower[member].cpu(), bounds[node].upper[member].cpu()
                assert (values[node] >= lower - 1e-9).all() and (values[node] <= upper + 1e-9).all()


@pytest.mark.parametrize("norm", ["inf", "2", "1", "0"])
@pytest.mark.parametrize("name", ["digits-mlp", "digits-conv", "digits-deep"])
def test_verdicts_of_a_gpu_are_those_of_the_cpu(name: str, norm: str) -> None:
    model = Model(path_of(name))
    images = list(np.random.default_rng(0).random((16, model.network.input_size)))
    labels = predict(model.network, torch.tensor(np.stack(images))).tolist()
    threat = Threat(norm, {"inf": 0.02, "2": 0.2, "1": 0.5, "0": 1}[norm])
    here = dict(certify_all(model, images, labels, threat, settings=Settings(timeout=10)))
    there = dict(certify_all(model, images, labels, threat, settings=Settings(timeout=10, device=GPU)))
    settled = 0
    for k, outcome in there.items():
        verdicts = {outcome.verdict, here[k].verdict} - {Verdict.UNKNOWN}
        assert len(verdicts) <= 1
        settled += outcome.verdict is not Verdict.UNKNOWN
    assert settled >= 12


def test_trees_on_the_cpu_of_a_machine_with_a_gpu() -> None:
    """PyTorch refuses gradients in forked copies once it has seen a GPU: with several threads nothing may fail for it."""
    model = Model(path_of("digits-deep"))
    images = list(np.random.default_rng(0).random((8, model.network.input_size)))
    labels = predict(model.network, torch.tensor(np.stack(images))).tolist()
    for _, outcome in certify_all(model, images, labels, Threat("inf", 0.05), settings=Settings(timeout=10, threads=4)):
        assert "failed" not in outcome.reason and not outcome.statistics.get("failures")

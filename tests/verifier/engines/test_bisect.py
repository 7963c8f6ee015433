"""Balls between both sides of a distance: the bracket holds the truth, and descents begin where bounds are lowest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import nearest

from advverify.verifier.api import distance
from advverify.verifier.attacks import AttackProblem, run
from advverify.verifier.attacks.guided import Guided
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.bounds import InputSet
from advverify.verifier.engines import Settings, bisect
from advverify.verifier.network.evaluate import evaluate, predict
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_the_bracket_holds_the_truth(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On networks of every kind, with nothing but an attack before it."""
    monkeypatch.setattr(bisect, "MANY_UNSTABLE", 0)
    raised = 0
    for kind in ("mlp", "residual", "leaky", "maxpool"):
        for seed in range(2):
            network = random_network(kind, seed)
            image = np.random.default_rng(seed).random(network.input_size)
            label = int(predict(network, torch.tensor(image)[None])[0])
            threat, settings = Threat(norm), Settings(timeout=20, threads=1)
            truth = nearest(network, image, label, norm)
            found = distance(network, image, label, threat, settings=settings, engines=("falsify", "bisect")).bracket
            assert found.lower <= truth * (1 + 1e-9), (kind, seed)
            assert found.upper >= truth * (1 - 1e-6), (kind, seed)
            raised += found.lower > 0.25 * min(truth, found.upper)
    assert raised >= 3, raised


def test_descents_begin_at_the_points_given() -> None:
    """A point that is unsafe already is kept, wherever gradients lead from the center; whatever comes out lies in the region."""
    kept = 0
    for seed in range(20):
        network = random_network("mlp", seed)
        image = np.random.default_rng(seed).random(network.input_size)
        label = int(predict(network, torch.tensor(image)[None])[0])
        specification = robustness(image, label, Threat("inf", 0.4), network.output_size, "")
        disjunct = specification.disjuncts[0]
        problem = AttackProblem.build(network, [(disjunct.region, polytope) for polytope in disjunct.unsafe])
        x = torch.rand((2000, network.input_size), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        inputs = InputSet.from_regions([disjunct.region])
        x = inputs.lower + x * (inputs.upper - inputs.lower)
        y = evaluate(network, x)
        others = [k for k in range(network.output_size) if k != label]
        found = [int((y[:, label] - y[:, k]).argmin()) for k in others]
        unsafe = [float(y[row, label] - y[row, k]) for row, k in zip(found, others, strict=True)]
        points = run(Guided(Pgd(steps=1, restarts=1), x[found][:, None]), problem)
        assert bool((points.violation <= torch.tensor(unsafe, dtype=torch.float64) + 1e-12).all())
        assert bool((points.points >= inputs.lower).all() and (points.points <= inputs.upper).all())
        kept += sum(value < 0 for value in unsafe)
    assert kept >= 5, kept

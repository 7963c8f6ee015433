"""Bounds from solves: they hold wherever an unsafe input goes, and lose nothing to those they start from."""

import itertools
from typing import Literal

import numpy as np
import pytest
import torch
from networks import KINDS, random_network
from oracle import nearest, worst_margin

from advverify.verifier.api import certify, distance
from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate_all, predict
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat, robustness
from advverify.verifier.tightening import tighten

METHODS: tuple[Literal["lp", "mip"], ...] = ("lp", "mip")
SOLVES: tuple[Literal["none", "lp", "mip"], ...] = ("none", "lp", "mip")


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_from_solves_hold_for_every_unsafe_input(kind: str, method: Literal["lp", "mip"], norm: str) -> None:
    narrowed = settled = met = 0
    for seed, depth in itertools.product(range(5), (0.0, 0.3)):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        radius = {"inf": 0.4, "1": 0.8, "2": 0.5, "0": 2}[norm]
        disjunct = robustness(rng.random(network.input_size), 0, Threat(norm, radius), 3).disjuncts[0]
        before = ibp(network, InputSet.from_regions([disjunct.region]))
        after = tighten(network, before, disjunct.region, disjunct.unsafe[:1], 20.0, method, depth)
        low, high = disjunct.region.bounding_box()
        ball = disjunct.region.ball
        assert ball is not None
        center = ball.center
        points = center + rng.random((6000, 1)) * (low + rng.random((6000, len(low))) * (high - low) - center)
        if norm == "0":
            changed = rng.random(points.shape).argsort(1) < 2
            points = np.where(changed, points, center)
        # All at once, for `contains` takes one point at a time: those so near to the ball's edge that rounding counts go.
        length = ball.norm.length(torch.from_numpy(points - center)).numpy()
        inside = (length <= radius * (1 - (norm != "0") * 1e-12)) & ((points >= low) & (points <= high)).all(1)
        assert all(disjunct.region.contains(x) for x in points[inside][:20])
        values = evaluate_all(network, torch.from_numpy(points[inside]))
        outputs = values[-1].numpy() @ disjunct.unsafe[0].matrix.T - disjunct.unsafe[0].offset
        unsafe = torch.from_numpy(outputs.max(1) <= depth)
        met += int(unsafe.sum())
        for node in network.bounded:
            taken = values[node][unsafe]
            assert bool((taken >= after[node].lower - 1e-9).all()) and bool((taken <= after[node].upper + 1e-9).all())
            narrowed += int((after[node].upper - after[node].lower < before[node].upper - before[node].lower).sum())
        settled += before.unstable_count(network) - after.unstable_count(network)
    assert met > 100 and narrowed > 0 and settled > 0


@pytest.mark.parametrize("kind", KINDS)
def test_solves_for_the_whole_region_reach_what_the_network_takes(kind: str) -> None:
    """Without an unsafe set worth the name, a MIP's bounds are the exact range of every neuron on one side at least."""
    network = random_network(kind, 1)
    disjunct = robustness(np.full(network.input_size, 0.5), 0, Threat("inf", 0.3), 3).disjuncts[0]
    before = crown(network, InputSet.from_regions([disjunct.region]))
    after = tighten(network, before, disjunct.region, disjunct.unsafe[:1], 30.0, "mip", depth=1e6)
    low, high = disjunct.region.bounding_box()
    points = torch.from_numpy(low + np.random.default_rng(0).random((20_000, len(low))) * (high - low))
    values = evaluate_all(network, points)
    for node in network.bounded:
        open_ = after[node].unstable[0]
        assert bool((values[node].amin(0)[open_] < 0).all()) and bool((values[node].amax(0)[open_] > 0).all())


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
def test_the_distance_is_the_same_with_and_without(norm: str) -> None:
    for kind, seed in (("mlp", 3), ("maxpool", 2)):
        network = random_network(kind, seed)
        image = np.random.default_rng(1000 + seed).random(network.input_size)
        label = int(predict(network, torch.tensor(image)[None]))
        truth = nearest(network, image, label, norm)
        for solves in SOLVES:
            settings = Settings(timeout=30, gap=1e-5, threads=1, milp=MilpOptions(tighten=solves))
            bracket = distance(
                network, image, label, Threat(norm), settings=settings, engines=("falsify", "milp")
            ).bracket
            assert bracket.lower <= truth + 1e-7
            assert bracket.lower == pytest.approx(min(truth, bracket.upper), abs=1e-4)


@pytest.mark.parametrize("exact_margin", [False, True])
def test_verdicts_are_the_same_with_and_without(exact_margin: bool) -> None:
    for kind, seed in itertools.product(KINDS, range(2)):
        network = random_network(kind, seed)
        image = np.random.default_rng(1000 + seed).random(network.input_size)
        label = int(predict(network, torch.tensor(image)[None]))
        truth = nearest(network, image, label, "inf")
        if not np.isfinite(truth):
            continue
        for share, verdict in ((0.97, Verdict.ROBUST), (1.03, Verdict.ADVERSARIAL)):
            eps = share * truth
            worst = worst_margin(network, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1), label)
            for solves in SOLVES:
                settings = Settings(timeout=30, gap=1e-5, threads=1, milp=MilpOptions(tighten=solves))
                outcome = certify(network, image, label, Threat("inf", eps), settings=settings, engines=("milp",), exact_margin=exact_margin)  # fmt: skip
                assert outcome.verdict is verdict, (kind, seed, share, solves, outcome)
                if exact_margin:
                    assert outcome.bracket.lower <= worst + 1e-6
                    assert outcome.bracket.upper == pytest.approx(worst, abs=1e-4)


def test_unknown_kinds_of_solves_are_refused() -> None:
    with pytest.raises(InvalidInput, match="none, lp, mip"):
        MilpOptions(tighten="qp")  # type: ignore[arg-type]

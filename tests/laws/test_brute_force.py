"""Every engine, norm and objective against the enumeration of all activation patterns."""

import functools
import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import KINDS, random_network, scaled
from oracle import nearest, worst_margin

from advverify.verifier.api import certify, distance, verify
from advverify.verifier.bounds.branching import SCORES
from advverify.verifier.engines import ENGINES, MilpOptions, ReluSplitOptions, Settings, region_bounds
from advverify.verifier.engines.branch_and_bound.relu import bounds as domain_bounds
from advverify.verifier.engines.branch_and_bound.relu import engine as relu_split
from advverify.verifier.engines.settings import Targets
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat, robustness

FAST = Settings(timeout=60, gap=5e-7, threads=1)


def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_distance_is_exact(kind: str, seed: int, norm: str) -> None:
    if norm == "0" and kind in ("conv", "maxpool"):
        pytest.skip("nine inputs make too many supports to enumerate; the kinds with three inputs cover norm 0")
    network, image, label = case(kind, seed)
    truth = nearest(network, image, label, norm)
    outcome = distance(network, image, label, Threat(norm), settings=FAST)
    if np.isinf(truth):
        assert outcome.verdict is Verdict.ROBUST
        return
    assert outcome.bracket.lower <= truth + 1e-6
    assert outcome.bracket.upper >= truth - 1e-6
    assert outcome.bracket.upper - outcome.bracket.lower <= 2e-6 * max(1.0, truth), outcome


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", KINDS)
def test_three_ways_agree(kind: str, seed: int) -> None:
    network, image, label = case(kind, seed)
    exact = distance(network, image, label, Threat("inf"), settings=FAST).bracket
    radii = [0.05, 0.3] if np.isinf(exact.upper) else [exact.upper * f for f in (0.5, 0.98, 1.02)]
    for eps in radii:
        truth = worst_margin(network, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1), label)
        margin = certify(network, image, label, Threat("inf", eps), exact_margin=True, settings=FAST).bracket
        assert margin.lower <= truth + 1e-6 and margin.upper >= truth - 1e-6
        assert margin.gap <= 2e-6
        verdict = certify(network, image, label, Threat("inf", eps), settings=FAST).verdict
        assert verdict is (Verdict.ROBUST if truth > 0 else Verdict.ADVERSARIAL)
        assert (eps < exact.upper) == (truth > 0)


@pytest.mark.parametrize("kind", ["mlp", "residual", "maxpool"])
@pytest.mark.parametrize("count", range(1, len(ENGINES)))
def test_any_engines_never_contradict(kind: str, count: int) -> None:
    network, image, label = case(kind, 7)
    truth = nearest(network, image, label, "inf")
    subsets = list(itertools.combinations([name for name in ENGINES if name != "support-split"], count))
    for names in random.Random(f"{kind}{count}").sample(subsets, min(3, len(subsets))):
        bracket = distance(network, image, label, Threat("inf"), settings=FAST, engines=names).bracket
        assert bracket.lower <= truth + 1e-6 and bracket.upper >= truth - 1e-6, names
        for eps in (0.7 * truth, 1.3 * truth) if np.isfinite(truth) else (0.2,):
            verdict = certify(network, image, label, Threat("inf", eps), settings=FAST, engines=names).verdict
            wrong = Verdict.ADVERSARIAL if eps < truth else Verdict.ROBUST
            assert verdict is not wrong, names


@functools.cache
def margin_of(kind: str, seed: int, eps: float) -> float:
    """The worst margin within eps of a case's image."""
    network, image, label = case(kind, seed)
    return worst_margin(network, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1), label)


@pytest.mark.parametrize("engines", [("input-split",), ("relu-split",), ("falsify", "relu-split"), ("milp",), ()])
def test_margins_of_verdicts_hold(engines: tuple[str, ...]) -> None:
    """What lies where nothing is unsafe need not be bounded for a verdict, but then it must not be claimed either."""
    robust = 0
    for kind, seed, eps in itertools.product(("mlp", "leaky", "residual"), range(3), (0.05, 0.2, 0.3)):
        network, image, label = case(kind, seed)
        truth = margin_of(kind, seed, eps)
        settings = replace(FAST, relu_split=ReluSplitOptions(intermediate_bounds=False))
        outcome = certify(network, image, label, Threat("inf", eps), settings=settings, engines=engines)
        assert outcome.bracket.lower <= truth + 1e-6, (kind, seed, eps)
        assert outcome.bracket.upper >= truth - 1e-6, (kind, seed, eps)
        robust += outcome.verdict is Verdict.ROBUST
    assert robust > 6


@pytest.mark.parametrize("norm", ["inf", "1", "0"])
@pytest.mark.parametrize("targets", ["separate", "joint"])
def test_milp_alone_is_exact(norm: str, targets: Targets) -> None:
    network, image, label = case("mlp", 3)
    truth = nearest(network, image, label, norm)
    settings = Settings(timeout=20, gap=5e-7, threads=1, milp=MilpOptions(targets=targets))
    bracket = distance(network, image, label, Threat(norm), settings=settings, engines=("milp",)).bracket
    assert bracket.lower == pytest.approx(truth, abs=1e-6)


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_smaller_balls_first(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances proved on a ladder of smaller balls, without a search on the whole one before it."""
    monkeypatch.setattr(relu_split, "_WHOLE_SHARE", 0.0)
    for seed in range(4):
        network, image, label = case("mlp", seed)
        truth = nearest(network, image, label, norm)
        bracket = distance(
            network, image, label, Threat(norm), settings=FAST, engines=("falsify", "relu-split")
        ).bracket
        assert bracket.lower <= truth + 1e-6 and bracket.upper >= truth - 1e-6
        assert bracket.upper == bracket.lower == np.inf or bracket.gap <= 1e-5


@pytest.mark.parametrize("fsb_candidates", [1, 3])
@pytest.mark.parametrize("score", SCORES)
def test_every_way_to_choose_a_split_is_exact(score: str, fsb_candidates: int) -> None:
    """With intermediate bounds recomputed in every domain, and without."""
    for number, (kind, refine) in enumerate(itertools.product(("mlp", "residual", "conv"), (160, -1))):
        seed = 1 + (number + fsb_candidates) % 2
        network, image, label = case(kind, seed)
        truth = nearest(network, image, label, "inf")
        settings = Settings(
            timeout=20,
            gap=1e-4,
            threads=1,
            relu_split=ReluSplitOptions(score, fsb_candidates, intermediate_bounds=False),
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(domain_bounds, "_REFINE_UNSTABLE", refine)
            outcome = distance(
                network, image, label, Threat("inf"), settings=settings, engines=("falsify", "relu-split")
            )
        if np.isinf(truth):
            assert outcome.verdict is Verdict.ROBUST
            continue
        assert outcome.bracket.lower <= truth + 1e-6 and outcome.bracket.upper >= truth - 1e-6
        assert outcome.bracket.gap <= 1e-4 * truth


@pytest.mark.parametrize("seed", range(3))
def test_rounding_losses_of_float32_do_not_keep_outputs_open(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intermediate bounds of large convolutional networks are float32's, which alone would lose more than 0.001 here."""
    monkeypatch.setattr(region_bounds, "_SMALL", 0)
    network, eps = scaled(random_network("conv", seed), 1e4), 1e-4
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    label = (int(predict(network, torch.tensor(image)[None])) + 1) % 3  # another class leads, by a margin above 0
    lead = -worst_margin(network, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1), label)
    for slack, verdict in ((1e-3, Verdict.ROBUST), (-1e-3, Verdict.ADVERSARIAL)):
        specification = robustness(image, label, Threat("inf", eps, margin=lead + slack), 3)
        outcome = verify(network, specification, settings=FAST, engines=("propagate",))
        assert outcome.verdict is verdict, (slack, outcome)


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
@pytest.mark.parametrize("tied", [False, True])
def test_every_engine_takes_a_network_without_a_relu(norm: str, tied: bool) -> None:
    """Alone and together; classes that are equal everywhere leave work to whatever comes last."""
    weight = np.array([[1.0, 0.5, -0.3], [1.0, 0.5, -0.3], [0, 0, 0]]) if tied else np.eye(3) - np.eye(3)[[1, 2, 0]]
    b = NetworkBuilder((3,), exact=True)
    network = b.finish(b.affine([0], [Dense(tensor(weight))], np.array([0.0, 0.0, -9.0 * tied])))
    image, settled = np.array([0.9, 0.3, 0.2]), 0
    limits = replace(FAST, timeout=2) if tied else FAST  # halves of a box that is a tie everywhere never end
    truth = math.inf if tied else nearest(network, image, 0, norm)
    for engines in [(), *[(name,) for name in ENGINES]]:
        for eps in (math.inf,) if tied else (0.5 * truth, 1.5 * truth, math.inf):
            outcome = certify(network, image, 0, Threat(norm, eps), settings=limits, engines=engines)
            assert outcome.verdict is not (Verdict.ADVERSARIAL if tied or eps < truth else Verdict.ROBUST)
            settled += outcome.verdict is not Verdict.UNKNOWN
        if not tied:
            bracket = distance(network, image, 0, Threat(norm), settings=limits, engines=engines).bracket
            assert bracket.lower <= truth * (1 + 1e-9) and bracket.upper >= truth * (1 - 1e-9)
    assert settled >= (1 if tied else 12)

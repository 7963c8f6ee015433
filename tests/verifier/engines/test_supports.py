"""Norm 0: the tree over supports, and what counts mean, against the enumeration of supports and activation patterns."""

import functools
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network
from oracle import nearest

from advverify.verifier.api import certify, distance
from advverify.verifier.attacks import AttackProblem, run
from advverify.verifier.attacks.greedy_l0 import GreedyL0
from advverify.verifier.bounds.alpha_crown import AlphaCrown
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.support import search as support_split
from advverify.verifier.engines.branch_and_bound.support.domain import SupportDomain, heavier_half
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.state import SearchState
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Threat, robustness

FAST = Settings(timeout=20, threads=1)


ALONE = ("support-split",)


@functools.cache
def case(kind: str, seed: int, channels: int = 1) -> tuple[Network, np.ndarray, int, float]:
    """A network, an image, its label, and the distance of the nearest adversarial example."""
    network = random_network(kind, seed)
    image = np.random.default_rng(2000 + seed).random(network.input_size)
    label = int(predict(network, torch.tensor(image)[None]))
    return network, image, label, nearest(network, image, label, "0", channels)


@pytest.mark.parametrize("engines", [("propagate",), ("falsify", "propagate"), ALONE, ("milp",), ()])
def test_a_limit_counts_itself(engines: tuple[str, ...]) -> None:
    """d* = limit is within the limit: proving that fewer entries do no harm is not enough for `robust`."""
    for kind, seed in itertools.product(("mlp", "residual"), range(4)):
        network, image, label, truth = case(kind, seed)
        for limit in (1.0, 2.0, 2.5, 3.0):
            outcome = distance(network, image, label, Threat("0", limit), settings=FAST, engines=engines)
            wrong = Verdict.ROBUST if truth <= limit else Verdict.ADVERSARIAL
            assert outcome.verdict is not wrong, (kind, seed, limit, truth)
            assert outcome.bracket.lower <= truth, (kind, seed, limit, truth)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["mlp", "leaky", "residual", "wide", "maxpool"])
def test_the_tree_alone_is_exact(kind: str, seed: int) -> None:
    """Distances and verdicts without attacks and without a MILP."""
    if kind == "maxpool" and seed not in (1, 4):
        pytest.skip("nine inputs make too many supports to enumerate where many have to change")
    network, image, label, truth = case(kind, seed)
    bracket = distance(network, image, label, Threat("0"), settings=FAST, engines=ALONE).bracket
    assert bracket.lower == bracket.upper == truth
    for eps in range(4):
        verdict = certify(network, image, label, Threat("0", eps), settings=FAST, engines=ALONE).verdict
        assert verdict is (Verdict.ROBUST if eps < truth else Verdict.ADVERSARIAL)


@pytest.mark.parametrize("count", range(1, 6))
def test_any_engines_never_contradict(count: int) -> None:
    for names in itertools.combinations(("falsify", "propagate", "falsify-more", "support-split", "milp"), count):
        for kind, seed in (("mlp", 0), ("leaky", 3), ("wide", 2)):
            network, image, label, truth = case(kind, seed)
            bracket = distance(network, image, label, Threat("0"), settings=FAST, engines=names).bracket
            assert bracket.lower <= truth <= bracket.upper, names
            for eps in (truth - 1, truth) if np.isfinite(truth) else (2.0,):
                verdict = certify(network, image, label, Threat("0", eps), settings=FAST, engines=names).verdict
                assert verdict is not (Verdict.ADVERSARIAL if eps < truth else Verdict.ROBUST), names


@pytest.mark.parametrize("engines", [ALONE, ()])
@pytest.mark.parametrize("seed", range(5))
def test_tied_channels(seed: int, engines: tuple[str, ...]) -> None:
    network, image, label, truth = case("wide", seed, channels=2)
    bracket = distance(network, image, label, Threat("0", channels=2), settings=FAST, engines=engines).bracket
    assert bracket.lower == bracket.upper == truth


def test_where_no_bound_is_positive_at_the_center(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then pixels are excluded by halves, each of the others by itself."""
    monkeypatch.setattr(support_split, "_STEPS", AlphaCrown(steps=0))
    excluded = 0

    def counted(ranges: np.ndarray) -> int:
        nonlocal excluded
        excluded += 1
        return heavier_half(ranges)

    monkeypatch.setattr(support_split, "heavier_half", counted)
    for kind, seed in itertools.product(("wide", "leaky", "residual"), range(3)):
        network, image, label, truth = case(kind, seed)
        bracket = distance(network, image, label, Threat("0"), settings=FAST, engines=ALONE).bracket
        assert bracket.lower == bracket.upper == truth
    assert excluded


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_parts_cover_what_the_bound_does_not_exclude(seed: int) -> None:
    """Every support of a domain lies in one of its parts, or the linear bound that chose them is positive on it."""
    rng = np.random.default_rng(seed)
    network = random_network("maxpool", 0)
    image, radius = rng.random(9), int(rng.integers(1, 5))
    specification = robustness(image, 0, Threat("0", radius), 3)
    state = SearchState.open(Query(network, specification, Objective.FEASIBILITY), FAST, NetworkExecutor(network))
    search = support_split.SupportSearch(state, specification.region, state.subproblems[:1], "test")
    search.queue.pop(1)
    status = rng.choice([-1, 0, 0, 0, 1], 9).astype(np.int8)
    status[np.flatnonzero(status > 0)[radius - 1 :]] = 0  # at least one change is left
    domain = SupportDomain(0, status)
    a, value = rng.normal(size=9) * rng.choice([0.0, 0.1, 1.0], 9), float(rng.uniform(-0.2, 2.0))
    inputs, stacked = search._inputs([domain], full=False)
    form = torch.tensor(a)[None], torch.tensor([value - float(a @ image)], dtype=torch.float64)
    search.queue.open[0] = 1
    search._split([domain], inputs, stacked, form, [-1.0])
    parts = [part.status for part in (*search.queue.pop(1000), *search.boxes)]
    ranges = np.where(a > 0, a * image, -a * (1 - image))
    for size in range(radius + 1):
        for chosen in itertools.combinations(range(9), size):
            support = np.zeros(9, dtype=bool)
            support[list(chosen)] = True
            if (support[status < 0]).any() or not support[status > 0].all():
                continue
            homes = [p for p in parts if not support[p < 0].any() and support[p > 0].all()]
            bound = value - ranges[support].sum()
            assert len(homes) <= 1
            assert homes or (bound > 0 and bound >= search.least[0] - 1e-9)


def test_a_box_that_no_search_settles_leaves_its_pair_open(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle:
        def __init__(self, *_: object) -> None: ...

        def run(self, deadline: float) -> None: ...

    monkeypatch.setattr(support_split, "ReluSearch", Idle)
    monkeypatch.setattr(support_split, "_STEPS", AlphaCrown(steps=0))
    needed = 0
    for kind, seed, eps in itertools.product(("wide", "leaky", "residual"), range(3), (1, 2)):
        network, image, label, truth = case(kind, seed)
        outcome = certify(network, image, label, Threat("0", eps), settings=FAST, engines=ALONE)
        if truth > eps and "boxes" in outcome.statistics:
            needed += 1
            assert outcome.verdict is Verdict.UNKNOWN
    assert needed


def test_tied_channels_are_another_question() -> None:
    """Answers are stored and proofs are named by the key of their query."""
    network = random_network("wide", 0)
    keys = [
        Query(network, robustness(np.full(6, 0.5), 0, Threat("0", 1, channels=c), 3), Objective.FEASIBILITY).key
        for c in (1, 2)
    ]
    assert keys[0] != keys[1]


@pytest.mark.parametrize("channels", [1, 2])
def test_the_greedy_search_side_by_side_is_that_one_by_one(channels: int) -> None:
    """And of a pixel every channel goes to the end that is best for it."""
    found, mixed = 0, 0
    for seed in range(5):
        network, image, label, truth = case("wide", seed, channels)
        specification = robustness(image, label, Threat("0", 6, channels=channels), 3)
        subproblems = [(specification.region, polytope) for polytope in specification.unsafe]
        problem = AttackProblem.build(network, subproblems)
        together = run(GreedyL0(), problem)
        for k in range(len(subproblems)):
            alone = run(GreedyL0(), problem.rows_of(torch.tensor([k])))
            assert torch.equal(alone.points[0], together.points[k])
        distance_ = problem.inputs.norm.length(together.points - problem.inputs.center)[together.success]  # type: ignore[union-attr, operator]
        assert (distance_ >= truth).all()
        first = run(GreedyL0(first=True), problem)
        assert bool(first.success.any()) == bool(together.success.any())
        found += int(together.success.sum())
        planes = ((together.points - problem.inputs.center) != 0).view(len(subproblems), channels, -1)  # type: ignore[operator]
        ends = (together.points == 1).view(len(subproblems), channels, -1)
        mixed += int((planes.all(1) & (ends.any(1) != ends.all(1))).sum())
    assert found and (mixed > 0) == (channels > 1), (found, mixed)

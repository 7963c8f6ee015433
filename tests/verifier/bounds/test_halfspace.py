"""Restricted minima against linear programs, and against points."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, deep, random_network
from scipy.optimize import linprog

from advverify.verifier.api import certify, distance
from advverify.verifier.bounds import InputSet, crown, halfspace
from advverify.verifier.bounds.halfspace import HalfSpaces
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.relu import bounds as domain_bounds
from advverify.verifier.network.evaluate import evaluate_all, predict
from advverify.verifier.norms import get_norm
from advverify.verifier.specification import NormBall, Region, Threat


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 12), share=st.floats(0.0, 1.0))
def test_between_the_plain_minimum_and_the_exact_one(seed: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    lower = rng.normal(size=n)
    upper = lower + rng.exponential(size=n) * (rng.random(n) > 0.1)
    a, c = rng.normal(size=(5, n)) * 10 ** rng.uniform(-2, 2), rng.normal(size=5)
    f = rng.normal(size=n)
    least, most = np.minimum(f * lower, f * upper).sum(), np.maximum(f * lower, f * upper).sum()
    g = -(least + share * (most - least))  # the half-space holds this share of the range of f
    box = InputSet(torch.tensor(lower[None]), torch.tensor(upper[None]))
    half = HalfSpaces(torch.tensor(f[None]), torch.tensor([g]))
    found = box.within(half).minimum(torch.tensor(a[None]), torch.tensor(c[None]))[0].numpy()
    with mock.patch.object(halfspace, "_STEPS", 5):  # more than the default, to show that the tangents converge
        closer = box.within(half).minimum(torch.tensor(a[None]), torch.tensor(c[None]))[0].numpy()
    plain = box.minimum(torch.tensor(a[None]), torch.tensor(c[None]))[0].numpy()
    for k in range(5):
        exact = linprog(a[k], f[None], [-g], bounds=np.stack([lower, upper], 1))
        loss = 1e-6 * (
            abs(c[k]) + np.abs(a[k]) @ np.maximum(np.abs(lower), np.abs(upper))
        )  # float32 looks for multipliers
        assert plain[k] - loss <= min(found[k], closer[k])
        if exact.status == 0:
            span = np.abs(a[k] * (upper - lower)).sum()
            assert max(found[k], closer[k]) <= exact.fun + c[k] + 1e-7 * (1 + span)
            if share > 0.02:
                assert closer[k] >= exact.fun + c[k] - 0.1 * (exact.fun + c[k] - plain[k]) - 1e-5 * (1 + span)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(1, 8), name=st.sampled_from(["1", "2", "inf"]), share=st.floats(0.02, 1)
)
def test_nothing_in_the_half_space_lies_below(seed: int, n: int, name: str, share: float) -> None:
    """Minima, certified radii and shares against points of ball ∩ box."""
    rng = np.random.default_rng(seed)
    center, norm = rng.random(n), get_norm(name)
    region = InputSet.from_regions([Region(np.zeros(n), np.ones(n), NormBall(center, norm, float(0.2 + rng.random())))])
    assert region.radius is not None
    points = torch.tensor(center) + norm.project(
        torch.tensor(rng.normal(size=(4000, n)) * rng.random((4000, 1))), region.radius.expand(4000)
    )
    points = torch.minimum(torch.maximum(points, region.lower), region.upper)
    f = torch.tensor(rng.normal(size=n))
    values = points @ f
    half = HalfSpaces(f[None], -torch.quantile(values, share)[None])
    inside = points[values + half.offset <= 0]
    a, c = torch.tensor(rng.normal(size=(6, n))), torch.tensor(rng.normal(size=6))
    reached = inside @ a.T + c
    cut = region.within(half)
    assert bool((cut.minimum(a[None], c[None])[0] <= reached.amin(0)).all())
    assert bool((cut.minimum(a[None], c[None]) >= region.minimum(a[None], c[None]) - 1e-5).all())
    radius = cut.certified_radius(a[None], c[None])[0]
    distance = norm.length(inside - torch.tensor(center)).unsqueeze(1)
    assert bool((torch.where(reached < 0, distance, torch.inf) >= radius * (1 - 1e-9)).all())
    assert bool((radius >= region.certified_radius(a[None], c[None])[0]).all())
    assert 0 <= float(region.fraction_in(half)) <= 1


@pytest.mark.parametrize("name", ["1", "2", "inf"])
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_in_the_half_space(kind: str, name: str) -> None:
    """Of all nodes, whichever half-space; and they are tighter somewhere."""
    tighter = 0
    for seed in range(8):
        network, rng = random_network(kind, seed), np.random.default_rng(seed)
        n = network.input_size
        region = InputSet.from_regions([Region(np.zeros(n), np.ones(n), NormBall(rng.random(n), get_norm(name), 0.6))])
        assert region.center is not None and region.radius is not None
        moved = get_norm(name).project(torch.tensor(rng.normal(size=(5000, n))), region.radius.expand(5000))
        points = torch.minimum(torch.maximum(region.center + moved, region.lower), region.upper)
        f = torch.tensor(rng.normal(size=n))
        half = HalfSpaces(f[None], -torch.quantile(points @ f, 0.1)[None])
        inside = points[points @ f + half.offset <= 0]
        whole, cut = crown(network, region), crown(network, region.within(half))
        values = evaluate_all(network, inside)
        for node, interval in cut.intervals.items():
            assert bool((values[node] >= interval.lower - 1e-9).all() and (values[node] <= interval.upper + 1e-9).all())
            tighter += int((interval.lower > whole[node].lower + 1e-6).sum())
    assert tighter > 0


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_the_tree_proves_the_same_with_and_without_half_spaces(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brackets of both and of the MILP meet, on networks whose bounds are loose at the root; half-spaces save nodes."""
    nodes = {0.0: 0, 1.0: 0}
    closely = Settings(timeout=60, gap=5e-5, threads=1)
    for seed in range(2):
        network = deep(seed)
        image = np.random.default_rng(seed).random(6)
        label = int(predict(network, torch.tensor(image[None])))
        brackets = []
        for share in nodes:
            monkeypatch.setattr(domain_bounds, "_HALF_SHARE", share)
            outcome = distance(network, image, label, Threat(norm), settings=closely, engines=("falsify", "relu-split"))
            brackets.append(outcome.bracket)
            nodes[share] += int(outcome.statistics.get("nodes", 0))
        if norm != "2":
            brackets.append(distance(network, image, label, Threat(norm), settings=closely, engines=("milp",)).bracket)
        for one in brackets:
            assert one.lower <= min(other.upper for other in brackets) * (1 + 1e-6)
            assert one.upper <= one.lower * (1 + 1e-4) or np.isinf(one.upper)
    assert nodes[1.0] < nodes[0.0]


def test_margins_are_the_same_with_and_without_half_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exact margins, against the MILP's."""
    nodes = {0.0: 0, 1.0: 0}
    for seed in range(4):
        network = deep(seed)
        image = np.random.default_rng(seed).random(6)
        label = int(predict(network, torch.tensor(image[None])))
        closely, brackets = Settings(timeout=60, gap=1e-5, threads=1), []
        for share in nodes:
            monkeypatch.setattr(domain_bounds, "_HALF_SHARE", share)
            outcome = certify(
                network,
                image,
                label,
                Threat("inf", 0.2),
                exact_margin=True,
                settings=closely,
                engines=("falsify", "falsify-more", "relu-split"),
            )
            brackets.append(outcome.bracket)
            nodes[share] += int(outcome.statistics.get("nodes", 0))
        exact = certify(
            network, image, label, Threat("inf", 0.2), exact_margin=True, settings=closely, engines=("milp",)
        )
        for one in [*brackets, exact.bracket]:
            assert one.lower <= min(other.upper for other in brackets) + 1e-6
            assert one.gap <= 1e-4 * max(1.0, abs(one.upper))
    assert nodes[1.0] < nodes[0.0]

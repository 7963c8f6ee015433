"""Books that searches keep: no part of a region is lost, no value is claimed that an open or closed part does not have."""

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_network
from oracle import lowest

from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.alpha_crown import AlphaCrown
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.input import search as input_split
from advverify.verifier.engines.branch_and_bound.relu.bounds import DomainBounds
from advverify.verifier.engines.branch_and_bound.relu.domain import Batch, Domain
from advverify.verifier.engines.branch_and_bound.relu.search import ReluSearch
from advverify.verifier.engines.branch_and_bound.relu.tree import Root, Tree
from advverify.verifier.engines.branch_and_bound.support.domain import Family, Queue, bounds_by_first
from advverify.verifier.engines.branch_and_bound.support.domain import SupportDomain as Support
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.propagate import Propagate
from advverify.verifier.engines.state import SearchState
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Network, Relu
from advverify.verifier.norms import get_norm
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Disjunct, Polytope, Region, Specification, Threat, robustness

SEEDS = st.integers(0, 10**6)
OPTIONS = Settings(timeout=30, threads=1)


def opened(network: Network, specification: Specification, objective: Objective = Objective.FEASIBILITY) -> SearchState:
    return SearchState.open(Query(network, specification, objective), OPTIONS, NetworkExecutor(network))


def state_of(kind: str, seed: int, eps: float, objective: Objective = Objective.FEASIBILITY) -> SearchState:
    network = random_network(kind, seed)
    image = np.random.default_rng(seed).random(network.input_size)
    return opened(network, robustness(image, seed % 3, Threat("inf", eps), 3), objective)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from([Objective.FEASIBILITY, Objective.MIN_DISTORTION]))
def test_a_tree_has_proved_what_its_worst_domain_has(seed: int, objective: Objective) -> None:
    """Subproblems with open, closed, taken and no domains, some given up; distances end at the ball that was searched."""
    rng = np.random.default_rng(seed)
    state = state_of("mlp", 1, 0.3, objective)
    tree = Tree([Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems])
    values: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(int(rng.integers(1, 8))):
        subproblem, value = int(rng.integers(2)), float(rng.uniform(0.0, 0.5))
        values[subproblem].append(value)
        if rng.random() < 0.5:
            tree.push(subproblem, Domain(np.zeros(0, np.int8), np.zeros(0, np.int8), value, value))
        else:
            tree.close(subproblem, value)
    left = int(rng.integers(3))
    if left < 2:
        tree.abandon(left)
    before = [subproblem.lower for subproblem in state.subproblems]
    tree.report("test")
    ceiling = state.goal if state.is_min_distortion else math.inf
    for k, examined in enumerate(state.subproblems):
        if k == left or not values[k]:
            assert examined.lower == before[k]
        else:
            assert examined.lower <= min(min(values[k]), ceiling)


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_supports_of_a_family_are_those_of_its_domain(seed: int) -> None:
    """By the first pixel that changes; each support of the domain lies in exactly one part, and none is queued twice."""
    rng = np.random.default_rng(seed)
    status = rng.choice([-1, 0, 0, 1], 6).astype(np.int8)
    pixels = rng.permutation(np.flatnonzero(status == 0))
    pixels = pixels[: int(rng.integers(0, len(pixels) + 1))]
    queue = Queue()
    whole = Support(0, status)
    queue.push(Family(whole, np.sort(rng.random(max(len(pixels), 1))), pixels))
    parts: list[np.ndarray] = []
    while queue.heap:
        taken = queue.pop(int(rng.integers(1, 3)))
        parts += [part.status for part in taken]
        for part in taken:
            queue.close(part)
    assert queue.open[0] == 0
    for code in range(2**6):
        support = np.array([bool(code >> i & 1) for i in range(6)])
        if support[status < 0].any() or not support[status > 0].all():
            continue
        homes = sum(not support[p < 0].any() and bool(support[p > 0].all()) for p in parts)
        assert homes == (1 if not len(pixels) or support[pixels].any() else 0)


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_bounds_by_first_are_below_what_any_support_leaves(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ranges = np.sort(rng.random(int(rng.integers(1, 6))))[::-1]
    alone, room = float(rng.uniform(0, 2)), int(rng.integers(1, 4))
    found = bounds_by_first(alone, ranges, room)
    assert len(found) == len(ranges) + 1 and (np.diff(found) >= -1e-12).all() and found[-1] == alone
    for code in range(1, 2 ** len(ranges)):
        support = [i for i in range(len(ranges)) if code >> i & 1]
        if len(support) <= room:
            assert found[support[0]] <= alone - ranges[support].sum() + 1e-12


def domain_value(
    state: SearchState, subproblem: int, phases: np.ndarray, columns: list[tuple[int, int]], points: torch.Tensor
) -> float:
    """The lowest violation that sampled points of a domain have."""
    values = evaluate_all(state.network, points)
    inside = torch.ones(len(points), dtype=torch.bool)
    for (node, j), phase in zip(columns, phases, strict=True):
        if phase:
            relu = state.network.nodes[node]
            assert isinstance(relu, Relu)
            inside &= values[relu.input][:, j] * int(phase) >= 0
    polytope = state.subproblems[subproblem].polytope
    violations = (values[-1][inside] @ torch.from_numpy(polytope.matrix).T - torch.from_numpy(polytope.offset)).amax(-1)
    return float(violations.min()) if len(violations) else math.inf


@pytest.mark.parametrize("objective", [Objective.FEASIBILITY, Objective.MAX_MARGIN])
@pytest.mark.parametrize("kind", ["mlp", "leaky", "residual", "conv"])
def test_domains_claim_no_more_than_their_points_have(kind: str, objective: Objective) -> None:
    """Batches of random domains of several subproblems: values, linear bounds, half-spaces and implied phases, by samples.

    What is unsafe, or lies below the best witness of a margin, must remain in the half-space and keep the implied phases.
    """
    settled = implied = 0
    for seed in range(4):
        state = state_of(kind, seed, 0.25, objective)
        if objective is Objective.MAX_MARGIN:
            region = state.subproblems[0].region
            state.add_counterexample((region.bounding_box()[0] + region.bounding_box()[1])[None] / 2, "test")
        bounds = DomainBounds([Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems])
        rng = np.random.default_rng(seed)
        columns = [(i, j) for i, n in zip(bounds.columns.relus, bounds.columns.sizes, strict=True) for j in range(n)]
        low, high = (torch.from_numpy(side) for side in state.subproblems[0].region.bounding_box())
        points = low + torch.from_numpy(rng.random((4000, len(low)))) * (high - low)
        values = evaluate_all(state.network, points)
        subproblems, domains = [0, 1], [bounds.undivided(), bounds.undivided()]
        for _ in range(3):
            found = bounds.bound(Batch.of(subproblems, domains, siblings=False), AlphaCrown(steps=3))
            fresh = found.domains(domains)
            for subproblem, domain in zip(subproblems, fresh, strict=True):
                truth = domain_value(state, subproblem, domain.phases, columns, points)
                polytope = state.subproblems[subproblem].polytope
                violation = (values[-1] @ torch.from_numpy(polytope.matrix).T - torch.from_numpy(polytope.offset)).amax(
                    -1
                )
                level = state.upper if objective is Objective.MAX_MARGIN else 0.0
                assert domain.value <= min(truth, level if objective is Objective.MAX_MARGIN else math.inf) + 1e-9
                assert domain.bound <= truth + 1e-9 or truth > level
                settled += domain.bound > 0
                mine = violation <= level
                for (node, j), own in zip(columns, domain.phases, strict=True):
                    relu = state.network.nodes[node]
                    assert isinstance(relu, Relu)
                    if own:
                        mine &= values[relu.input][:, j] * int(own) >= 0
                for (node, j), phase in zip(columns, domain.implied, strict=True):
                    relu = state.network.nodes[node]
                    assert isinstance(relu, Relu)
                    if phase:
                        implied += 1
                        assert (values[relu.input][mine, j] * int(phase) >= -1e-9).all()
                if domain.halfspace is not None:
                    f, g = torch.from_numpy(domain.halfspace[0]), domain.halfspace[1]
                    assert (points[mine] @ f + g <= 1e-9).all()
            parts = [
                (subproblem, domain) for subproblem, domain in zip(subproblems, fresh, strict=True) if domain.branches
            ]
            if not parts:
                break
            have = [entry for entry in parts if (entry[1].halfspace is None) == (parts[0][1].halfspace is None)]
            subproblems = [subproblem for subproblem, _ in have for _ in range(2)]
            domains = [domain.child(domain.branches[0], sign) for _, domain in have for sign in (1, -1)]
    assert settled > 0 and implied > 0


def test_both_parts_of_a_domain_are_queued() -> None:
    """Of a search that stops at once, what is open covers every point: the phases of some leaf fit."""
    for seed in range(4):
        state = state_of("mlp", seed, 0.6)
        closed: list[tuple[int, Domain]] = []
        search = ReluSearch(
            [Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems], "test", closed=closed
        )
        search._begin(30.0)
        for _ in range(3):
            taken = search.tree.pop(4, 0.0)
            if taken:
                search._split(taken, 1)
        rng = np.random.default_rng(seed)
        low, high = (torch.from_numpy(side) for side in state.subproblems[0].region.bounding_box())
        values = evaluate_all(state.network, low + torch.from_numpy(rng.random((300, len(low)))) * (high - low))
        active = torch.cat([values[node.input] > 0 for node in state.network.nodes if isinstance(node, Relu)], -1)
        signs = np.where(active.numpy(), 1, -1)
        for subproblem in (0, 1):
            leaves = [d.phases for _, _, p, d in search.tree.heap if p == subproblem] + [
                d.phases for p, d in closed if p == subproblem
            ]
            fits = sum(((phases == 0) | (phases == signs)).all(-1).astype(int) for phases in leaves)
            assert (fits == 1).all()


@functools.cache
def margin(kind: str, seed: int, eps: float, subproblem: int) -> float:
    state = state_of(kind, seed, eps)
    low, high = state.subproblems[subproblem].region.bounding_box()
    polytope = state.subproblems[subproblem].polytope
    return lowest(state.network, low, high, polytope.matrix[0]) - float(polytope.offset[0])


@pytest.mark.parametrize("objective", [Objective.FEASIBILITY, Objective.MAX_MARGIN])
@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_pairs_of_halved_boxes_claim_their_own_margins(kind: str, objective: Objective) -> None:
    """After every few steps, against the exact margin; the boxes of a subproblem, open and closed, cover its region."""
    settled = 0
    for seed in range(3):
        state = state_of(kind, seed, 0.25, objective)
        disjunct = state.excluded.disjuncts[0]
        search = input_split.InputSearch(state, disjunct, list(state.subproblems), "test")
        for _ in range(25):
            if not len(search.value):
                break
            taken = search.value.topk(min(4, len(search.value)), largest=False).indices
            rest = torch.ones_like(search.value, dtype=torch.bool)
            rest[taken] = False
            boxes = search.lower[taken], search.upper[taken], search.value[taken], search.subproblem[taken]
            search.lower, search.upper, search.value, search.subproblem = (
                t[rest] for t in (search.lower, search.upper, search.value, search.subproblem)
            )
            search._step(*boxes)
            search._report()
            for k, subproblem in enumerate(state.subproblems):
                assert subproblem.lower <= margin(kind, seed, 0.25, k) + 1e-9, (seed, k)
        settled += sum(subproblem.lower > 0 for subproblem in state.subproblems)
    assert settled > 0


def test_halves_cover_their_box() -> None:
    state = state_of("mlp", 0, 0.3)
    search = input_split.InputSearch(state, state.excluded.disjuncts[0], list(state.subproblems), "test")
    search.lower, search.upper = search.lower[:0], search.upper[:0]
    search.value, search.subproblem = search.value[:0], search.subproblem[:0]
    rng = np.random.default_rng(0)
    lower = torch.from_numpy(rng.random((5, 3)))
    upper = lower + torch.from_numpy(rng.random((5, 3)))
    upper[4] = lower[4]  # nothing to halve: it stays as it is, unproved
    subproblem, value = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([-5.0, -4.0, -3.0, -2.0, -9.0]).double()
    search._halve(lower, upper, value, subproblem, torch.from_numpy(rng.normal(size=(5, 2, 3))))
    assert float(search.closed[1]) == -9.0 and math.isinf(float(search.closed[0]))
    for k in range(4):
        points = lower[k] + torch.from_numpy(rng.random((200, 3))) * (upper[k] - lower[k])
        own = (search.subproblem == subproblem[k]) & (search.value == value[k])
        inside = (points[:, None] >= search.lower[own]) & (points[:, None] <= search.upper[own])
        assert int(own.sum()) == 2 and inside.all(-1).any(-1).all()


def test_bounds_of_other_centers_and_larger_balls_are_not_reused() -> None:
    """What is known of a ball counts for the same ball, or for smaller ones around the same center."""
    network = random_network("mlp", 0)
    rng = np.random.default_rng(0)
    first, second = rng.random(3), rng.random(3)
    for norm in ("inf", "1", "2"):
        known = opened(network, robustness(first, 0, Threat(norm, 1 / 16), 3)).region_bounds
        for center, radius in ((first, 2), (first, 1), (second, 1), (second, 0.5), (first, 6), (first, 0.25)):
            radius = radius / 16
            region = robustness(center, 0, Threat(norm, radius), 3).region
            found = known.of(region)
            moves = torch.from_numpy(rng.normal(size=(400, 3)))
            ball = get_norm(norm)
            points = torch.from_numpy(center) + ball.project(moves, torch.full((400,), radius, dtype=torch.float64))
            values = evaluate_all(network, points.clamp(0, 1))
            for node, interval in found.intervals.items():
                assert (values[node] >= interval.lower - 1e-9).all() and (values[node] <= interval.upper + 1e-9).all()


def test_several_cases_of_one_search_have_regions_of_their_own() -> None:
    """Two boxes, one of them unsafe: subproblems are bounded over their own disjunct's region, in trees and propagation."""
    network = random_network("mlp", 2)
    row = np.array([[1.0, -1.0, 0.0]])
    regions = [Region(np.full(3, a), np.full(3, a + 0.15)) for a in (0.05, 0.4, 0.8)]
    truths = [lowest(network, region.lower, region.upper, row[0]) for region in regions]
    level = float(np.sort(truths)[1] - 1e-3)  # the threshold: one region reaches below it
    polytope = Polytope(row, np.array([level]), np.array([False]))
    specification = Specification(tuple(Disjunct(region, (polytope,)) for region in regions))
    state = opened(network, specification)
    Propagate().run(state, 30.0)
    for subproblem, truth in zip(state.subproblems, truths, strict=True):
        assert subproblem.lower <= truth - level + 1e-9
    state = opened(network, specification)
    ReluSearch(
        [Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems], "test", threshold=1e-9
    ).run(20.0)
    for subproblem, truth in zip(state.subproblems, truths, strict=True):
        assert subproblem.lower <= truth - level + 1e-9
    assert sum(subproblem.lower > 0 for subproblem in state.subproblems) == 2


def test_crown_of_a_batch_is_that_of_its_members() -> None:
    """More members than are bounded together, each with bounds of its own that are known."""
    network = random_network("mlp", 3)
    rng = np.random.default_rng(3)
    center, reach = torch.from_numpy(rng.random((300, 3))), torch.from_numpy(rng.random((300, 1)) * 0.5)
    inputs = InputSet(center - reach, center + reach)
    together = crown(network, inputs)
    for k in (0, 7, 150, 299):
        alone = crown(network, inputs.rows(torch.tensor([k])))
        for node in network.bounded:
            torch.testing.assert_close(together[node].lower[k], alone[node].lower[0])
            torch.testing.assert_close(together[node].upper[k], alone[node].upper[0])

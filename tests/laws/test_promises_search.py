"""What single lines of searches, leaves, programs and doors promise, one at a time."""

import math

import numpy as np
import pytest
import torch
from networks import random_network
from scipy.sparse import csr_matrix

from advverify.verifier.api import certify
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import encode
from advverify.verifier.encoding.program import ColumnMap, ProgramBuilder
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.relu import bounds as domain_bounds
from advverify.verifier.engines.branch_and_bound.relu import leaf
from advverify.verifier.engines.branch_and_bound.relu.bounds import DomainBounds
from advverify.verifier.engines.branch_and_bound.relu.domain import Batch, BatchBounds
from advverify.verifier.engines.branch_and_bound.relu.engine import ReluSplit
from advverify.verifier.engines.branch_and_bound.relu.leaf import LeafSolver
from advverify.verifier.engines.branch_and_bound.support import search as support_split
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.state import SearchState
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate, evaluate_all, predict
from advverify.verifier.network.nodes import Network, Relu
from advverify.verifier.network.operators import Dense
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs, HighsLps, LpAnswer
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.solvers.protocol import SolveResult
from advverify.verifier.specification import Disjunct, Polytope, Region, Specification, Threat, robustness


def opened(network: Network, specification: Specification, objective: Objective) -> SearchState:
    return SearchState.open(
        Query(network, specification, objective), Settings(timeout=20, threads=1), NetworkExecutor(network)
    )


def phases_of(network: Network, values: list[torch.Tensor]) -> dict[int, np.ndarray]:
    """Of an input with these values of nodes (1, size)."""
    relus = {i: node for i, node in enumerate(network.nodes) if isinstance(node, Relu)}
    return {i: np.where(values[node.input][0].numpy() > 0, 1, -1).astype(np.int8) for i, node in relus.items()}


@pytest.mark.parametrize("objective", [Objective.MAX_MARGIN, Objective.MIN_DISTORTION])
@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_leaves_hold_the_points_of_their_phases(norm: str, objective: Objective) -> None:
    """A leaf's value is no higher than what any input with these phases has, and its own best input is in it."""
    seen = 0
    for kind in ("mlp", "residual", "conv"):
        for seed in range(3):
            network, rng = random_network(kind, seed), np.random.default_rng(seed)
            image = rng.random(network.input_size)
            label = int(predict(network, torch.from_numpy(image)[None]))
            state = opened(network, robustness(image, label, Threat(norm, 0.9), 3), objective)
            solver, region = LeafSolver(state), state.search_region(state.subproblems[0].region)
            for _ in range(4 if objective is Objective.MAX_MARGIN else 200):
                x = np.clip(image + (rng.random(len(image)) - 0.5) * 2 * rng.random(), 0, 1)
                if not region.contains(x):
                    continue
                values = evaluate_all(network, torch.from_numpy(x[None]))
                if objective is Objective.MIN_DISTORTION and int(values[-1].argmax()) == label:
                    continue
                phases = phases_of(network, values)
                for subproblem in state.subproblems:
                    value, point = solver.solve(subproblem, phases)
                    violation = subproblem.polytope.violation(values[-1][0].numpy())
                    if objective is Objective.MAX_MARGIN:
                        assert value <= violation + 1e-9
                        seen += value > -math.inf
                    elif violation <= 0:
                        assert value <= region.distance(x) + 1e-9
                        seen += 1
                    if objective is Objective.MIN_DISTORTION and point is not None and math.isfinite(value):
                        assert value <= region.distance(point) * (1 + 1e-7) + 1e-9
    assert seen >= 20


def test_supports_have_bounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are kept by support are those of the boxes they are given out for."""
    original, seen = support_split.SupportSearch._box_bounds, []

    def compared(self: support_split.SupportSearch, domains: list, inputs: InputSet):  # type: ignore[no-untyped-def, type-arg]
        found = original(self, domains, inputs)
        share = torch.from_numpy(np.random.default_rng(0).random((64, 1, inputs.lower.shape[1])))
        for k in range(len(domains)):
            points = inputs.lower[k] + share[:, 0].round() * (inputs.upper[k] - inputs.lower[k])
            values = evaluate_all(self.network, points)
            for node in self.network.bounded:
                assert (values[node] >= found[node].lower[k] - 1e-4).all()
                assert (values[node] <= found[node].upper[k] + 1e-4).all()
        seen.append(len({(domain.status > 0).tobytes() for domain in domains}))
        return found

    monkeypatch.setattr(support_split.SupportSearch, "_box_bounds", compared)
    for seed in range(6):
        network = random_network("wide", seed)
        image = np.random.default_rng(seed).random(network.input_size)
        label = int(predict(network, torch.from_numpy(image)[None]))
        certify(
            network, image, label, Threat("0", 2), settings=Settings(timeout=10, threads=1), engines=("support-split",)
        )
    assert sum(count > 1 for count in seen) >= 3, seen


def test_domains_claim_nothing_of_what_they_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """For inputs of a domain: no violation below its value, and none within the level beyond its half-space."""
    original, seen, halves = DomainBounds.bound, [0], [0]
    rng = np.random.default_rng(0)

    def compared(self: DomainBounds, batch: Batch, *rest: object) -> BatchBounds:
        found = original(self, batch, *rest)  # type: ignore[arg-type]
        regions_ = self.stack.rows(self._places[batch.subproblems]).inputs
        share = torch.from_numpy(rng.random((400, regions_.lower.shape[1])))
        share = torch.cat([share, share.round()])
        for k in range(len(batch)):
            points = regions_.lower[k] + share * (regions_.upper[k] - regions_.lower[k])
            values = evaluate_all(self.network, points)
            read = torch.cat([values[self._read(i)] for i in self.columns.relus], -1)
            inside = ((batch.phases[k] == 0) | (read * batch.phases[k] >= 0)).all(-1)
            violation = (values[-1] @ self.rows[batch.subproblems[k]].T + self.offset[batch.subproblems[k]]).amax(-1)[
                inside
            ]
            if not len(violation):
                continue
            seen[0] += 1
            assert float(found.value[k]) <= float(violation.min()) + 1e-6
            if found.halfspace is not None:
                level = self.state.upper if self.state.query.objective is Objective.MAX_MARGIN else self.threshold
                beyond = points[inside] @ found.halfspace.coefficients[k] + found.halfspace.offset[k] > 1e-9
                assert (violation[beyond] >= level - 1e-9).all()
                halves[0] += int(beyond.sum())
        return found

    monkeypatch.setattr(DomainBounds, "bound", compared)
    monkeypatch.setattr(domain_bounds, "_REFINE_UNSTABLE", 1000)
    for kind in ("mlp", "conv", "residual"):
        for seed in range(2):
            network = random_network(kind, seed)
            center = np.random.default_rng(seed).random(network.input_size)
            region = Region(np.maximum(center - 0.5, 0), np.minimum(center + 0.5, 1))
            y = evaluate(network, torch.from_numpy(center)[None])[0].numpy()
            rows = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
            polytope = Polytope(rows, rows @ y - 0.1, np.zeros(2, dtype=bool))
            specification = Specification((Disjunct(region, (polytope,)),))
            for objective in (Objective.FEASIBILITY, Objective.MAX_MARGIN):
                state = opened(network, specification, objective)
                ReluSplit().run(state, 3.0)
    assert seen[0] >= 50 and halves[0] > 0


def test_tied_channels_change_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pixels of two channels, (2, 1, 3): an input that differs in both channels of one pixel is at distance 1."""
    b = NetworkBuilder((2, 1, 3))
    weight = np.zeros((2, 6))
    weight[1, [1, 4]] = 1.0  # both channels of pixel 1 are needed: 0.5 + 0.5 + 2 * 0.45 > 1.8
    network = b.finish(
        b.affine(
            [b.relu(b.affine([0], [Dense(tensor(np.eye(6)))], np.zeros(6)))],
            [Dense(tensor(weight))],
            np.array([1.8, 0.0]),
        )
    )
    disjunct = robustness(np.full(6, 0.5), 0, Threat("0", math.inf, channels=2), 2).disjuncts[0]
    bounds = crown(network, InputSet.from_regions([disjunct.region]))
    program = encode(network, bounds, disjunct.region, disjunct.unsafe, Objective.MIN_DISTORTION)
    result = Highs().solve(program, SolveOptions(time_limit=20.0))
    assert result.status is SolverStatus.OPTIMAL and result.point is not None
    assert float(program.cost @ result.point) + program.offset == pytest.approx(1.0)


def test_proving_refuses_what_is_no_number_and_what_cannot_be() -> None:
    network = random_network("mlp", 0)
    image = np.full(3, 0.5)
    label = int(predict(network, torch.from_numpy(image)[None]))
    state = opened(network, robustness(image, label, Threat("inf", 0.25), 3), Objective.MIN_DISTORTION)
    for value in (math.nan, math.inf):  # no farther than the limit can be seen
        with pytest.raises(FloatingPointError):
            state.raise_lower_bound(state.subproblems[0], value, "test")
    state.raise_lower_bound(state.subproblems[0], -math.inf, "test")  # a solver that proved nothing claims nothing
    assert state.subproblems[0].lower == 0.0
    asked = opened(network, robustness(image, label, Threat("inf", 0.25), 3), Objective.FEASIBILITY)
    with pytest.raises(FloatingPointError):
        asked.raise_lower_bound(asked.subproblems[0], math.nan, "test")
    assert asked.subproblems[0].lower == -math.inf


def nearest_leaf(seed: int) -> tuple[Network, np.ndarray, int, dict[int, np.ndarray], float, int] | None:
    """A network, an image, and phases of a leaf with an unsafe input; the leaf's distance, and the rival's number."""
    network, rng = random_network("mlp", seed), np.random.default_rng(seed)
    image = rng.random(network.input_size)
    label = int(predict(network, torch.from_numpy(image)[None]))
    state = opened(network, robustness(image, label, Threat("2", math.inf), 3), Objective.MIN_DISTORTION)
    for x in rng.random((400, len(image))):
        values = evaluate_all(network, torch.from_numpy(x[None]))
        for k, subproblem in enumerate(state.subproblems):
            if subproblem.polytope.violation(values[-1][0].numpy()) < -0.05:
                phases = phases_of(network, values)
                value, _ = LeafSolver(state).solve(subproblem, phases)
                return network, image, label, phases, value, k
    return None


def test_leaves_in_balls_are_empty_only_where_their_nearest_point_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    for seed in range(8):
        if (found := nearest_leaf(seed)) is None or found[4] < 0.01:
            continue
        network, image, label, phases, distance_, k = found
        for share, inside in ((1.03, True), (1.2, True), (0.98, False)):
            specification = robustness(image, label, Threat("2", share * distance_), 3)
            state = opened(network, specification, Objective.FEASIBILITY)
            value, _ = LeafSolver(state).solve(state.subproblems[k], phases)
            assert (value <= 0) is inside, (seed, share, value)
        seen += 1
        with monkeypatch.context() as patch:  # a solver that calls everything infeasible
            patch.setattr(leaf, "convex_solver", lambda _: Infeasible())
            value, _ = LeafSolver(state).solve(state.subproblems[k], phases)
            state = opened(network, robustness(image, label, Threat("2", 1.2 * distance_), 3), Objective.FEASIBILITY)
            assert LeafSolver(state).solve(state.subproblems[k], phases)[0] == -math.inf
    assert seen >= 3


class Infeasible:
    def solve(self, *_: object) -> SolveResult:
        return SolveResult(SolverStatus.INFEASIBLE, None, math.inf, -math.inf, 0.0)


def test_a_ray_is_evaluated_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = ProgramBuilder()
    columns = builder.columns(np.zeros(2), np.ones(2), integer=True)
    builder.rows(csr_matrix(np.array([[1.0, 1.0]])), np.array([1.0]), np.array([np.inf]))
    program = builder.finish({int(c): 1.0 for c in columns}, ColumnMap(columns))
    assert LpTree(program).minimum(10.0).bound == pytest.approx(1.0)

    def lie(self: HighsLps, *_: object) -> LpAnswer:
        return LpAnswer(None, None, np.ones(1), False)

    monkeypatch.setattr(HighsLps, "solve", lie)
    assert LpTree(program).minimum(10.0).bound <= 1.0

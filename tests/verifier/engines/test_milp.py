"""The MILP engine, alone and with others: three objectives in four norms against enumeration, and against solvers that lie."""

import functools
import itertools
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from networks import random_network
from oracle import margin_within, nearest

from advverify.verifier.api import certify, distance
from advverify.verifier.encoding import MixedIntegerProgram, encode
from advverify.verifier.encoding.program import ColumnMap
from advverify.verifier.engines import MilpOptions, SearchState, Settings, get_engine
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.milp import ask, euclidean, target
from advverify.verifier.mip_record import ABOVE_CUTOFF, CONFIRMATION, RELAXATION, SETTLED
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import SolveOptions, SolveResult, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.solvers.lp_tree import LpTree, TreeResult
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness

EXACT = Settings(timeout=10, gap=5e-7, threads=1)
_OF_SOLVES = ("highs", "lp tree", "qp tree")
NORMS = ("inf", "1", "2", "0")


def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


@functools.cache
def margin(kind: str, seed: int, norm: str, eps: float) -> float:
    """The truth, once a process."""
    network, image, label = case(kind, seed)
    return margin_within(network, image, label, norm, eps)


@functools.cache
def reach(kind: str, seed: int, norm: str) -> float:
    """The distance, once a process."""
    network, image, label = case(kind, seed)
    return nearest(network, image, label, norm)


def radii(kind: str, seed: int, norm: str) -> tuple[float, ...]:
    """A radius within the distance and one beyond it, so that margins of both signs are asked for."""
    truth = reach(kind, seed, norm)
    if norm == "0":
        return (1.0, 2.0)
    return (0.8 * truth, 1.3 * truth) if np.isfinite(truth) else (0.3,)


@pytest.mark.parametrize("engines", [("milp",), ("propagate", "relu-split"), ()], ids=lambda n: "+".join(n) or "all")
@pytest.mark.parametrize("norm", NORMS)
def test_margins_are_exact_in_every_norm(norm: str, engines: tuple[str, ...]) -> None:
    negative = positive = 0
    for kind, seed in itertools.product(("mlp", "residual"), range(3)):
        network, image, label = case(kind, seed)
        for eps in radii(kind, seed, norm):
            truth = margin(kind, seed, norm, eps)
            outcome = certify(network, image, label, Threat(norm, eps), exact_margin=True, settings=EXACT, engines=engines)  # fmt: skip
            bracket = outcome.bracket
            assert bracket.lower <= truth + 1e-6 and bracket.upper >= truth - 1e-6, (kind, seed, eps, truth, bracket)
            closed = bracket.gap <= 2e-6 * max(1.0, abs(truth))
            negative += closed and truth < 0
            positive += closed and truth > 0
    if norm != "0" or "relu-split" not in engines:  # it leaves norm 0 to others
        assert negative >= 2 and positive >= 2, (negative, positive)


@pytest.mark.parametrize("engines", [("milp",), ("falsify", "milp")], ids="+".join)
@pytest.mark.parametrize("norm", NORMS)
def test_verdicts_and_distances_are_exact_in_every_norm(norm: str, engines: tuple[str, ...]) -> None:
    settled = asked = 0
    for kind, seed in itertools.product(("mlp", "residual"), range(3)):
        network, image, label = case(kind, seed)
        truth = reach(kind, seed, norm)
        bracket = distance(network, image, label, Threat(norm), settings=EXACT, engines=engines).bracket
        assert bracket.lower <= truth * (1 + 1e-6) and bracket.upper >= truth * (1 - 1e-6), (kind, seed)
        settled += bracket.lower == bracket.upper == truth or bracket.gap <= 2e-6 * max(1.0, truth)
        asked += 1
        for eps in radii(kind, seed, norm):
            verdict = certify(network, image, label, Threat(norm, eps), settings=EXACT, engines=engines).verdict
            assert verdict is not (Verdict.ADVERSARIAL if eps < truth else Verdict.ROBUST), (kind, seed, eps)
            settled += verdict is not Verdict.UNKNOWN
            asked += 1
    assert settled >= 0.9 * asked, (settled, asked)


class Liar:
    """HiGHS, whose answers about mixed-integer programs are falsified afterwards."""

    name, features = "liar", frozenset({"lp", "milp"})

    def __init__(self, lie: str) -> None:
        self.lie = lie

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        result = Highs().solve(program, replace(options, progress=None))
        if not program.integer.any():
            return result
        match self.lie:
            case "infeasible":
                return SolveResult(SolverStatus.INFEASIBLE, None, np.inf, -np.inf, result.seconds)
            case "bound":  # a bound above the optimum, beside a point that is no better
                raised = result.objective + 0.1 * (1 + abs(result.objective))
                return replace(result, dual_bound=raised, objective=raised, point=None)
            case "optimum":  # worse than what is attained, and called optimal
                worse = result.objective + 0.05 * (1 + abs(result.objective))
                return replace(result, dual_bound=worse, objective=worse)
        raise AssertionError(self.lie)


@pytest.mark.parametrize("lie", ["infeasible", "bound", "optimum"])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("tighten", ["lp", "none"])
def test_no_lower_side_rests_on_a_solver_that_lies(
    norm: str, lie: str, tighten: Literal["lp", "none"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without bounds from LPs as well: they leave no binaries of networks as small as these, and so nothing to lie about."""
    exact = replace(EXACT, milp=MilpOptions(tighten=tighten))
    for module in (ask, euclidean):
        monkeypatch.setattr(module, "get_solver", lambda _: Liar(lie))
    settled = 0
    for kind, seed in (("mlp", 0), ("mlp", 1), ("residual", 1)):
        network, image, label = case(kind, seed)
        truth = reach(kind, seed, norm)
        lower = distance(network, image, label, Threat(norm), settings=exact, engines=("milp",)).bracket.lower
        assert lower <= truth * (1 + 1e-6), (kind, seed)
        settled += lower >= 0.99 * truth
        for eps in radii(kind, seed, norm):
            least = margin(kind, seed, norm, eps)
            verdict = certify(network, image, label, Threat(norm, eps), settings=exact, engines=("milp",)).verdict
            assert verdict is not (Verdict.ADVERSARIAL if least > 1e-6 else Verdict.ROBUST), (kind, seed, eps)
            bracket = certify(network, image, label, Threat(norm, eps), exact_margin=True, settings=exact, engines=("milp",)).bracket  # fmt: skip
            assert bracket.lower <= least + 1e-6, (kind, seed, eps, least, bracket)
            settled += (verdict is not Verdict.UNKNOWN) + (bracket.lower >= least - 1e-4)
    # of 15: the trees settle what the solver is wrong about
    assert settled >= 8


@pytest.mark.parametrize("norm", ["inf", "1"])
def test_infeasibility_that_no_tree_had_time_to_look_at_is_no_verdict(
    norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tree finds the point that the solver denies, and the claim is refuted whether it was believed or not."""
    for module in (ask, euclidean):
        monkeypatch.setattr(module, "get_solver", lambda _: Liar("infeasible"))
    monkeypatch.setattr(LpTree, "minimum", lambda *_, **__: TreeResult(-np.inf, None, np.inf, 0, 0, False))
    unsettled = 0
    for kind, seed in (("mlp", 0), ("residual", 1)):
        network, image, label = case(kind, seed)
        eps = 1.3 * reach(kind, seed, norm)
        settings = replace(EXACT, milp=MilpOptions(tighten="none", cuts="none"))
        found = certify(network, image, label, Threat(norm, eps), settings=settings, engines=("milp",))
        assert found.verdict is not Verdict.ROBUST, (kind, seed)
        unsettled += "was not proved so in time" in found.reason or found.verdict is Verdict.ADVERSARIAL
    assert unsettled == 2


@pytest.mark.parametrize("seed", range(12))
def test_the_tree_of_lps_against_enumeration(seed: int) -> None:
    """Random programs with a few binaries: the optimum, no feasible point, and any bound on the way there."""
    rng = np.random.default_rng(seed)
    rows, binaries, others = 4, 4, 2
    count = binaries + others
    program = MixedIntegerProgram(
        sp.csr_matrix(rng.integers(-3, 4, (rows, count)).astype(float)),
        np.full(rows, -np.inf),
        rng.integers(-3, 3, rows).astype(float),
        np.concatenate([np.zeros(binaries), np.full(others, -1.0)]),
        np.ones(count),
        rng.normal(size=count),
        np.arange(count) < binaries,
        ColumnMap(np.arange(binaries, count), {}),
    )
    best = np.inf
    for choice in itertools.product((0.0, 1.0), repeat=binaries):
        fixed = program.fixed(np.arange(binaries), np.array(choice)).relaxed()
        result = Highs().solve(fixed, SolveOptions())
        best = min(best, result.objective if result.status is SolverStatus.OPTIMAL else np.inf)
    tree = LpTree(program).minimum(5.0)
    assert tree.finished and tree.bound <= best + 1e-9
    assert tree.bound == np.inf if best == np.inf else abs(tree.bound - best) < 1e-6
    if np.isfinite(best):
        assert abs(tree.objective - best) < 1e-6
        assert LpTree(program).minimum(5.0, target=best - 0.5).bound >= best - 0.5 - 1e-9
        assert LpTree(program).minimum(5.0, target=best + 0.5).bound <= best + 1e-9


@pytest.mark.parametrize("engines", [("mip",), ("falsify", "propagate", "milp")], ids=["tree first", "solver alone"])
@pytest.mark.parametrize("norm", NORMS)
def test_every_program_leaves_a_record(norm: str, engines: tuple[str, ...]) -> None:
    """What it says of bounds is true, what it says of points it has, and it is about this query's targets."""
    solved = 0
    for seed in range(4):
        network, image, label = case("mlp", seed)
        truth = reach("mlp", seed, norm)
        settings = replace(EXACT, milp=MilpOptions(tighten="none", cuts="none"))
        outcome = distance(network, image, label, Threat(norm), settings=settings, engines=engines)
        assert outcome.bracket.lower == pytest.approx(truth, abs=1e-5) or not np.isfinite(truth)
        for record in outcome.mips:
            solvers = ("highs", "lp tree", "qp tree", "row tree") if record.role == CONFIRMATION else _OF_SOLVES
            assert record.target and record.solver in solvers and record.version and record.binaries >= 0
            assert record.rows > 0 and record.nonzeros > 0 and record.seconds >= 0 and record.began >= 0
            assert all(value <= record.primal + 1e-6 for value in record.root.values())
            known = [value for step, value in record.root.items() if step != "solver"]
            assert all(value <= record.proved + 1e-9 * (1 + abs(value)) for value in known), record
            found = record.status in (SolverStatus.OPTIMAL.value, SolverStatus.LIMIT_WITH_INCUMBENT.value)
            none = record.status in (SolverStatus.INFEASIBLE.value, SolverStatus.LIMIT.value, SETTLED)
            assert not (found and record.primal == np.inf)
            assert not (none and record.primal < np.inf), record
            assert (record.status == SETTLED) == (record.role == RELAXATION)
            trees = record.solver in ("lp tree", "qp tree")
            assert (record.cutoff is not None) == trees and (record.iterations is not None or not trees), record
            assert record.status != ABOVE_CUTOFF or record.proved >= (record.cutoff or 0.0) * (1 - 1e-9)
            assert all(a[1:] != b[1:] for a, b in itertools.pairwise(record.trace))
            assert all(b[1] <= a[1] for a, b in itertools.pairwise(record.trace))
            times = [seconds for seconds, _, _ in record.trace]
            duals = [dual for _, _, dual in record.trace]
            assert times == sorted(times) and all(a <= b + 1e-9 for a, b in itertools.pairwise(duals))
            assert all(dual <= primal + 1e-6 * (1 + abs(primal)) for _, primal, dual in record.trace)
            solved += record.nodes is not None
        again = Outcome.from_json(outcome.to_json()).mips
        assert [record.to_dict() for record in again] == [record.to_dict() for record in outcome.mips]
    assert solved >= 2


class Idle:
    """A solver that runs out of time at its root."""

    name, features = "idle", frozenset({"lp", "milp"})

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        return SolveResult(SolverStatus.LIMIT, None, np.inf, -5e-12, 0.01, root_bound=-5e-12, version="1")


def test_a_claim_below_what_is_known_is_not_proved_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other engines proved stays in the records, no distance is below 0, and our own tree gets the time instead."""
    monkeypatch.setattr(ask, "get_solver", lambda _: Idle())
    asked = 0
    for seed in range(3):
        network, image, label = case("mlp", seed)
        truth = reach("mlp", seed, "inf")
        specification = robustness(image, label, Threat("inf"), network.output_size, "")
        settings = replace(EXACT, milp=MilpOptions(tighten="none", cuts="none"))
        state = SearchState.open(
            Query(network, specification, Objective.MIN_DISTORTION), settings, NetworkExecutor(network)
        )
        get_engine("falsify").run(state, 5.0)
        for subproblem in state.subproblems:
            state.raise_lower_bound(subproblem, 0.5 * truth, "propagate")
        get_engine("milp").run(state, 10.0)
        idle = [record for record in state.mips if record.solver == Idle.name]
        assert not [record for record in state.mips if record.role == CONFIRMATION]
        for record in idle:
            assert record.proved >= 0.5 * truth and record.dual == 0.0 == record.root["solver"], record
        assert state.bracket.lower <= truth * (1 + 1e-6) and state.bracket.relative_gap <= 1e-6
        asked += len(idle)
    assert asked > 0


@pytest.mark.parametrize("targets", ["separate", "joint"])
def test_what_settles_a_query_leaves_a_record(targets: Literal["separate", "joint"]) -> None:
    """A relaxation, or a solver and the confirmation of what it claims; a joint target is named by what it joins."""
    relaxed = confirmed = 0
    for seed in range(4):
        network, image, label = case("mlp", seed)
        truth = reach("mlp", seed, "inf")
        settings = replace(EXACT, milp=MilpOptions(tighten="none", cuts="none", targets=targets))
        for eps in (0.2 * truth, 0.97 * truth):
            outcome = certify(network, image, label, Threat("inf", eps), settings=settings, engines=("milp",))
            assert outcome.verdict is Verdict.ROBUST
            last = {record.target: record for record in outcome.mips}
            names = {f"class {k}" for k in range(network.output_size) if k != label}
            joint = {f"all {network.output_size - 1} classes, joint"}
            assert set(last) == (joint if targets == "joint" else names), set(last)
            for record in last.values():
                assert record.role in (RELAXATION, CONFIRMATION) and record.proved > 0, record
                relaxed, confirmed = relaxed + (record.role == RELAXATION), confirmed + (record.role == CONFIRMATION)
    assert relaxed > 0 and confirmed > 0


def test_the_best_witness_is_where_a_solver_starts() -> None:
    """As a point of the program it satisfies all rows, at the distance that is known."""
    found = 0
    for norm, kind in itertools.product(("inf", "1"), ("mlp", "conv", "residual", "leaky")):
        network, image, label = case(kind, 1)
        specification = robustness(image, label, Threat(norm), network.output_size, "")
        state = SearchState.open(
            Query(network, specification, Objective.MIN_DISTORTION), EXACT, NetworkExecutor(network)
        )
        get_engine("falsify").run(state, 5.0)
        if state.witness is None:
            continue
        starts = []
        for subproblem in state.subproblems:
            region = state.query.specification.with_radius(state.upper * (1 + 1e-6)).region
            program = encode(network, state.bounds(region), region, (subproblem.polytope,), Objective.MIN_DISTORTION)
            start = target.start_of(state, program)
            if start is not None:
                assert program.violation(start) <= 1e-6
                starts.append(program.objective(start))
        assert min(starts) == pytest.approx(state.upper, rel=1e-5)
        found += 1
    assert found >= 6


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
def test_a_tie_is_no_answer_where_something_deeper_is_in_reach(norm: str) -> None:
    """Outputs 0 and relu(x - 0.5) tie around the image: what a solver calls feasible there is no adversarial example."""
    builder = NetworkBuilder((2,))
    hidden = builder.relu(builder.affine([0], [Dense(tensor(np.eye(2)))], np.array([-0.5, -0.5])))
    network = builder.finish(builder.affine([hidden], [Dense(tensor(np.array([[0.0, 0.0], [1.0, 0.0]])))], np.zeros(2)))
    outcome = certify(
        network, np.array([0.2, 0.3]), 0, Threat(norm, 1.0 if norm == "0" else 0.7), settings=EXACT, engines=("milp",)
    )
    assert outcome.verdict is Verdict.ADVERSARIAL

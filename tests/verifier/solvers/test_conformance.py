"""What every adapter of a solver has to do, whichever solver it is.

Adapters whose solver is not installed, or has no licence, are tested as far as the modelling layer goes: the model that is built
for them, read back by HiGHS, and their parameters; the tests that need the solver say why they were skipped.
"""

import functools
import importlib.util
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mip_files import solve_by_highs
from programs import knapsack

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram, QuadraticBall
from advverify.verifier.errors import InvalidInput, SolverUnavailable
from advverify.verifier.solvers import (
    FEATURES,
    SOLVERS,
    Progress,
    SolveOptions,
    Solver,
    SolverStatus,
    adapter,
    get_solver,
)
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.solvers.pulp import Evidence, ThroughPulp, judged, to_pulp

SECONDS = SolveOptions(time_limit=20.0)


@functools.cache
def why_not(name: str) -> str:
    """Why a solver cannot be run here, "" where it can."""
    try:
        solver = get_solver(name)
    except SolverUnavailable as missing:
        return str(missing)
    note = solver.solve(knapsack(), SECONDS).note
    return note if "licen" in note.lower() else ""


@pytest.fixture(params=SOLVERS)
def solver(request: pytest.FixtureRequest) -> Solver:
    """Each solver that can be run here."""
    name: str = request.param
    if why_not(name):
        pytest.skip(why_not(name))
    return get_solver(name)


def program(
    matrix: np.ndarray,
    low: np.ndarray | float,
    high: np.ndarray | float,
    cost: np.ndarray,
    whole: np.ndarray | bool = True,
    top: float = 1.0,
) -> MixedIntegerProgram:
    """Columns in [0, top]."""
    rows, columns = matrix.shape
    return MixedIntegerProgram(
        sp.csr_matrix(matrix.astype(float)),
        np.broadcast_to(np.asarray(low, dtype=np.float64), (rows,)),
        np.broadcast_to(np.asarray(high, dtype=np.float64), (rows,)),
        np.zeros(columns),
        np.full(columns, top),
        cost.astype(float),
        np.broadcast_to(np.asarray(whole), (columns,)).copy(),
        ColumnMap(np.arange(columns)),
    )


def hard(columns: int = 60, rows: int = 20) -> MixedIntegerProgram:
    """A multi-dimensional knapsack that no solver finishes in a moment; it has a point at 0."""
    rng = np.random.default_rng(0)
    matrix = rng.integers(0, 99, (rows, columns)).astype(float)
    return program(matrix, -np.inf, matrix.sum(1) // 3, -matrix.mean(0) - 5 * rng.random(columns))


def random_program(seed: int, quadratic: bool = False) -> MixedIntegerProgram:
    """Four binaries, two columns between, rows of all kinds, an offset; often infeasible."""
    rng = np.random.default_rng(seed)
    whole = np.arange(6) < 4
    side = rng.integers(-3, 3, 4).astype(float)
    kind = rng.integers(0, 3, 4)
    rows = rng.integers(-3, 4, (4, 6)).astype(float)
    found = program(
        rows, np.where(kind == 1, side - 1, -np.inf), np.where(kind == 2, np.inf, side + 1.0), rng.normal(size=6), whole
    )
    found = replace(found, offset=2.5, col_lower=np.where(whole, 0.0, -1.0))
    return replace(found, hessian=np.where(whole, 0.0, rng.random(6))) if quadratic else found


def optimum(given: MixedIntegerProgram) -> float:
    """The truth, by every choice of binaries; inf where there is no point."""
    columns, best = np.flatnonzero(given.integer), np.inf
    for choice in itertools.product((0.0, 1.0), repeat=len(columns)):
        result = Highs().solve(given.fixed(columns, np.array(choice)).relaxed(), SolveOptions())
        best = min(best, result.objective if result.status is SolverStatus.OPTIMAL else np.inf)
    return best


def test_it_says_what_it_is() -> None:
    for name in SOLVERS:
        solver = adapter(name)
        assert solver.name == name and solver.features <= FEATURES.keys() and {"lp", "milp"} <= solver.features
        assert solver.through and solver.install


def test_a_solver_that_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name in ("glpk", "gurobi", "cplex", "xpress", "copt", "mosek"):
        with pytest.raises(SolverUnavailable, match=f"^{name} is not installed: .*, or choose the solver highs$"):
            get_solver(name)
    with pytest.raises(InvalidInput, match="unknown solver 'nobody': choose among highs, scip, "):
        get_solver("nobody")


def test_optimum(solver: Solver) -> None:
    for offset in (0.0, 7.5):
        result = solver.solve(replace(knapsack(), offset=offset), SECONDS)
        assert result.status is SolverStatus.OPTIMAL and not result.note, result
        assert result.objective == pytest.approx(-13.0 + offset) and result.version
        assert result.point is not None and result.point == pytest.approx([2.0, 0.0, 1.0], abs=1e-6)
        assert -13.0 + offset - 1e-4 <= result.dual_bound <= -13.0 + offset + 1e-9
        assert result.nodes is not None or "nodes" not in solver.features


def test_no_rows(solver: Solver) -> None:
    given = knapsack()
    result = solver.solve(given.with_only(np.zeros(0, dtype=np.int64)), SECONDS)
    assert result.status is SolverStatus.OPTIMAL and result.objective == pytest.approx(-120.0)


def test_linear_programs(solver: Solver) -> None:
    relaxed = replace(knapsack().relaxed(), cost=np.array([-5.0, -4.5, -3.0]))
    ours, theirs = Highs().solve(relaxed, SECONDS), solver.solve(relaxed, SECONDS)
    assert theirs.status is SolverStatus.OPTIMAL and theirs.objective == pytest.approx(ours.objective)


def test_infeasible(solver: Solver) -> None:
    """By its bounds, by its relaxation, by whole numbers alone; each also without presolve."""
    given = knapsack()
    far = given.with_rows(sp.csr_matrix(np.ones((1, 3))), np.array([40.0]), np.array([50.0]))
    odd = program(np.array([[2.0, 2, 2]]), 3.0, 3.0, np.ones(3))
    apart = program(np.array([[1.0, 1, 0], [1, 1, 1]]), np.array([1.6, -9]), np.array([9, 1.5]), np.ones(3), False)
    for each, presolve in itertools.product((far, far.relaxed(), odd, apart), (True, False)):
        result = solver.solve(each, replace(SECONDS, presolve=presolve))
        assert result.status is SolverStatus.INFEASIBLE and result.point is None, (result, presolve)


def test_unbounded(solver: Solver) -> None:
    """Not every solver can tell it from infeasible; none calls it optimal."""
    given = replace(knapsack(), row_lower=np.full(3, -9.0), row_upper=np.full(3, np.inf), col_upper=np.full(3, np.inf))
    for each in (given, given.relaxed()):
        result = solver.solve(each, SECONDS)
        assert result.status in (SolverStatus.UNBOUNDED, SolverStatus.LIMIT, SolverStatus.LIMIT_WITH_INCUMBENT)
        assert result.dual_bound == -np.inf


def test_no_time_at_all_is_a_limit(solver: Solver) -> None:
    result = solver.solve(hard(), SolveOptions(time_limit=0.0))
    assert result.status in (SolverStatus.LIMIT, SolverStatus.LIMIT_WITH_INCUMBENT), result


def test_a_limit_is_no_verdict(solver: Solver) -> None:
    """PuLP calls this optimal, or infeasible, of some solvers."""
    known = Highs().solve(hard(), SolveOptions(time_limit=0.6)).objective
    result = solver.solve(hard(), SolveOptions(time_limit=0.6))
    assert result.status is SolverStatus.LIMIT_WITH_INCUMBENT and not result.note, result
    assert result.point is not None and hard().violation(result.point) <= 1e-6
    assert result.dual_bound <= min(known, result.objective)
    assert np.isfinite(result.dual_bound) == ("bound" in solver.features)
    narrow = replace(hard(), row_lower=hard().row_upper)  # nobody finds a point, or shows that there is none
    result = solver.solve(narrow, SolveOptions(time_limit=0.6))
    assert result.status is SolverStatus.LIMIT and result.point is None, result


def test_kinds_that_it_does_not_take_are_refused(solver: Solver) -> None:
    curved = replace(knapsack(), hessian=np.ones(3))
    # (2, 0, 0) is the best whole point there; without whole numbers and rows the ball alone stops the objective
    round_ = replace(knapsack(), ball=QuadraticBall(np.arange(3), np.array([1.0, 0.0, 0.0]), 1.0))
    inside = -5.0 - np.sqrt(50.0)
    for kind, each, least in (
        ("miqp", curved, -10.5),
        ("qp", curved.relaxed(), -10.5),
        ("miqcp", round_, -10.0),
        ("qcp", replace(round_.relaxed(), row_upper=np.full(3, 99.0)), inside),
    ):
        if kind in solver.features:
            result = solver.solve(each, SECONDS)
            assert result.status is SolverStatus.OPTIMAL and result.point is not None
            assert result.objective == pytest.approx(least, abs=1e-5)
            assert each.violation(result.point) <= 1e-6
            assert result.dual_bound <= least + 1e-6
        else:
            with pytest.raises(InvalidInput, match=f"'{solver.name}' takes no {kind.upper()}: it solves linear"):
                solver.solve(each, SECONDS)


def test_it_begins_at_the_start(solver: Solver) -> None:
    """A start that is hard to find is never lost, not even in no time; one that is no point harms nothing."""
    best = Highs().solve(hard(), SolveOptions(time_limit=0.6))
    assert best.point is not None
    start = np.round(best.point)
    result = solver.solve(hard(), SolveOptions(time_limit=0.6, start=start))
    assert result.status is SolverStatus.LIMIT_WITH_INCUMBENT, result
    if "start" in solver.features:
        assert result.objective <= hard().objective(start) + 1e-6
    wrong = solver.solve(knapsack(), replace(SECONDS, start=np.full(3, 9.0)))
    assert wrong.status is SolverStatus.OPTIMAL and wrong.objective == pytest.approx(-13.0)


def test_cutoff(solver: Solver) -> None:
    for cutoff, there in ((-12.5, True), (-13.5, False)):
        result = solver.solve(knapsack(), replace(SECONDS, cutoff=cutoff))
        if there or "cutoff" not in solver.features:
            assert result.status is SolverStatus.OPTIMAL and result.objective == pytest.approx(-13.0)
        else:
            assert result.status is SolverStatus.INFEASIBLE and result.dual_bound <= -13.0


def test_stream_and_trace(solver: Solver) -> None:
    """Bounds move one way, points are points, and what is said last is no better than what came of it."""
    events: list[Progress] = []

    def progress(event: Progress) -> bool:
        events.append(event)
        return False

    result = solver.solve(hard(), SolveOptions(time_limit=0.6, progress=progress))
    for steps in (result.trace, [(event.seconds, event.primal, event.dual) for event in events]):
        for before, after in itertools.pairwise(steps):
            assert after[0] >= before[0] and after[1] <= before[1] + 1e-9 and after[2] >= before[2] - 1e-9
    if "stream" in solver.features:
        points = [event.incumbent for event in events if event.incumbent is not None]
        assert points and all(hard().violation(point) <= 1e-6 for point in points)
        assert len(result.trace) >= 2 and result.dual_bound >= max(event.dual for event in events) - 1e-6


def test_progress_stops_it(solver: Solver) -> None:
    if "stream" not in solver.features:
        pytest.skip(f"{solver.name} has no stream")
    result = solver.solve(hard(), SolveOptions(time_limit=60.0, progress=lambda event: True))
    assert result.status is SolverStatus.INTERRUPTED and result.dual_bound <= -1000.0, result


def test_an_error_of_progress_is_the_callers(solver: Solver) -> None:
    if "stream" not in solver.features:
        pytest.skip(f"{solver.name} has no stream")

    def progress(event: Progress) -> bool:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        solver.solve(hard(), SolveOptions(time_limit=60.0, progress=progress))


def test_ctrl_c(solver: Solver) -> None:
    """It interrupts at once, and leaves nothing behind that runs on."""
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            solver.solve(hard(), SolveOptions(time_limit=60.0))
    finally:
        timer.join()
    assert solver.solve(knapsack(), SECONDS).status is SolverStatus.OPTIMAL


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 100_000))
def test_no_bound_is_above_the_truth(solver: Solver, seed: int) -> None:
    given = random_program(seed)
    truth, result = optimum(given), solver.solve(given, replace(SECONDS, seed=seed % 7))
    if np.isinf(truth):
        assert result.status is SolverStatus.INFEASIBLE, result
    else:
        assert result.status is SolverStatus.OPTIMAL, result
        assert result.objective == pytest.approx(truth, abs=1e-5) and result.dual_bound <= truth + 1e-6
        assert result.point is not None and given.violation(result.point) <= 1e-6


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 100_000))
def test_quadratic_objectives(solver: Solver, seed: int) -> None:
    if "miqp" not in solver.features:
        pytest.skip(f"{solver.name} takes no MIQP")
    given = random_program(seed, quadratic=True)
    truth, result = optimum(given), solver.solve(given, SECONDS)
    if np.isinf(truth):
        assert result.status in (SolverStatus.INFEASIBLE, SolverStatus.LIMIT), result
    else:
        assert result.objective == pytest.approx(truth, abs=1e-4) and result.dual_bound <= truth + 1e-4


# -- as far as the modelling layer goes, whether a solver is there or not --------------------------------------------------


def through_pulp() -> Iterator[ThroughPulp]:
    for name in SOLVERS:
        found = adapter(name)
        if isinstance(found, ThroughPulp):
            yield found


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 100_000))
def test_pulps_model_is_the_program(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """All solvers behind PuLP get this model; HiGHS reads what PuLP writes of it."""
    given = replace(random_program(seed), offset=0.0)
    problem, variables = to_pulp(given)
    assert [(v.lowBound, v.upBound, v.cat == "Integer") for v in variables] == list(
        zip(given.col_lower, given.col_upper, given.integer, strict=True)
    )
    path = tmp_path_factory.mktemp("pulp") / "model.mps"
    problem.writeMPS(str(path))
    assert solve_by_highs(path) == pytest.approx(optimum(given), abs=1e-6)


def test_parameters_name_the_limits() -> None:
    options = SolveOptions(relative_gap=0.0125, threads=3, seed=11, presolve=False)
    for solver in through_pulp():
        said = repr(solver.parameters(options, 41.5, True, Path("log")))
        assert ("41.5" in said or "42" in said) and "0.0125" in said, solver.name
        assert "11" in said or "12" in said or solver.name == "copt", solver.name
        assert "3" in said.replace("12", "").replace("0.0125", "") or solver.name == "glpk", solver.name


@pytest.mark.parametrize("status", list(SolverStatus))
def test_a_status_alone_is_no_verdict(status: SolverStatus) -> None:
    """Optimal needs a point that holds and a bound that meets it; infeasible and unbounded are the solver's own words."""
    given, options = knapsack(), SolveOptions()
    assert judged(given, options, Evidence(status), 1.0, "").status not in (
        SolverStatus.OPTIMAL,
        SolverStatus.LIMIT_WITH_INCUMBENT,
    )
    for values, dual in (([9.0, 9.0, 9.0], -45.0), ([2.0, 0.0, 0.9], -12.7), ([2.0, 0.0, 1.0], -14.0)):
        result = judged(given, options, Evidence(status, values, dual), 1.0, "")
        assert result.status is not SolverStatus.OPTIMAL, (status, values)
    sure = judged(given, options, Evidence(status, [2.0, 0.0, 1.0], -13.0), 1.0, "").status
    assert (sure is SolverStatus.OPTIMAL) == (status is SolverStatus.OPTIMAL)


@pytest.mark.parametrize(
    ("name", "log", "status"),
    [
        (
            "cbc",
            "Result - Stopped on time limit\n\nObjective value:   -9.0\nLower bound:  -13.200\n",
            SolverStatus.LIMIT,
        ),
        ("cbc", "Result - Problem proven infeasible\n", SolverStatus.INFEASIBLE),
        ("cbc", "Result - Optimal solution found\n\nObjective value:   -13.0\n", SolverStatus.OPTIMAL),
        ("cbc", "", SolverStatus.LIMIT),
        ("glpk", "OPTIMAL LP SOLUTION FOUND\nTIME LIMIT EXCEEDED; SEARCH TERMINATED\n", SolverStatus.LIMIT),
        ("glpk", "OPTIMAL LP SOLUTION FOUND\n", SolverStatus.LIMIT),  # that of the relaxation
        ("glpk", "OPTIMAL LP SOLUTION FOUND\nINTEGER OPTIMAL SOLUTION FOUND\n", SolverStatus.OPTIMAL),
        ("glpk", "INTEGER OPTIMAL SOLUTION FOUND BY MIP PREPROCESSOR\n", SolverStatus.OPTIMAL),
        ("glpk", "PROBLEM HAS NO INTEGER FEASIBLE SOLUTION\n", SolverStatus.INFEASIBLE),
        ("glpk", "", SolverStatus.LIMIT),
    ],
)
def test_logs(name: str, log: str, status: SolverStatus) -> None:
    solver = adapter(name)
    assert isinstance(solver, ThroughPulp)
    _, variables = to_pulp(knapsack())
    said = solver.evidence(None, None, variables, True, log, SolveOptions())
    assert said.status is status
    assert said.dual <= -13.2 or said.dual == -np.inf

"""HiGHS through highspy, straight from sparse arrays.

HiGHS 1.15 solves LP, MILP and convex QP, not MIQP. Its option `objective_bound` is not used as a MIP cut-off: on a
program with a negative optimum it called a point inside the cut-off infeasible. The search region does that job.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace

import highspy
import numpy as np

from ..encoding import MixedIntegerProgram
from .interrupt import run_interruptibly
from .protocol import Progress, SolveOptions, SolveResult, SolverStatus
from .sane import least_objective

_STATUS = {
    highspy.HighsModelStatus.kOptimal: SolverStatus.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: SolverStatus.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: SolverStatus.UNBOUNDED,
    highspy.HighsModelStatus.kTimeLimit: SolverStatus.LIMIT,
    highspy.HighsModelStatus.kIterationLimit: SolverStatus.LIMIT,
    highspy.HighsModelStatus.kSolutionLimit: SolverStatus.LIMIT,
    highspy.HighsModelStatus.kInterrupt: SolverStatus.INTERRUPTED,
    highspy.HighsModelStatus.kObjectiveBound: SolverStatus.LIMIT,
    highspy.HighsModelStatus.kObjectiveTarget: SolverStatus.LIMIT,
}


class Highs:
    """The default solver."""

    name = "highs"
    features = frozenset({"lp", "milp", "qp", "start", "stream", "nodes", "bound"})
    through = "highspy"
    install = "comes with advverify"
    isolated = False

    def version(self) -> str:
        """HiGHS's version."""
        return str(highspy.Highs().version())

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve in a worker thread, so that Ctrl-C reaches Python at once and stops HiGHS through its callback."""
        started = time.perf_counter()
        solver = highspy.Highs()
        _configure(solver, program, options)
        solver.passModel(_model(program))
        if options.start is not None and program.binaries:
            start = highspy.HighsSolution()
            start.col_value = options.start
            solver.setSolution(start)
        stop = threading.Event()
        trace: list[tuple[float, float, float]] = []
        errors: list[BaseException] = []
        if program.binaries:
            _watch(solver, options, stop, started, trace, errors)
            run_interruptibly(solver.run, stop.set)
            if errors:
                raise errors[0]
        else:
            solver.run()
        return _result(solver, program, options, time.perf_counter() - started, tuple(trace))


@dataclass(frozen=True)
class LpAnswer:
    """What an LP solve left: multipliers or a ray, (rows,), and a point, (columns,); each None where there is none.

    `row_dual` bounds the objective, `ray` shows that there is no feasible point; both are only candidates, which
    `safe_dual` evaluates. `out_of_time` where the time ran out first. `ball_dual`, (n,), goes with either where the program
    has a ball.
    """

    point: np.ndarray | None
    row_dual: np.ndarray | None
    ray: np.ndarray | None
    out_of_time: bool
    ball_dual: np.ndarray | None = None


class HighsLps:
    """LPs that differ in their objectives and column bounds alone: each one starts from the basis of the last."""

    def __init__(self, program: MixedIntegerProgram, presolve: bool = True) -> None:
        """The relaxation of a program, without its offset: costs are changed, and cut-offs are meant for them alone."""
        relaxed = replace(program.relaxed(), offset=0.0)
        self._solver = highspy.Highs()
        _configure(self._solver, relaxed, SolveOptions(presolve=presolve))
        self._solver.passModel(_model(relaxed))
        self._columns = np.arange(len(program.cost), dtype=np.int32)
        self.iterations = 0  # of the simplex method, over all solves

    def set_cost(self, cost: np.ndarray) -> None:
        """From now on minimise `cost x`."""
        self._solver.changeColsCost(len(cost), self._columns, cost)

    def set_bounds(self, columns: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        """From now on `low <= x[columns] <= high`."""
        self._solver.changeColsBounds(len(columns), columns.astype(np.int32), low, high)

    def solve(self, seconds: float, cutoff: float = np.inf) -> LpAnswer:
        """Solve, or stop once multipliers that prove more than `cutoff` are at hand.

        Raises:
            RuntimeError: HiGHS failed.
        """
        solver = self._solver
        solver.setOptionValue("objective_bound", cutoff)
        solver.setOptionValue("time_limit", solver.getRunTime() + seconds)  # it counts over all runs
        if solver.run() == highspy.HighsStatus.kError:  # a basis that led it astray may be to blame
            solver.clearSolver()
            if solver.run() == highspy.HighsStatus.kError:
                raise RuntimeError("HiGHS failed to solve an LP")
        status, info = solver.getModelStatus(), solver.getInfo()
        self.iterations += max(int(info.simplex_iteration_count), 0)
        point = row_dual = ray = None
        if status == highspy.HighsModelStatus.kOptimal:
            point = np.array(solver.getSolution().col_value, dtype=np.float64)
        if info.dual_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible or (
            status == highspy.HighsModelStatus.kObjectiveBound
        ):
            row_dual = np.array(solver.getSolution().row_dual, dtype=np.float64)
        if status == highspy.HighsModelStatus.kInfeasible:
            _, known, values = solver.getDualRay()
            ray = np.array(values, dtype=np.float64) if known else None
        return LpAnswer(point, row_dual, ray, status == highspy.HighsModelStatus.kTimeLimit)

    def row_dual(self, cost: np.ndarray, seconds: float) -> np.ndarray | None:
        """Multipliers of the rows for minimising `cost x`, (rows,); None where nothing was found in time.

        Raises:
            RuntimeError: HiGHS failed.
        """
        self.set_cost(cost)
        return self.solve(seconds).row_dual


def _configure(solver: highspy.Highs, program: MixedIntegerProgram, options: SolveOptions) -> None:
    values = {
        "output_flag": False,
        # HiGHS keeps one pool a calling thread, and fails where a later program asks for another size; MILPs have threads
        # of their own to be called from, and an LP gains nothing from a second one
        "threads": options.threads if program.binaries else 1,
        "random_seed": options.seed,
        "time_limit": max(options.time_limit, 0.0),
        "presolve": "on" if options.presolve else "off",
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
        "mip_feasibility_tolerance": 1e-9,
        "mip_rel_gap": options.relative_gap,
        "mip_abs_gap": options.absolute_gap,
    }
    if program.hessian is not None:  # the active-set QP solver stalls at tolerances that the simplex method reaches
        values["primal_feasibility_tolerance"] = values["dual_feasibility_tolerance"] = 1e-8
    for key, value in values.items():
        solver.setOptionValue(key, value)


def _model(program: MixedIntegerProgram) -> highspy.HighsModel:
    model = highspy.HighsModel()
    lp = model.lp_
    rows, columns = program.matrix.shape
    lp.num_col_, lp.num_row_ = columns, rows
    lp.col_cost_, lp.offset_ = program.cost, program.offset
    lp.col_lower_, lp.col_upper_ = program.col_lower, program.col_upper
    lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = columns, rows
    lp.a_matrix_.start_ = program.matrix.indptr.astype(np.int32)
    lp.a_matrix_.index_ = program.matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = program.matrix.data
    if program.binaries:
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[int(flag)] for flag in program.integer]
    if program.hessian is not None:
        present = np.flatnonzero(program.hessian)
        model.hessian_.dim_ = columns
        model.hessian_.format_ = highspy.HessianFormat.kTriangular
        starts = np.searchsorted(present, np.arange(columns + 1))
        model.hessian_.start_ = starts.astype(np.int32)
        model.hessian_.index_ = present.astype(np.int32)
        model.hessian_.value_ = program.hessian[present]
    return model


def _watch(
    solver: highspy.Highs,
    options: SolveOptions,
    stop: threading.Event,
    started: float,
    trace: list[tuple[float, float, float]],
    errors: list[BaseException],
) -> None:
    """Report incumbents and bounds, write down where they moved, and carry the wish to stop into HiGHS.

    An error of the caller's progress stops it, and is kept for the thread that waits.
    """
    kinds = highspy.cb.HighsCallbackType

    def callback(kind: object, message: str, out: object, into: object, user: object) -> None:
        wanted = stop.is_set()
        seconds = time.perf_counter() - started
        primal, dual = float(out.mip_primal_bound), float(out.mip_dual_bound)  # type: ignore[attr-defined]
        if not trace or trace[-1][1:] != (primal, dual):
            trace.append((seconds, primal, dual))
        if options.progress is not None and not wanted:
            incumbent = None
            if kind == kinds.kCallbackMipImprovingSolution:
                incumbent = np.array(out.mip_solution, dtype=np.float64)  # type: ignore[attr-defined]
            try:
                wanted = options.progress(Progress(seconds, primal, dual, incumbent))
            except BaseException as error:
                errors.append(error)
                wanted = True
        if wanted:
            stop.set()
            if kind == kinds.kCallbackMipInterrupt:
                into.user_interrupt = True  # type: ignore[attr-defined]

    solver.setCallback(callback, None)
    solver.startCallback(kinds.kCallbackMipInterrupt)
    if options.progress is not None:
        solver.startCallback(kinds.kCallbackMipImprovingSolution)


def _result(
    solver: highspy.Highs,
    program: MixedIntegerProgram,
    options: SolveOptions,
    seconds: float,
    trace: tuple[tuple[float, float, float], ...],
) -> SolveResult:
    status = _STATUS.get(solver.getModelStatus(), SolverStatus.ERROR)
    if solver.getModelStatus() == highspy.HighsModelStatus.kUnboundedOrInfeasible:  # columns' bounds may say which
        status = SolverStatus.INFEASIBLE if np.isfinite(least_objective(program)) else SolverStatus.LIMIT
    info = solver.getInfo()
    point, objective = None, float("inf")
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        point = np.array(solver.getSolution().col_value, dtype=np.float64)
        objective = float(info.objective_function_value)
    if status is SolverStatus.LIMIT and point is not None:
        status = SolverStatus.LIMIT_WITH_INCUMBENT
    dual = -float("inf")
    if program.binaries and np.isfinite(info.mip_dual_bound):
        dual = float(info.mip_dual_bound)
    elif not program.binaries and status is SolverStatus.OPTIMAL:
        dual = objective
    row_dual = None
    if not program.binaries and info.dual_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        row_dual = np.array(solver.getSolution().row_dual, dtype=np.float64)
    nodes = int(info.mip_node_count) if program.binaries and info.mip_node_count >= 0 else None
    iterations = int(info.simplex_iteration_count) if info.simplex_iteration_count >= 0 else None
    if nodes is not None and np.isfinite(dual) and (not trace or trace[-1][1:] != (objective, dual)):
        trace = (*trace, (seconds, objective, dual))
    return SolveResult(
        status,
        point,
        objective,
        dual,
        seconds,
        row_dual,
        nodes=nodes,
        iterations=iterations,
        version=solver.version(),
        trace=trace,
    )

"""SCIP through pyscipopt: LP, MILP, convex (MI)QP and (MI)QCP, with a stream of bounds and points while it runs.

A quadratic objective becomes a column of its own, which a quadratic row keeps above it: SCIP's objectives are linear. Like
those of HiGHS its words are claims (`engines.milp.confirm`).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..encoding import MixedIntegerProgram
from ..errors import SolverUnavailable, how_to_install
from .interrupt import run_interruptibly
from .protocol import Progress, SolveOptions, SolveResult, SolverStatus
from .sane import least_objective

_INFINITE = 1e20  # what SCIP takes for infinity
_TOLERANCE = 1e-9
_STATUS = {
    "optimal": SolverStatus.OPTIMAL,
    "gaplimit": SolverStatus.OPTIMAL,  # the gap that was asked for
    "infeasible": SolverStatus.INFEASIBLE,
    "unbounded": SolverStatus.UNBOUNDED,
    "timelimit": SolverStatus.LIMIT,
    "memlimit": SolverStatus.LIMIT,
    "nodelimit": SolverStatus.LIMIT,
    "totalnodelimit": SolverStatus.LIMIT,
    "stallnodelimit": SolverStatus.LIMIT,
    "sollimit": SolverStatus.LIMIT,
    "bestsollimit": SolverStatus.LIMIT,
    "restartlimit": SolverStatus.LIMIT,
    "userinterrupt": SolverStatus.INTERRUPTED,
    "terminate": SolverStatus.INTERRUPTED,
}


class Scip:
    """SCIP in this process; Ctrl-C and a progress that returns True stop it at its next event."""

    name = "scip"
    features = frozenset({"lp", "milp", "qp", "miqp", "qcp", "miqcp", "start", "cutoff", "stream", "nodes", "bound"})
    through = "pyscipopt"
    install = how_to_install("scip")
    isolated = True

    def version(self) -> str:
        """SCIP's version.

        Raises:
            SolverUnavailable: pyscipopt is not installed.
        """
        return _version(_pyscipopt().Model())

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve in a worker thread, so that Ctrl-C reaches Python at once.

        Raises:
            SolverUnavailable: pyscipopt is not installed.
        """
        started = time.perf_counter()
        built = build(program)
        model = built.model
        _configure(model, options, options.time_limit - (time.perf_counter() - started))
        if options.start is not None:
            _start(built, program, options.start)
        if np.isfinite(options.cutoff):
            model.setObjlimit(options.cutoff)
        watch = _Watch(built, options, started)
        watch.attach()
        run_interruptibly(watch.run, watch.interrupt)
        if watch.error is not None:
            raise watch.error
        return _result(built, program, options, time.perf_counter() - started, watch.trace)


@dataclass
class Built:
    """A program as SCIP's model; `squares` is the column above a quadratic objective, where there is one."""

    model: Any
    columns: list[Any]
    squares: Any = None


def build(program: MixedIntegerProgram) -> Built:
    """The program as a model, whole rows at a time: an expression is made of a row's entries in one step.

    Raises:
        SolverUnavailable: pyscipopt is not installed.
    """
    scip = _pyscipopt()
    model = scip.Model()
    model.hideOutput()

    def side(value: float) -> float | None:
        return None if np.isinf(value) else float(value)

    columns = [
        model.addVar(vtype="I" if whole else "C", lb=side(low), ub=side(high), obj=float(cost))
        for whole, low, high, cost in zip(
            program.integer, program.col_lower, program.col_upper, program.cost, strict=True
        )
    ]
    model.addObjoffset(program.offset)
    terms = [scip.scip.Term(column) for column in columns]
    matrix = program.matrix
    starts, values = matrix.indptr.tolist(), matrix.data.tolist()
    own = [terms[j] for j in matrix.indices.tolist()]
    for i, (low, high) in enumerate(zip(program.row_lower.tolist(), program.row_upper.tolist(), strict=True)):
        if np.isinf(low) and np.isinf(high):
            continue
        span = slice(starts[i], starts[i + 1])
        if span.start == span.stop:  # SCIP takes no row without columns; nothing says so but its sides
            if low > 0 or high < 0:
                model.addCons(columns[0] - columns[0] >= 1, name=f"r{i}")
            continue
        expression = scip.scip.Expr(dict(zip(own[span], values[span], strict=True)))
        model.addCons(scip.scip.ExprCons(expression, lhs=side(low), rhs=side(high)), name=f"r{i}")
    if program.ball is not None:
        ball = program.ball
        own = [columns[j] for j in ball.columns.tolist()]
        shape = {scip.scip.Term(column, column): 1.0 for column in own}
        shape |= {scip.scip.Term(c): -2.0 * v for c, v in zip(own, ball.center.tolist(), strict=True) if v}
        model.addCons(scip.scip.ExprCons(scip.scip.Expr(shape), lhs=None, rhs=ball.side), name="ball")
    if program.hessian is None:
        return Built(model, columns)
    squares = model.addVar(vtype="C", lb=0.0, obj=1.0)
    half = (0.5 * program.hessian).tolist()
    quadratic = scip.scip.Expr(
        {scip.scip.Term(columns[j], columns[j]): half[j] for j in np.flatnonzero(program.hessian)}
    )
    model.addCons(quadratic - squares <= 0)
    return Built(model, columns, squares)


def _configure(model: Any, options: SolveOptions, seconds: float) -> None:
    model.setParams(
        {
            "limits/time": max(seconds, 0.0),
            "limits/gap": options.relative_gap,
            "limits/absgap": options.absolute_gap,
            "lp/threads": options.threads,
            "randomization/randomseedshift": options.seed,
            "numerics/feastol": _TOLERANCE,
            "misc/catchctrlc": False,
        }
    )
    if not options.presolve:
        model.setParam("presolving/maxrounds", 0)


def _start(built: Built, program: MixedIntegerProgram, point: np.ndarray) -> None:
    """Hand SCIP a point, which it checks when it begins."""
    solution = built.model.createSol()
    for column, value in zip(built.columns, point.tolist(), strict=True):
        built.model.setSolVal(solution, column, value)
    if built.squares is not None:
        assert program.hessian is not None
        built.model.setSolVal(solution, built.squares, 0.5 * float((program.hessian * point * point).sum()))
    built.model.addSol(solution)


@dataclass
class _Watch:
    """Reports incumbents and bounds, writes down where they moved, and carries the wish to stop into SCIP."""

    built: Built
    options: SolveOptions
    started: float
    stop: threading.Event = field(default_factory=threading.Event)
    trace: list[tuple[float, float, float]] = field(default_factory=list)
    error: BaseException | None = None

    def attach(self) -> None:
        """Have SCIP call `event` at new points, LPs and nodes."""
        scip, watch = _pyscipopt(), self
        kinds = scip.SCIP_EVENTTYPE
        base: Any = scip.Eventhdlr
        wanted = (kinds.BESTSOLFOUND, kinds.LPSOLVED, kinds.NODESOLVED, kinds.PRESOLVEROUND)

        class Handler(base):  # type: ignore[misc]
            def eventinit(self) -> None:
                for kind in wanted:
                    self.model.catchEvent(kind, self)

            def eventexit(self) -> None:
                for kind in wanted:
                    self.model.dropEvent(kind, self)

            def eventexec(self, event: Any) -> None:
                try:
                    watch.event(event.getType() == kinds.BESTSOLFOUND)
                except BaseException as error:  # of the caller's progress: SCIP must not see it, the caller must
                    watch.error = error
                    watch.interrupt()

        self.built.model.includeEventhdlr(Handler(), "watch", "reports bounds and points")

    def event(self, improved: bool) -> None:
        """Note where the bounds stand, and tell who wants to know."""
        model = self.built.model
        seconds = time.perf_counter() - self.started
        primal = _infinite(model.getPrimalbound()) if model.getNSols() > 0 else float("inf")
        cutoff = self.options.cutoff
        # which SCIP names where no point is lower
        if np.isfinite(cutoff) and primal >= cutoff - _TOLERANCE * (1 + abs(cutoff)):
            primal = float("inf")
        dual = _infinite(model.getDualbound())
        if self.trace:  # what was proved once stays proved, also where SCIP begins anew
            primal, dual = min(primal, self.trace[-1][1]), max(dual, self.trace[-1][2])
        moved = not self.trace or self.trace[-1][1:] != (primal, dual)
        if moved:
            self.trace.append((seconds, primal, dual))
        if self.options.progress is not None and not self.stop.is_set():
            point = _point(self.built, model.getBestSol()) if improved else None
            if self.options.progress(Progress(seconds, primal, dual, point)):
                self.stop.set()
        if self.stop.is_set():
            model.interruptSolve()

    def interrupt(self) -> None:
        """Have SCIP stop."""
        self.stop.set()
        self.built.model.interruptSolve()

    def run(self) -> None:
        """Solve; what goes wrong is kept for the thread that waits."""
        try:
            self.built.model.optimizeNogil()
        except Exception as error:
            self.error = self.error or error


def _result(
    built: Built,
    program: MixedIntegerProgram,
    options: SolveOptions,
    seconds: float,
    trace: list[tuple[float, float, float]],
) -> SolveResult:
    model = built.model
    status = _STATUS.get(str(model.getStatus()), SolverStatus.ERROR)
    if model.getStatus() == "inforunbd":  # columns' bounds may say which
        status = SolverStatus.INFEASIBLE if np.isfinite(least_objective(program)) else SolverStatus.LIMIT
    point = _point(built, model.getBestSol()) if model.getNSols() > 0 else None
    if status is SolverStatus.LIMIT and point is not None:
        status = SolverStatus.LIMIT_WITH_INCUMBENT
    objective = float("inf") if point is None else program.objective(point)
    dual = _infinite(model.getDualbound())
    if status is SolverStatus.INFEASIBLE:
        point, objective, dual = None, float("inf"), options.cutoff if np.isfinite(options.cutoff) else -float("inf")
    elif status in (SolverStatus.UNBOUNDED, SolverStatus.ERROR):
        dual = -float("inf")
    elif dual == float("inf"):  # it stopped where nothing is left below the cut-off
        dual = min(objective, options.cutoff)
    root = _infinite(model.getDualboundRoot())
    if np.isfinite(dual) and (not trace or trace[-1][1:] != (objective, dual)):
        last = trace[-1][1:] if trace else (float("inf"), -float("inf"))
        trace.append((seconds, min(objective, last[0]), max(dual, last[1])))
    return SolveResult(
        status,
        point,
        objective,
        dual,
        seconds,
        nodes=int(model.getNTotalNodes()),
        iterations=int(model.getNLPIterations()),
        root_bound=root if np.isfinite(root) else None,
        version=_version(model),
        trace=tuple(trace),
    )


def _point(built: Built, solution: Any) -> np.ndarray:
    value = built.model.getSolVal
    return np.array([value(solution, column) for column in built.columns], dtype=np.float64)


def _infinite(value: float) -> float:
    """SCIP's 1e20 as infinity."""
    return float(np.copysign(np.inf, value)) if abs(value) >= _INFINITE else float(value)


def _version(model: Any) -> str:
    return f"{model.getMajorVersion()}.{model.getMinorVersion()}.{model.getTechVersion()}"


def _pyscipopt() -> Any:
    try:
        import pyscipopt
    except ImportError as error:
        raise SolverUnavailable(
            f"SCIP is not installed: {how_to_install('scip')}, or choose the solver highs"
        ) from error
    return pyscipopt

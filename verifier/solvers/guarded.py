"""A back end behind a guard: what it cannot do is refused, its crash costs one solve, its nonsense is its failure."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..encoding import MixedIntegerProgram
from ..errors import AdvverifyError, InvalidInput
from .protocol import FEATURES, Progress, SolveOptions, Solver, SolveResult
from .sane import sane

_KINDS = ("lp", "milp", "qp", "miqp", "qcp", "miqcp")
_GRACE = (2.0, 0.1)  # seconds, and share of the limit, by which a solver may miss its limit before it is killed
# Non-zeros of a program that goes to a process of its own whatever the solver: presolve looks at no clock, and took 20 s of such.
_LARGE, _LARGE_GRACE = 300_000, (0.5, 0.02)


class Guarded:
    """A solver that answers with `SolverStatus.ERROR` and a note where the one behind it crashes, hangs or talks nonsense."""

    def __init__(self, solver: Solver) -> None:
        """Put a guard before a solver."""
        self.solver = solver
        self.name, self.features = solver.name, solver.features
        self.through, self.install, self.isolated = solver.through, solver.install, solver.isolated

    def version(self) -> str:
        """See `Solver.version`.

        Raises:
            SolverUnavailable: it is not installed.
        """
        return self.solver.version()

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        """Solve, in a process of its own where the solver is isolated or the program large; what comes back has passed `sane`.

        Raises:
            InvalidInput: the solver takes no programs of this kind.
            SolverUnavailable: it is not installed.
        """
        kind = kind_of(program)
        if kind not in self.features:
            able = ", ".join(FEATURES[each] for each in _KINDS if each in self.features)
            raise InvalidInput(f"solver '{self.name}' takes no {kind.upper()}: it solves {able}")
        began = time.perf_counter()
        watched = _Watched(options.progress)
        options = replace(options, progress=None if options.progress is None else watched)
        try:
            if os.name == "posix" and self.isolated:
                result = self._isolated(program, options, _GRACE)
            elif os.name == "posix" and program.binaries and program.matrix.nnz > _LARGE:
                result = self._isolated(program, options, _LARGE_GRACE)
            else:
                result = self.solver.solve(program, options)
        except AdvverifyError:
            raise
        except Exception as error:
            if error is watched.error:  # the caller's own
                raise
            words = " ".join(str(error).split())
            return SolveResult.failed(f"{type(error).__name__}: {words}", time.perf_counter() - began)
        if watched.nonsense:
            return SolveResult.failed("a bound or point that is no number while it ran", result.seconds, result.version)
        return sane(program, options, result)

    def _isolated(self, program: MixedIntegerProgram, options: SolveOptions, grace: tuple[float, float]) -> SolveResult:
        from ..parallel.alone import Died, alone

        progress = options.progress
        task = self.solver, program, replace(options, progress=None), progress is not None
        seconds = options.time_limit + grace[0] + grace[1] * options.time_limit
        began = time.perf_counter()
        try:
            result: SolveResult = alone(_work, task, progress or _deaf, seconds)
        except Died as death:
            return SolveResult.failed(str(death), time.perf_counter() - began)
        return result


class _Watched:
    """The caller's progress, which gets no nonsense; an error of its own is remembered as such."""

    def __init__(self, progress: Callable[[Progress], bool] | None) -> None:
        self._progress = progress
        self.nonsense = False
        self.error: BaseException | None = None

    def __call__(self, event: Progress) -> bool:
        assert self._progress is not None
        known = event.incumbent is None or bool(np.isfinite(event.incumbent).all())
        if math.isnan(event.primal) or math.isnan(event.dual) or not known:
            self.nonsense = True
            return True
        try:
            return self._progress(event)
        except BaseException as error:
            self.error = error
            raise


def kind_of(program: MixedIntegerProgram) -> str:
    """Which of the features in `_KINDS` a program needs."""
    if program.ball is not None:
        return "miqcp" if program.binaries else "qcp"
    return ("mi" if program.binaries else "") + ("lp" if program.hessian is None else "qp")


def _deaf(message: Any) -> bool:
    return False


def _work(task: tuple[Solver, MixedIntegerProgram, SolveOptions, bool], tell: Callable[[Any], bool]) -> SolveResult:
    solver, program, options, stream = task
    return solver.solve(program, replace(options, progress=tell if stream else None))

"""Which solvers of mixed-integer programs are there, tried on a small program each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram
from advverify.verifier.errors import SolverUnavailable
from advverify.verifier.solvers import FEATURES, SOLVERS, SolveOptions, Solver, SolverStatus, adapter
from advverify.verifier.solvers.guarded import Guarded

_SECONDS = 10.0  # for a program of two columns


@dataclass(frozen=True)
class FoundSolver:
    """A solver that there is an adapter for, installed or not.

    Attributes:
        name: as `solver` takes it.
        version: None where it is not installed, "" where it does not say.
        note: what went wrong when it was tried; "" where it works.
        features: names of what it can do, of `advverify.verifier.solvers.FEATURES`.
        through: how it is reached: a package or a program.
        install: how to install it, in words.
        process_of_its_own: whether its crash costs one solve and no more.
    """

    name: str
    version: str | None
    note: str
    features: tuple[str, ...]
    through: str
    install: str
    process_of_its_own: bool

    @property
    def works(self) -> bool:
        """Whether it solved the small program."""
        return self.version is not None and not self.note

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "features": list(self.features), "works": self.works}


def solvers() -> tuple[FoundSolver, ...]:
    """Which solvers of mixed-integer programs are there? Those that are installed solve a small program.

    That shows whether there is a licence where one is needed.

    Example:
        >>> [found.name for found in solvers() if found.works and "milp" in found.features][0]
        'highs'
    """
    return tuple(_look(adapter(name)) for name in SOLVERS)


def _look(solver: Solver) -> FoundSolver:
    try:
        version = solver.version()
    except SolverUnavailable as missing:
        return _found(solver, None, str(missing))
    result = Guarded(solver).solve(_small(), SolveOptions(time_limit=_SECONDS))
    return _found(solver, version, "" if result.status is SolverStatus.OPTIMAL else result.note or result.status.value)


def _found(solver: Solver, version: str | None, note: str) -> FoundSolver:
    features = tuple(feature for feature in FEATURES if feature in solver.features)
    return FoundSolver(solver.name, version, note, features, solver.through, solver.install, solver.isolated)


def _small() -> MixedIntegerProgram:
    """The least a + b with a + 2 b >= 2, whole."""
    return MixedIntegerProgram(
        sp.csr_matrix(np.array([[1.0, 2.0]])),
        np.array([2.0]),
        np.array([np.inf]),
        np.zeros(2),
        np.full(2, 5.0),
        np.ones(2),
        np.ones(2, dtype=bool),
        ColumnMap(np.arange(2)),
    )

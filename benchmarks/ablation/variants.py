"""The variants: how a question is written before a solver gets it, and what the solver makes of it, from its first to its last second."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from advverify.verifier.encoding import Formulation, MixedIntegerProgram, encode
from advverify.verifier.engines.milp.root_cuts import strengthened
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus, get_solver
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.tightening import tighten

from .questions import Question

GAP = 1e-4
_TIGHTENING_SHARE, _CUT_SHARE = 0.2, 0.1  # of the limit, at most, as the engine `milp` does it
OUT_OF_TIME, TOO_LARGE = "no time left for the solver", "not handed over: too large"


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: as tables and rows have it.
        formulation: of the ReLUs.
        tighten: whether LPs over what is unsafe tighten the neurons' bounds first.
        cuts: whether rows of the ideal formulation are separated at the root.
    """

    name: str
    formulation: Formulation
    tighten: bool = False
    cuts: bool = False


BASE = "asymmetric"
VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("symmetric, all binaries", Formulation("symmetric", fix_stable=False)),
        Variant("symmetric", Formulation("symmetric")),
        Variant("asymmetric, all binaries", Formulation("asymmetric", fix_stable=False)),
        Variant(BASE, Formulation()),
        Variant("partition-2", Formulation("partition-2")),
        Variant("partition-4", Formulation("partition-4")),
        Variant("extended", Formulation("extended")),
        Variant("asymmetric, substituted", Formulation(substitute=True)),
        Variant("asymmetric + root cuts", Formulation(), cuts=True),
        Variant("asymmetric + LP bounds", Formulation(), tighten=True),
        Variant("asymmetric + both", Formulation(), tighten=True, cuts=True),
    )
}


@dataclass(frozen=True)
class Limits:
    """What every solver gets.

    Attributes:
        seconds: from writing the program to the last answer.
        threads: of solvers that take several.
        seed: of solvers.
        nonzeros: programs with more are not handed over. Back ends that build their models in Python take minutes for a million
            entries, before their own clocks start.
    """

    seconds: float
    threads: int
    seed: int
    nonzeros: int


class Prepared:
    """A question as a variant writes it.

    Attributes:
        program: what solvers get.
        seconds: that writing it took, bounds from LPs and cuts included.
    """

    def __init__(self, question: Question, variant: Variant, limits: Limits) -> None:
        """Write it; CROWN's bounds and the attack, which all variants share, do not count."""
        network, bounds, region, unsafe = question.subject.network, question.bounds, question.region, question.unsafe
        began, whole = time.perf_counter(), None
        if variant.tighten:
            whole, bounds = bounds, tighten(network, bounds, region, unsafe, _TIGHTENING_SHARE * limits.seconds)
        self.program: MixedIntegerProgram = encode(
            network, bounds, region, unsafe, Objective.MIN_DISTORTION, variant.formulation, whole=whole
        )
        if variant.cuts:
            self.program = strengthened(self.program, _CUT_SHARE * limits.seconds)
        self.seconds, self._limits = time.perf_counter() - began, limits

    @cached_property
    def about(self) -> dict[str, Any]:
        """Sizes, and the LP relaxation, whose seconds do not count either: solvers solve it for themselves."""
        program, bound, infeasible = self.program, -math.inf, False
        if not self.too_large:
            relaxed = Highs().solve(program.relaxed(), SolveOptions(time_limit=self._limits.seconds))
            bound = relaxed.objective if relaxed.status is SolverStatus.OPTIMAL else -math.inf
            infeasible = relaxed.status is SolverStatus.INFEASIBLE
        return {
            "rows": program.matrix.shape[0],
            "columns": program.matrix.shape[1],
            "nonzeros": program.matrix.nnz,
            "binaries": program.binaries,
            "largest_m": _largest_m(program),
            "lp": _number(bound),
            "lp_infeasible": infeasible,
        }

    @property
    def too_large(self) -> bool:
        """Whether the program has more entries than a solver is to get."""
        return bool(self.program.matrix.nnz > self._limits.nonzeros)

    def solve(self, solver: str) -> dict[str, Any]:
        """What a solver says: its claims, which are not proved again here.

        Raises:
            SolverUnavailable: it is not installed.
        """
        limits = self._limits
        left = limits.seconds - self.seconds
        backend = get_solver(solver)
        if left <= 0 or self.too_large:
            status = OUT_OF_TIME if left <= 0 else TOO_LARGE
            return self._row(max(left, 0.0), status, math.inf, -math.inf, None, "")
        options = SolveOptions(time_limit=left, relative_gap=GAP, threads=limits.threads, seed=limits.seed)
        began = time.perf_counter()
        result = backend.solve(self.program, options)
        seconds = time.perf_counter() - began
        found = math.inf if result.point is None else result.objective
        return self._row(seconds, result.status.value, found, result.dual_bound, result.nodes, result.version)

    def _row(
        self, seconds: float, status: str, objective: float, dual: float, nodes: int | None, version: str
    ) -> dict[str, Any]:
        answered = status in (SolverStatus.OPTIMAL.value, SolverStatus.INFEASIBLE.value)
        total = self.seconds + seconds
        return {
            "prepared": self.seconds,
            "seconds": min(total, self._limits.seconds),
            "solved": answered and total <= self._limits.seconds,
            "status": status,
            "infeasible": status == SolverStatus.INFEASIBLE.value,
            "objective": _number(objective),
            "dual": _number(dual),
            "nodes": nodes,
            "version": version,
            **self.about,
        }


def _largest_m(program: MixedIntegerProgram) -> float:
    """The largest factor of a binary."""
    entries = abs(sp.csc_matrix(program.matrix)[:, np.flatnonzero(program.integer)])
    return float(entries.max()) if entries.nnz else 0.0


def _number(value: float) -> float | None:
    """JSON has no infinities."""
    return float(value) if math.isfinite(value) else None

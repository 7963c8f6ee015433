"""The record of a program that was solved for a query: what it was, what it was solved for, and how its bounds came.

Gap reports are made of these records and of the brackets' traces alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Point = tuple[float, float, float]
# Solvers of records that are none: our own branch and bound.
OWN_TREES = ("lp tree", "qp tree", "socp tree", "row tree")

SOLVE, CONFIRMATION, RELAXATION = "solve", "confirmation", "relaxation"
ROLES = (SOLVE, CONFIRMATION, RELAXATION)
# What became of a program, beside the words of a solver.
SETTLED = "settled by the relaxation"
ABOVE_CUTOFF = "nothing below the cut-off"


def changes(trace: Iterable[Point]) -> tuple[Point, ...]:
    """The moments of a trace at which the primal or the dual bound changed."""
    kept: list[Point] = []
    for point in trace:
        if not kept or kept[-1][1:] != point[1:]:
            kept.append(point)
    return tuple(kept)


@dataclass(frozen=True)
class MipRecord:
    """One program, solved once. Bounds are in the query's own unit (distance or margin), infinite where there are none.

    Attributes:
        target: which unsafe sets the program is about, in words.
        formulation: name of the formulation.
        solver: name of the solver, or one of `OWN_TREES`.
        version: of the solver, "" where it does not say.
        rows: of the program as it was solved.
        columns: likewise.
        binaries: integer columns.
        nonzeros: entries of the matrix.
        largest_m: the largest constant M of a binary.
        began: seconds from the start of the query to that of the solve.
        seconds: of the solve.
        status: what became of it, one of `SolverStatus`'s values, `SETTLED` or `ABOVE_CUTOFF`.
        role: "solve" of a MIP; "confirmation" of what a solver claimed, by a tree of our own; or "relaxation",
            of an LP that settled the target, so that no MIP was solved.
        cutoff: value that was given to the solver: points that are no better are of no interest, and a tree ends where it
            has proved that much; None where none was given.
        primal: value of the best point that this solve found.
        dual: bound that the solver claimed.
        proved: how much is proved of the target: what was confirmed of the claim (see `engines.milp.confirm`), and at least what
            was known before, by whatever engine.
        nodes: of the solver's tree; None where it does not say.
        iterations: of its relaxations, likewise.
        root: lower bounds by step, in order: "lp" (first relaxation), "tightened" (relaxation after bounds from solves), "cuts"
            (after rows at the root), "solver" (the solver's own root, where it says).
        trace: (seconds since the start of the solve, primal, dual) where one of the two changed.
        note: what was wrong where the solver failed.
    """

    target: str
    formulation: str
    solver: str
    version: str
    rows: int
    columns: int
    binaries: int
    nonzeros: int
    largest_m: float
    began: float
    seconds: float
    status: str
    role: str = SOLVE
    cutoff: float | None = None
    primal: float = math.inf
    dual: float = -math.inf
    proved: float = -math.inf
    nodes: int | None = None
    iterations: int | None = None
    root: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[Point, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For JSON; infinities stay what they are, the writer makes them null."""
        record = dict(vars(self))
        record |= {"began": round(self.began, 4), "seconds": round(self.seconds, 4), "root": dict(self.root)}
        record["trace"] = [[round(seconds, 4), primal, dual] for seconds, primal, dual in self.trace]
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_dict` wrote, null for the infinity that says nothing.

        Raises:
            KeyError: an entry is missing.
            TypeError: an entry is of another kind; ValueError or OverflowError where it is no number, or none that can be.
        """
        for name in ("target", "formulation", "solver", "version", "status", "role", "note"):
            if not isinstance(record.get(name, ""), str):
                raise TypeError(f"a program's {name} is not a text")
        for name in ("rows", "columns", "binaries", "nonzeros", "nodes", "iterations"):
            value = record.get(name, 0)
            if type(value) is not int and not (value is None and name in ("nodes", "iterations")):
                raise TypeError(f"a program's {name} are not a whole number")

        def high(value: float | None) -> float:
            return math.inf if value is None else float(value)

        def low(value: float | None) -> float:
            return -math.inf if value is None else float(value)

        read = cls(
            **{
                **record,
                "began": float(record["began"]),
                "seconds": float(record["seconds"]),
                "largest_m": high(record["largest_m"]),
                "cutoff": None if record.get("cutoff") is None else float(record["cutoff"]),
                "primal": high(record["primal"]),
                "dual": low(record["dual"]),
                "proved": low(record["proved"]),
                "root": {step: low(value) for step, value in record["root"].items()},
                "trace": tuple((float(s), high(primal), low(dual)) for s, primal, dual in record["trace"]),
            }
        )
        read._check()
        return read

    def _check(self) -> None:
        """Refuse what no solve can have left (ValueError)."""
        if self.role not in ROLES:
            raise ValueError(f"a program's role is '{self.role}', which is none of {', '.join(ROLES)}")
        for name in ("rows", "columns", "binaries", "nonzeros", "nodes", "iterations"):
            count = getattr(self, name)
            if count is not None and count < 0:
                raise ValueError(f"a program's {name} are {count}, below 0")
        for name in ("began", "seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"a program's time '{name}' is {getattr(self, name):g}, which is no time from 0 on")
        moments = [seconds for seconds, _, _ in self.trace]
        if moments and not (moments[0] >= 0 and moments == sorted(moments) and moments[-1] < math.inf):
            raise ValueError("the times of a program's trace are not in order from 0 on")

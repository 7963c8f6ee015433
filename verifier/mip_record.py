"""The record of a mixed-integer program that was solved for a query: what it was, and how its bounds came.

Gap reports are made of these records and of the brackets' traces alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

Point = tuple[float, float, float]
OWN_TREES = ("lp tree", "qp tree")  # solvers of records that are none: our own branch and bound


@dataclass(frozen=True)
class MipRecord:
    """One program of one solver. Bounds are in the query's own unit (distance or margin), infinite where there are none.

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
        status: what the solver said, one of `SolverStatus`'s values.
        primal: value of the best point the solver found.
        dual: bound that the solver claimed.
        proved: how much of it was confirmed (see `engines.milp.confirm`).
        nodes: of the solver's tree; None where it does not say.
        iterations: of its LPs, likewise.
        root: lower bounds by step, in order: "lp" (first relaxation), "tightened" (relaxation after bounds from solves), "cuts"
            (after rows at the root), "solver" (the solver's own root, where it says).
        trace: (seconds since the start of the solve, primal, dual), as the solver reported them.
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
            TypeError: an entry is of another kind; ValueError or OverflowError where it is no number.
        """
        for name in ("target", "formulation", "solver", "version", "status", "note"):
            if not isinstance(record.get(name, ""), str):
                raise TypeError(f"a program's {name} is not a text")

        def high(value: float | None) -> float:
            return math.inf if value is None else float(value)

        def low(value: float | None) -> float:
            return -math.inf if value is None else float(value)

        return cls(
            **{
                **record,
                "began": float(record["began"]),
                "seconds": float(record["seconds"]),
                "largest_m": high(record["largest_m"]),
                "primal": high(record["primal"]),
                "dual": low(record["dual"]),
                "proved": low(record["proved"]),
                "root": {step: low(value) for step, value in record["root"].items()},
                "trace": tuple((float(s), high(primal), low(dual)) for s, primal, dual in record["trace"]),
            }
        )

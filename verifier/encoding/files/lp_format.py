"""The LP format (CPLEX's), as HiGHS, SCIP, CBC, Gurobi and their like read it.

SCIP 10 wants no blank between ^ and 2, and a constant of the objective last.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from .listing import Listing

_TERMS = 6  # a line; readers have limits on the length of lines


def lp_lines(listing: Listing) -> Iterator[str]:
    """The lines of the file; numbers are written so that the same float64 is read."""
    program, names = listing.program, listing.columns
    yield from (f"\\ {line}" for line in listing.heading)
    yield "Minimize"
    present = np.flatnonzero(program.cost)
    terms = _linear(names, present, program.cost[present])
    if program.hessian is not None:
        squared = np.flatnonzero(program.hessian)
        terms += ["+ [", *_squares(names, squared, program.hessian[squared]), "] / 2"]
    if program.offset:
        terms.append(_signed(program.offset))
    yield from _wrapped("objective", terms or [f"0 {names[0]}"], "")
    yield "Subject To"
    for row in listing.rows():
        ending = f"{row.sense} {row.side!r}"
        yield from _wrapped(row.name, _linear(names, row.columns, row.values) or [f"0 {names[0]}"], ending)
    if program.ball is not None:
        ball = program.ball
        terms = ["[", *_squares(names, ball.columns, np.ones(len(ball.columns))), "]"]
        moved = np.flatnonzero(ball.center)
        terms = _linear(names, ball.columns[moved], -2.0 * ball.center[moved]) + ["+", *terms]
        yield from _wrapped("ball", terms if len(moved) else terms[1:], f"<= {ball.side!r}")
    yield "Bounds"
    for name, low, high in zip(names, program.col_lower, program.col_upper, strict=True):
        yield f" {_number(low)} <= {name} <= {_number(high)}"
    if program.integer.any():
        yield "Generals"
        yield from (f" {names[j]}" for j in np.flatnonzero(program.integer))
    yield "End"


def _number(value: float) -> str:
    return repr(float(value)) if math.isfinite(value) else ("-infinity" if value < 0 else "+infinity")


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(float(value))!r}"


def _linear(names: list[str], columns: np.ndarray, values: np.ndarray) -> list[str]:
    return [f"{_signed(value)} {names[j]}" for j, value in zip(columns, values, strict=True)]


def _squares(names: list[str], columns: np.ndarray, values: np.ndarray) -> list[str]:
    return [f"{_signed(value)} {names[j]} ^2" for j, value in zip(columns, values, strict=True)]


def _wrapped(name: str, terms: Iterable[str], ending: str) -> Iterator[str]:
    """A row over as many lines as it takes."""
    terms = [*terms, *([ending] if ending else [])]
    for start in range(0, len(terms), _TERMS):
        yield f" {f'{name}: ' if start == 0 else '   '}{' '.join(terms[start : start + _TERMS])}"

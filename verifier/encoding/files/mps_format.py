"""The free MPS format, with the sections QUADOBJ and QCMATRIX (CPLEX's) for quadratic objectives and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp

from .listing import Listing

_KINDS = {"<=": "L", ">=": "G", "=": "E"}


def mps_lines(listing: Listing) -> Iterator[str]:
    """The lines of the file; numbers are written so that the same float64 is read."""
    program, names, ball = listing.program, listing.columns, listing.program.ball
    rows = list(listing.rows())
    yield from (f"* {line}" for line in listing.heading)
    yield "NAME advverify"
    yield "ROWS"
    yield " N objective"
    yield from (f" {_KINDS[row.sense]} {row.name}" for row in rows)
    if ball is not None:
        yield " L ball"
    lengths = [len(row.columns) for row in rows]
    entries = (
        np.concatenate([np.zeros(0), *(row.values for row in rows)]),
        (
            np.repeat(np.arange(len(rows)), lengths),
            np.concatenate([np.zeros(0, dtype=np.int64), *(row.columns for row in rows)]),
        ),
    )
    matrix = sp.csc_matrix(entries, shape=(len(rows), len(names)))
    moved = {} if ball is None else dict(zip(ball.columns.tolist(), (-2.0 * ball.center).tolist(), strict=True))
    yield "COLUMNS"
    whole = False
    for j, name in enumerate(names):
        if bool(program.integer[j]) != whole:
            whole = not whole
            yield f" marker{j} 'MARKER' {repr('INTORG') if whole else repr('INTEND')}"
        yield f" {name} objective {float(program.cost[j])!r}"
        for k in range(matrix.indptr[j], matrix.indptr[j + 1]):
            yield f" {name} {rows[matrix.indices[k]].name} {float(matrix.data[k])!r}"
        if moved.get(j):
            yield f" {name} ball {moved[j]!r}"
    if whole:
        yield " marker 'MARKER' 'INTEND'"
    yield "RHS"
    if program.offset:
        yield f" side objective {-program.offset!r}"  # the objective is c x less this, by custom
    yield from (f" side {row.name} {row.side!r}" for row in rows if row.side)
    if ball is not None:
        yield f" side ball {ball.side!r}"
    yield "BOUNDS"
    for name, low, high in zip(names, program.col_lower, program.col_upper, strict=True):
        yield f" LO bound {name} {float(low)!r}" if math.isfinite(low) else f" MI bound {name}"
        yield f" UP bound {name} {float(high)!r}" if math.isfinite(high) else f" PL bound {name}"
    if program.hessian is not None:
        yield "QUADOBJ"  # of x' Q x / 2
        yield from (f" {names[j]} {names[j]} {float(program.hessian[j])!r}" for j in np.flatnonzero(program.hessian))
    if ball is not None:
        yield "QCMATRIX ball"  # of x' Q x
        yield from (f" {names[j]} {names[j]} 1.0" for j in ball.columns)
    yield "ENDATA"

"""Constraints that couple inputs, with each other or with outputs, as rows over a longer output.

A row C y + G x <= d is one over (y, G x): `uncouple` collects the distinct functions G x of a specification,
`network.compose.with_input_rows` appends them to a network's outputs, and `CoupledJudge` to what its file puts out. Bounds,
encodings and engines know of nothing but outputs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import numpy as np

from .exact import above, dot
from .specification import Case, Polytope, Specification


def uncouple(specification: Specification) -> tuple[Specification, np.ndarray]:
    """The specification over outputs (y, z), and the rows G (count, inputs) of z = G x; none where nothing is coupled."""
    places: dict[bytes, int] = {}
    rows: list[np.ndarray] = []
    coupled = [p for case in specification.cases for p in case.unsafe if p.inputs is not None]
    for polytope in coupled:
        assert polytope.inputs is not None
        for row in polytope.inputs:
            if row.any() and (row + 0.0).tobytes() not in places:  # + 0.0: no negative zeros
                places[(row + 0.0).tobytes()] = len(rows)
                rows.append(row + 0.0)
    if not coupled:
        return specification, np.zeros((0, 0))
    done: dict[int, Polytope] = {}

    def moved(polytope: Polytope) -> Polytope:
        if id(polytope) not in done:
            done[id(polytope)] = _moved(polytope, places)
        return done[id(polytope)]

    cases = tuple(Case(case.region, tuple(moved(p) for p in case.unsafe)) for case in specification.cases)
    return replace(specification, cases=cases), np.array(rows).reshape(len(rows), -1)


def _moved(polytope: Polytope, places: dict[bytes, int]) -> Polytope:
    extra = np.zeros((len(polytope.offset), len(places)))
    for r, row in enumerate(() if polytope.inputs is None else polytope.inputs):
        if row.any():
            extra[r, places[(row + 0.0).tobytes()]] = 1.0
    return replace(polytope, matrix=np.hstack([polytope.matrix, extra]), inputs=None)


class Runs(Protocol):
    """A judge, as far as it is needed here."""

    dtype: np.dtype

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, outputs) for inputs (batch, inputs)."""


class CoupledJudge:
    """Appends z = G x to what a judge puts out, each rounded up from exact arithmetic.

    Every row reads its own z with coefficient 1, in the direction in which it is bounded from above. So a point that
    satisfies a row over the rounded z satisfies the exact one, strictness included.
    """

    def __init__(self, judge: Runs, rows: np.ndarray) -> None:
        """Wrap a judge."""
        self.judge, self.rows, self.dtype = judge, rows, judge.dtype

    def run(self, x: np.ndarray) -> np.ndarray:
        """What the file puts out, and z."""
        return self._with_rows(self.judge.run(x), x)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The arguments of the file's last layer, as the judge has them (`run` where it knows of none), and z."""
        return self._with_rows(getattr(self.judge, "logits", self.judge.run)(x), x)

    def _with_rows(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        cast = np.asarray(x).reshape(len(x), -1).astype(self.dtype).astype(np.float64)  # as the judge casts it
        z = [[above(dot(row, point)) if np.isfinite(point).all() else np.inf for row in self.rows] for point in cast]
        return np.hstack([y, np.array(z, dtype=np.float64).reshape(len(cast), len(self.rows))])


"""Constraints that couple inputs, with each other or with outputs, as rows over a longer output.

A row C y + G x <= d is one over (y, G x): `uncouple` collects the distinct functions G x of a specification,
`network.compose.with_input_rows` appends them to a network's outputs, and `CoupledExecutor` to what its file puts out. Bounds,
encodings and engines know of nothing but outputs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .specification import Disjunct, Polytope, Specification


def uncouple(specification: Specification) -> tuple[Specification, np.ndarray]:
    """The specification over outputs (y, z), and the rows G (count, inputs) of z = G x; none where nothing is coupled."""
    places: dict[bytes, int] = {}
    rows: list[np.ndarray] = []
    unsafe = [p for disjunct in specification.disjuncts for p in disjunct.unsafe]
    coupled = [p for q in unsafe for p in (q, q.written) if p is not None and p.inputs is not None]
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

    disjuncts = tuple(
        Disjunct(disjunct.region, tuple(moved(p) for p in disjunct.unsafe)) for disjunct in specification.disjuncts
    )
    return replace(specification, disjuncts=disjuncts), np.array(rows).reshape(len(rows), -1)


def _moved(polytope: Polytope, places: dict[bytes, int]) -> Polytope:
    extra = np.zeros((len(polytope.offset), len(places)))
    for r, row in enumerate(() if polytope.inputs is None else polytope.inputs):
        if row.any():
            extra[r, places[(row + 0.0).tobytes()]] = 1.0
    written = None if polytope.written is None else _moved(polytope.written, places)
    return replace(polytope, matrix=np.hstack([polytope.matrix, extra]), inputs=None, written=written)

"""A specification in the words of the checker: what `check` compares a proof with, and what a new proof must say."""

from __future__ import annotations

import numpy as np

from ..checker.network import Rejected
from ..checker.statement import Statement, contradictory
from ..norms.l0 import L0
from ..query import Objective, Query
from ..specification import Disjunct


def statements(query: Query) -> list[Statement]:
    """One statement a disjunct, each with its unsafe sets; disjuncts without any are left out, like sets that hold no output.

    Raises:
        Rejected: a set has rows over inputs, of which the proof format has none.
    """
    distance = query.objective is Objective.MIN_DISTORTION
    found = [_statement(disjunct, query, distance) for disjunct in query.specification.disjuncts]
    return [statement for statement in found if statement.unsafe]


def remaining(disjunct: Disjunct) -> Disjunct:
    """A disjunct without the unsafe sets that hold no output: nothing is to be proved about them."""
    kept = tuple(p for p in disjunct.unsafe if p.inputs is not None or not contradictory(p.matrix, p.offset))
    return Disjunct(disjunct.region, kept)


def _statement(disjunct: Disjunct, query: Query, distance: bool) -> Statement:
    region, unsafe = disjunct.region, remaining(disjunct).unsafe
    if any(polytope.inputs is not None for polytope in unsafe):
        raise Rejected("the property has rows over inputs, which the proof format does not know")
    ball = region.ball if region.ball is not None and np.isfinite(region.ball.radius) else None
    return Statement(
        np.asarray(region.lower, dtype=np.float64),
        np.asarray(region.upper, dtype=np.float64),
        None if ball is None else ball.norm.name,
        None if ball is None else np.asarray(ball.center, dtype=np.float64),
        np.inf if ball is None else float(ball.radius),
        ball.norm.channels if ball is not None and isinstance(ball.norm, L0) else 1,
        tuple((np.asarray(p.matrix, dtype=np.float64), np.asarray(p.offset, dtype=np.float64)) for p in unsafe),
        query.float32,
        distance,
        query.network.input_dtype,
    )

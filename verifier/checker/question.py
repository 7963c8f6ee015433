"""Whether a proof answers a question: each region asked about must lie in one that was proved, with all its unsafe sets.

Containment is decided by comparing numbers exactly, and only in the forms that make it plain: the same center, a radius
that is no smaller, a box that is no narrower, the same rows with limits that are no lower. Where none of these shows it,
the answer is no. Every test is one that fails for NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .operators import Array
from .statement import Polytope, Statement, class_words, classes_of, contradictory, polytope_words


def difference(proved: Sequence[Statement], asked: Sequence[Statement]) -> str | None:
    """What the question asks and the proof does not say, in one line; None where the proof answers all of it.

    Unsafe sets of the question that no output is in are left out.
    """
    left = 0
    for number, question in enumerate(asked):
        unsafe = [polytope for polytope in question.unsafe if not contradictory(*polytope)]
        if not unsafe:
            continue
        left += 1
        likely = proved[min(number, len(proved) - 1)]
        others = [likely, *(statement for statement in proved if statement is not likely)]
        fitting = [statement for statement in others if region_difference(statement, question) is None]
        if not fitting:
            which = "" if len(asked) == 1 else f"case {number} of the question: "
            return which + str(region_difference(likely, question))
        for p, polytope in enumerate(unsafe):
            if not any(_excluded(statement, polytope, p) for statement in fitting):
                return _unsafe_difference(fitting[0], question, polytope)
    return None if left else "the question has no unsafe output, so that there is nothing to compare"


def region_difference(proved: Statement, asked: Statement) -> str | None:
    """Why a region that was asked about is not one that was proved, or None."""
    if len(proved.lower) != len(asked.lower):
        return f"the proof is about {len(proved.lower)} inputs, the question about {len(asked.lower)}"
    if asked.float32 and not proved.float32:
        return f"the proof is about exact arithmetic, the question about executions in {proved.precision}"
    if proved.norm is not None and asked.norm is not None:
        found = _ball_difference(proved, asked)
        if found is not None:
            return found
    elif proved.norm not in (None, "inf"):
        return f"the proof is about a ball in norm {proved.norm}, the question about a box"
    # Balls of the same center are compared above; else the boxes that bounds were computed on, which hold them.
    outer = proved if asked.norm is not None else proved.region()
    inner = asked.region()
    outside = ~((outer.lower <= inner.lower) & (inner.upper <= outer.upper))
    if outside.any():
        i = int(outside.argmax())
        return (
            f"the proof's box does not hold the question's: input {i} lies in {_sides(outer.lower, outer.upper, i)} there "
            f"and in {_sides(inner.lower, inner.upper, i)} in the question"
        )
    return None


def _ball_difference(proved: Statement, asked: Statement) -> str | None:
    if proved.norm != asked.norm:
        return f"the proof is about norm {proved.norm}, the question about norm {asked.norm}"
    if asked.channels not in (1, proved.channels):  # pixels that hold the changed inputs are no more than these
        return (
            f"the question counts pixels of {asked.channels} tied channels, the proof of {proved.channels}: "
            "it allows fewer changes"
        )
    assert proved.center is not None and asked.center is not None
    same = proved.center == asked.center
    if not same.all():
        i = int((~same).argmax())
        here, there = float(proved.center[i]), float(asked.center[i])
        return f"the proof is about another center: input {i} is {here!r} there and {there!r} in the question"
    sizes = [proved.radius, asked.radius]
    if proved.norm == "0":
        sizes = [float(np.floor(size)) for size in sizes]
    if not sizes[0] >= sizes[1]:
        return f"the proof is about radius {proved.radius!r}, the question about {asked.radius!r}"
    return None


def _sides(lower: Array, upper: Array, i: int) -> str:
    return f"[{float(lower[i])!r}, {float(upper[i])!r}]"


def _excluded(proved: Statement, polytope: Polytope, position: int) -> bool:
    """Whether a polytope lies in one of the unsafe sets of a statement; the one at the same position is tried first."""
    likely = proved.unsafe[position : position + 1]
    return any(contains(outer, polytope) for outer in (*likely, *proved.unsafe))


def contains(outer: Polytope, inner: Polytope) -> bool:
    """Whether every row of `outer` is a row of `inner` with a limit that is no lower: then it holds all of it."""
    matrix, offset = inner
    if outer[0].shape[1] != matrix.shape[1]:
        return False
    return all(
        bool(((matrix == row).all(-1) & (offset <= limit)).any()) for row, limit in zip(outer[0], outer[1], strict=True)
    )


def _unsafe_difference(proved: Statement, asked: Statement, polytope: Polytope) -> str:
    outputs = polytope[0].shape[1]
    ours, theirs = classes_of(asked.unsafe), classes_of(proved.unsafe)
    if ours is not None and theirs is not None:
        return f"the proof says that {class_words(*theirs, outputs)}; the question is whether {class_words(*ours, outputs)}"
    return f"the proof does not exclude an unsafe set of the question: {polytope_words(polytope)}"

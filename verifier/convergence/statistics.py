"""Statistics of many solves: means of times, shares of gaps, quartiles, performance profiles, gaps closed step by step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .trajectory import Values

SHORTEST = 1e-3  # seconds; ratios of shorter times say more about the clock than about the solver
STEPS = ("lp", "tightened", "cuts", "solver", "tree")


def shifted_geometric_mean(seconds: ArrayLike, shift: float = 1.0) -> float:
    """The shifted geometric mean is exp(mean(log(t + shift))) - shift.

    The shift keeps the shortest times from deciding everything, the logarithm the longest. With a shift of 0 it is the
    geometric mean, which is 0 where a time is.

    Raises:
        ValueError: no times, a negative one, or a negative shift.
    """
    values = np.asarray(seconds, dtype=float)
    if not values.size or not shift >= 0 or not (values >= 0).all():
        raise ValueError("a shifted geometric mean takes times >= 0 and a shift >= 0")
    with np.errstate(divide="ignore"):
        mean = math.exp(float(np.log(values + shift).mean())) - shift
    return min(max(mean, float(values.min())), float(values.max()))  # rounding alone leaves the range


def penalised_mean(seconds: ArrayLike, limit: float, factor: float = 2.0) -> float:
    """The penalised average runtime (PAR2) is the mean of times, where an infinite one counts as `factor` times the limit."""
    values = np.asarray(seconds, dtype=float)
    return float(np.where(np.isfinite(values), values, factor * limit).mean())


def shares_below(gaps: ArrayLike, levels: Sequence[float]) -> list[float]:
    """For each level the share of gaps that are at most that large."""
    values = np.asarray(gaps, dtype=float)
    return [float((values <= level).mean()) for level in levels]


def quartiles(values: ArrayLike) -> Values:
    """Lower quartile, median and upper quartile over the first axis: (3, ...) for (n, ...)."""
    found: Values = np.quantile(np.asarray(values, dtype=float), [0.25, 0.5, 0.75], axis=0)
    return np.maximum.accumulate(found, axis=0)  # interpolation rounds each of them by itself


@dataclass(frozen=True, eq=False)
class Profile:
    """A performance profile says how often each run is within a factor of the fastest (Dolan & Moré 2002).

    Attributes:
        factors: (m,) factors >= 1, rising; the shares change at these.
        shares: (runs, m) shares of the questions that a run answers within that factor of the fastest run's time.
        questions: how many questions it is about.
    """

    factors: Values
    shares: Values
    questions: int

    def within(self, factor: float) -> Values:
        """(runs,) shares within a factor."""
        shares: Values = self.shares[:, np.searchsorted(self.factors, factor, side="right") - 1]
        return shares

    @property
    def solved(self) -> Values:
        """(runs,) shares answered at all."""
        shares: Values = self.shares[:, -1]
        return shares


def performance_profile(seconds: ArrayLike) -> Profile:
    """The performance profile of runs on the same questions.

    Args:
        seconds: (runs, questions), infinite where a run has no answer; times below a millisecond count as one.

    Raises:
        ValueError: no question, or a time that is negative or no number.
    """
    times = np.asarray(seconds, dtype=float)
    if times.ndim != 2 or not times.size or not (times >= 0).all():
        raise ValueError("a performance profile takes times >= 0 of at least one run and one question")
    times = np.maximum(times, SHORTEST)
    fastest = times.min(axis=0)
    ratios = np.full(times.shape, np.inf)
    np.divide(times, fastest, out=ratios, where=np.isfinite(times))
    factors = np.unique(np.append(ratios[np.isfinite(ratios)], 1.0))
    shares = np.stack([np.searchsorted(np.sort(each), factors, side="right") for each in ratios]) / times.shape[1]
    return Profile(factors, shares, times.shape[1])


def root_gap_closed(bounds: Mapping[str, float], reference: float) -> dict[str, float] | None:
    """The share of the root gap, from the bound of the first LP to the value sought, that is closed after each step.

    Steps are those of `MipRecord.root` ("lp", "tightened", "cuts", "solver") and "tree", what was proved in the end; unknown
    ones come before the tree. A step whose bound is infinite has closed what those before it had. A root gap of 0 is closed
    at once.

    Args:
        bounds: lower bounds by step, "lp" among them; infinite ones say nothing.
        reference: value of the program, or any above which no bound is of use.

    Returns:
        A share in [0, 1] by step that the bounds name, never falling; None where the first LP has no bound or there is no
        reference.
    """
    first = bounds.get("lp", -math.inf)
    if not math.isfinite(first) or not math.isfinite(reference):
        return None
    closed, result = 0.0, dict[str, float]()
    for name in ordered(bounds):
        bound = bounds[name]
        if first >= reference:
            closed = 1.0
        elif bound > first:
            closed = max(closed, min((min(bound, reference) - first) / (reference - first), 1.0))
        result[name] = closed
    return result


def ordered(steps: Iterable[str]) -> list[str]:
    """Each step once, in the order in which they are taken; unknown ones before the tree."""
    there = dict.fromkeys(steps)
    known = [step for step in STEPS[:-1] if step in there]
    return [*known, *(step for step in there if step not in STEPS), *(step for step in STEPS[-1:] if step in there)]


def quartiles_by_step(shares: Sequence[Mapping[str, float]]) -> dict[str, Values]:
    """Quartiles over several programs of the share that is closed after each step that one of them took.

    A program that did not take a step has closed what the steps before it had.
    """
    closed, result = np.zeros(len(shares)), dict[str, Values]()
    for step in ordered(step for each in shares for step in each):
        closed = np.array([each.get(step, before) for each, before in zip(shares, closed, strict=True)])
        result[step] = quartiles(closed)
    return result

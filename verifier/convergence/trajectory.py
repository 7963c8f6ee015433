"""The bounds of one query over time, their gaps, and the integrals of these gaps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..outcome import Outcome

Values = NDArray[np.float64]


def gap(first: ArrayLike, second: ArrayLike) -> Values:
    """The gap of two values lies in [0, 1]: |a - b| / max(|a|, |b|).

    It is 0 where both are the same, infinities included, and 1 where their signs differ, or one of them is infinite or 0
    (Berthold, "Measuring the impact of primal heuristics", 2013). Distances and margins have no unit in it.

    Raises:
        ValueError: one of the values is no number.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if np.isnan(a).any() or np.isnan(b).any():
        raise ValueError("a bound is no number")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        ratio = np.abs(a - b) / np.maximum(np.abs(a), np.abs(b))
        usual = (ratio < 1) & (np.sign(a) * np.sign(b) > 0)
    return np.where(a == b, 0.0, np.where(usual, ratio, 1.0))


@dataclass(frozen=True, eq=False)
class Trajectory:
    """A trajectory is a bracket over time, as steps; nothing is known before the first of them.

    Attributes:
        times: (n,) seconds since the start of the query, never falling.
        lower: (n,) dual bounds: proved from that time on, in the query's unit (distance or margin).
        upper: (n,) primal bounds: values of the best point known from that time on.
    """

    times: Values
    lower: Values
    upper: Values

    def __post_init__(self) -> None:
        """Refuse what no search can have written.

        Raises:
            ValueError: a value is no number, or a time is infinite, negative or before the one in front of it.
        """
        times = self.times
        if np.isnan(self.lower).any() or np.isnan(self.upper).any():
            raise ValueError("a bound of the trace is no number")
        if len(times) and not (times[0] >= 0 and times[-1] < math.inf and (times[1:] >= times[:-1]).all()):
            raise ValueError("the times of the trace are not in order")

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """The trace of an outcome, and its final bracket at its end.

        Raises:
            ValueError: the trace makes no sense.
        """
        events = [(event.seconds, event.lower, event.upper) for event in outcome.trace]
        last = max([outcome.seconds, *(seconds for seconds, _, _ in events[-1:])])
        events.append((last, outcome.bracket.lower, outcome.bracket.upper))
        times, lower, upper = np.array(events, dtype=float).T
        return cls(times, np.minimum(lower, upper), upper)

    def until(self, seconds: float) -> Self:
        """What was known by a time limit."""
        if not len(self.times) or self.times[-1] <= seconds:
            return self
        count = int(np.searchsorted(self.times, seconds, side="right"))
        return type(self)(self.times[:count], self.lower[:count], self.upper[:count])

    @property
    def end(self) -> tuple[float, float]:
        """The last bracket, (-inf, inf) where nothing is known."""
        return (float(self.lower[-1]), float(self.upper[-1])) if len(self.times) else (-math.inf, math.inf)

    def closing_time(self, relative: float, absolute: float = 0.0) -> float:
        """Seconds until upper - lower <= max(relative * |upper|, absolute), infinite where that never comes."""
        steps = zip(self.times.tolist(), self.lower.tolist(), self.upper.tolist(), strict=True)
        for seconds, lower, upper in steps:  # most traces are short, and a loop over them faster than arrays
            if lower == upper or upper - lower <= max(relative * abs(upper), absolute) * (1 + 1e-9) < math.inf:
                return float(seconds)
        return math.inf

    def gaps(self, reference: float, closed: float) -> Values:
        """Primal and dual gaps: those of each side to the best value known of the query.

        Args:
            reference: the best value known, of this run or another.
            closed: seconds from which on both gaps count as 0, since the bracket is as narrow as was asked for.

        Returns:
            (2, n + 1) shares in [0, 1], primal and dual: column k holds before step k, the last one after all of them.
        """
        return next(all_gaps([self], [reference], [closed]))

    def integral(self, gaps: Values, horizon: float) -> Values:
        """The integrals of step functions over [0, horizon], in seconds: between 0 and the horizon for shares.

        Of primal gaps it is Berthold's primal integral (2013): the average quality of the best point over time, small where
        good points come early; of dual gaps the same for the proved side.

        Args:
            gaps: (..., n + 1) as `gaps` gives them.
            horizon: seconds; what comes later does not count, and the last gap stays until then.
        """
        marks = np.concatenate([[0.0], np.minimum(self.times, horizon), [horizon]])
        areas: Values = gaps @ (marks[1:] - marks[:-1])
        return areas

    def sample(self, gaps: Values, times: Values) -> Values:
        """The values of step functions (..., n + 1) at times (m,)."""
        sampled: Values = gaps[..., np.searchsorted(self.times, times, side="right")]
        return sampled


def all_gaps(
    trajectories: Sequence[Trajectory], references: Sequence[float], closed: Sequence[float]
) -> Iterator[Values]:
    """`Trajectory.gaps` of many trajectories in one computation, several times as fast as one by one."""
    counts = [len(trajectory.times) for trajectory in trajectories]
    value, until = np.repeat(references, counts), np.repeat(closed, counts)
    open_still = np.concatenate([trajectory.times for trajectory in trajectories]) < until
    upper = np.concatenate([trajectory.upper for trajectory in trajectories])
    lower = np.concatenate([trajectory.lower for trajectory in trajectories])
    sides = np.stack([gap(upper, value), gap(lower, value)]) * open_still
    begin = 0
    for count in counts:
        result = np.ones((2, count + 1))
        result[:, 1:] = sides[:, begin : begin + count]
        begin += count
        yield result

"""What each level of each factor does: means over the seeds, and differences to the first level, pair by pair.

Radii are brackets, so means are ranges, and an interval is the hull of the intervals of all radii that the brackets allow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..comparison.statistics import Range, mean_bracket, median_bracket, t_interval


@dataclass(frozen=True)
class Measured:
    """A run that is done: its setting, seed, test accuracy, and the bracket of each image, 0 where it is misclassified."""

    setting: Mapping[str, str]
    seed: int
    accuracy: float
    brackets: tuple[Range, ...]
    seconds: float = 0.0

    @property
    def radius(self) -> Range:
        """Range of the median radius over all images."""
        return median_bracket([low for low, _ in self.brackets], [high for _, high in self.brackets])


@dataclass(frozen=True)
class Effect:
    """One level of one factor.

    Attributes:
        factor: name.
        level: label.
        runs: how many there are.
        radii: range of the median radius of each run.
        mean: range of their mean.
        interval: 95 % for the mean; infinite where there is one run.
        accuracy: mean test accuracy.
        difference: range of the mean difference to the first level over pairs of equal seeds and otherwise equal settings; None
            for the first level, or where there are no pairs.
        difference_interval: 95 % for it.
        pairs: how many.
    """

    factor: str
    level: str
    runs: int
    radii: tuple[Range, ...]
    mean: Range
    interval: Range
    accuracy: float
    difference: Range | None = None
    difference_interval: Range | None = None
    pairs: int = 0

    @property
    def verdict(self) -> str:
        """larger, smaller, or undecided: what the interval of the difference says."""
        if self.difference_interval is None:
            return ""
        low, high = self.difference_interval
        return "larger" if low > 0 else "smaller" if high < 0 else "undecided"


def effects(runs: Sequence[Measured], factors: Mapping[str, Sequence[str]], full: bool) -> list[Effect]:
    """Every level of every factor that has runs.

    Args:
        runs: those that are done.
        factors: labels of the levels, the base's first.
        full: all combinations count; else a level is looked at where all other factors are at their first levels.
    """
    found = []
    base = {name: labels[0] for name, labels in factors.items()}
    for name, labels in factors.items():
        own = [r for r in runs if full or all(r.setting[k] == base[k] for k in factors if k != name)]
        first = {_rest(r, name): r for r in own if r.setting[name] == labels[0]}
        for label in labels:
            members = [r for r in own if r.setting[name] == label]
            if not members:
                continue
            radii = tuple(r.radius for r in members)
            accuracy = math.fsum(r.accuracy for r in members) / len(members)
            low, high = t_interval(radii)
            interval = max(low, 0.0) if math.isfinite(low) else low, high  # no radius is below 0
            effect = Effect(name, label, len(members), radii, mean_bracket(radii), interval, accuracy)
            if label != labels[0]:
                pairs = [(r.radius, first[_rest(r, name)].radius) for r in members if _rest(r, name) in first]
                moved = [(a[0] - b[1], a[1] - b[0]) for a, b in pairs]
                if moved:
                    effect = Effect(
                        *(name, label, len(members), radii, effect.mean, effect.interval, accuracy),
                        mean_bracket(moved),
                        t_interval(moved),
                        len(moved),
                    )
            found.append(effect)
    return found


def _rest(run: Measured, factor: str) -> tuple[Any, ...]:
    """What a pair has in common."""
    return (run.seed, *(sorted((k, v) for k, v in run.setting.items() if k != factor)))

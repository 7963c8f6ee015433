"""The course of a search: how a proved value has risen so far, and when it will arrive."""

from __future__ import annotations

import math


class Course:
    """Seconds searched and the value proved then, point by point."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.points: list[tuple[float, float]] = []

    def record(self, seconds: float, value: float) -> None:
        """One more point; seconds do not fall."""
        self.points.append((seconds, value))

    def remaining(self, goal: float) -> float:
        """Seconds still needed to come to `goal` if the value rises on as in the last three quarters of its course.

        Infinity where it does not rise.
        """
        if len(self.points) < 2:
            return math.inf
        now, value = self.points[-1]
        before, lowest = next(point for point in self.points if point[0] >= now / 4)  # it has plateaus
        rise = (value - lowest) / (now - before) if now > before else 0.0
        return (goal - value) / rise if rise > 0 else math.inf

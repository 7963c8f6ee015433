"""The time of one query, which may be worked on in a batch with others."""

from __future__ import annotations

import time


class Clock:
    """Seconds spent on a query; of work on a batch only its fraction counts."""

    def __init__(self) -> None:
        """Starts at once, for one query alone."""
        self._spent, self._since, self._among = 0.0, time.perf_counter(), 1.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._spent + (time.perf_counter() - self._since) / self._among

    def divide_among(self, count: float) -> None:
        """From now on so many queries are worked on at the same time; infinity stops the clock."""
        self._spent, self._since, self._among = self.elapsed, time.perf_counter(), count

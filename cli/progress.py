"""Progress of long work on a terminal: what is settled, the bracket of the query under way as it moves, and the time that is left."""

from __future__ import annotations

import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from .table import console, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from advverify.verifier.outcome import Outcome, TraceEvent

_LINES = 4  # queries under way that are shown
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"  # a turn a second says that the program lives, whatever else stands still
_BAR, _LEAST_NAME = 20, 12  # characters of a bar at most, and of a name that is cut at least
_VERDICTS = ("robust", "adversarial", "misclassified", "unknown")


@dataclass
class _UnderWay:
    """What is known of a query that is worked on."""

    began: float
    event: TraceEvent


class Progress:
    """Shows long work on stderr while it lasts, and leaves nothing there; silent where stderr is no terminal.

    >>> with Progress(3, "images") as progress:
    ...     progress.settle(0)

    Attributes:
        settled: how many queries are.
    """

    def __init__(
        self,
        total: int,
        noun: str = "images",
        name: Callable[[Any], str] = lambda key: f"image {key}",
        *,
        limit: float | None = None,
        jobs: int = 1,
        word: str = "distance",
        quiet: bool = False,
        screen: Console | None = None,
    ) -> None:
        """Begin with nothing settled.

        Args:
            total: how many queries there are.
            noun: what they are about.
            name: of a query, by its key.
            limit: seconds that a query may take.
            jobs: how many are worked on at the same time.
            word: what brackets are of: distance, margin.
            quiet: show nothing.
            screen: where to; stderr where None.
        """
        self.total, self.noun, self.name = total, noun, name
        self.limit, self.jobs, self.word = limit, max(jobs, 1), word
        self.settled, self._counts, self._doing = 0, Counter[str](), "working"
        self._under_way: dict[Hashable, _UnderWay] = {}
        self._began = self._last = time.monotonic()
        self._screen, self._quiet = screen, quiet
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Show it, unless there is nothing to do or nobody to see it."""
        if self._quiet or not self.total or (self._screen is None and not _somebody_looks()):
            return self
        screen = console(stderr=True) if self._screen is None else self._screen
        if screen.is_terminal or screen.is_jupyter:
            from rich.live import Live

            # What is drawn is drawn once here: its modules must be there before a search makes copies of this process.
            list(screen.render(self))
            here = sys.stdout.isatty()  # what is printed meanwhile appears above; into a file or pipe it goes as it is
            frames = len(_FRAMES)
            self._live = Live(self, console=screen, refresh_per_second=frames, transient=True, redirect_stdout=here)
            self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Take it off the screen."""
        self.stop()

    def stop(self) -> None:
        """Take it off the screen, for something else that is to be said."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def doing(self, text: str) -> None:
        """Say what is done at the moment, where no bracket says it."""
        self._doing = text

    def hear(self, key: Hashable, event: TraceEvent) -> None:
        """The bracket of a query has moved."""
        known = self._under_way.get(key)
        began = time.monotonic() - event.seconds if known is None else known.began
        self._under_way[key] = _UnderWay(began, event)

    def settle(self, key: Hashable, outcome: Outcome | None = None) -> None:
        """A query is done with."""
        self._under_way.pop(key, None)
        self.settled += 1
        self._last = time.monotonic()
        if outcome is not None:
            self._counts[outcome.verdict.value] += 1

    def left(self, now: float) -> tuple[float, float]:
        """Seconds that the rest will take: as fast as what is settled, and at the time limit of each.

        A query that takes longer than the mean of those before says that the rest may take as long. Both are infinite where
        nothing says how long they are.
        """
        rest = self.total - self.settled
        if not rest:
            return 0.0, 0.0
        under_way = sum(now - each.began for each in self._under_way.values())
        most = math.inf if self.limit is None else max((rest * self.limit - under_way) / self.jobs, 0.0)
        if not self.settled:
            return most, most
        each = (now - self._began) / self.settled
        if self.jobs == 1:
            each = max(each, now - self._last)
        return min(rest * each, most), most

    def __rich_console__(self, screen: Console, options: Any) -> Iterator[Text]:
        """Lines, each cut to the width of the screen."""
        from rich.text import Text

        now = time.monotonic()
        frame = _FRAMES[int(now * len(_FRAMES)) % len(_FRAMES)]
        if self.total > 1:
            yield _line(Text(self._whole(now, options.max_width)), options.max_width)
        shown = list(self._under_way.items())
        for key, each in shown[:_LINES]:
            yield _line(Text(f"{frame} {self._one(key, each, now, options.max_width - 2)}"), options.max_width)
        more = len(shown) - _LINES
        if more > 0:
            yield _line(Text(f"  and {more} more"), options.max_width)
        if not shown:
            passed = now - (self._began if self.total == 1 else self._last)
            yield _line(Text(f"{frame} {self._doing}, {duration(passed)}"), options.max_width)

    def _whole(self, now: float, width: int) -> str:
        """What is settled; of the rest as much as there is room for."""
        counts = ", ".join(f"{self._counts[v]} {v}" for v in _VERDICTS if self._counts[v])
        settled, passed, rest = (
            f"{self.settled} of {self.total} {self.noun}",
            duration(now - self._began),
            self._rest(now),
        )
        choices = ((settled, counts, passed, rest), (settled, passed, rest), (settled, rest), (settled,))
        texts = [" · ".join(part for part in parts if part) for parts in choices]
        text = next((each for each in texts if len(each) <= width), texts[-1])
        room = min(_BAR, width - len(text) - 1)
        if room < 5:
            return text
        done = room * self.settled // self.total
        return f"{'━' * done}{'╌' * (room - done)} {text}"

    def _rest(self, now: float) -> str:
        least, most = self.left(now)
        if math.isinf(least):
            return ""
        if math.isinf(most):
            return f"about {duration(least)} left"
        low, high = duration(least), duration(most)
        return f"at most {high} left" if low == high or least > 0.8 * most else f"{low} to {high} left"

    def _one(self, key: Hashable, each: _UnderWay, now: float, width: int) -> str:
        """A query under way: its bracket whole, its name as far as there is room for it."""
        event = each.event
        low = f"{number(event.lower, 4)} <= " if math.isfinite(event.lower) else ""
        high = f" <= {number(event.upper, 4)}" if math.isfinite(event.upper) else ""
        known = f"{low}{self.word}{high}" if low or high else "nothing known yet"
        limit = "" if self.limit is None else f" of {duration(self.limit)}"
        known += f", {duration(now - each.began)}{limit}"
        name, by = self.name(key), f", {event.engine}"
        if len(f"{name}: {known}{by}") > width:
            by = ""
        room = width - len(f": {known}{by}")
        if len(name) > room >= _LEAST_NAME:
            name = f"{name[: room // 2 - 1]}…{name[len(name) - (room - room // 2) :]}"
        return f"{name}: {known}{by}" if room >= _LEAST_NAME or len(name) <= room else known


def _somebody_looks() -> bool:
    """Whether stderr is a terminal, or this a notebook; rich, which takes time to load, knows the rest."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _line(text: Text, width: int) -> Text:
    text.truncate(width, overflow="ellipsis")
    return text

"""Progress says what is settled, what is known of the query under way, and an honest range of the time that is left."""

import math
import time
from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from advverify.cli.progress import Progress, duration
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves time."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


def screen(width: int = 80, terminal: bool = True) -> Console:
    return Console(file=StringIO(), width=width, force_terminal=terminal)


def shown(progress: Progress, width: int = 80) -> list[str]:
    out = StringIO()
    Console(file=out, width=width).print(progress)
    return out.getvalue().splitlines()


def outcome(verdict: Verdict) -> Outcome:
    return Outcome(verdict, Bracket(0.1, 0.2), Trust.SOLVER, "crown", 0.1)


def test_one_query_shows_that_it_lives(clock: Callable[[float], None]) -> None:
    progress = Progress(1, limit=60, screen=screen())
    clock(3)
    first = shown(progress)
    clock(0.1)
    assert len(first) == 1 and first[0].endswith("working, 3 s") and shown(progress)[0][0] != first[0][0]
    progress.hear(0, TraceEvent(2.0, 0.05, math.inf, "crown"))
    clock(10)
    (line,) = shown(progress)
    assert line[2:] == "image 0: 0.05 <= distance, 12 s of 60 s, crown"
    progress.hear(0, TraceEvent(12.0, 0.05, 0.0625, "falsify"))
    assert shown(progress)[0][2:] == "image 0: 0.05 <= distance <= 0.0625, 12 s of 60 s, falsify"


@pytest.mark.parametrize("width", [40, 80, 120])
def test_many_queries(width: int, clock: Callable[[float], None]) -> None:
    progress = Progress(10, name=lambda k: f"a network with a long name, image {k}", limit=60, jobs=6, screen=screen())
    for k in range(3):
        progress.settle(k, outcome(Verdict.ROBUST))
    for k in range(3, 9):
        progress.hear(k, TraceEvent(0.0, -math.inf, math.inf, "crown"))
    clock(6)
    lines = shown(progress, width)
    assert len(lines) == 6 and lines[-1] == "  and 2 more" and max(map(len, lines)) <= width
    assert "3 of 10 images" in lines[0] and (width < 80 or "3 robust" in lines[0])


@pytest.mark.parametrize("width", [46, 60, 80, 120])
def test_numbers_are_whole_and_names_keep_both_ends(width: int, clock: Callable[[float], None]) -> None:
    progress = Progress(
        3, name=lambda k: f"models/of/some/family/network-{k}.onnx, norm inf, {k}", limit=60, screen=screen()
    )
    progress.hear(7, TraceEvent(0.0, 0.0436762, 0.0969836, "relu-split"))
    clock(5)
    line = shown(progress, width)[1][2:]
    assert len(line) <= width - 2 and "0.04368 <= distance <= 0.09698, 5 s of 60 s" in line
    assert width < 80 or (line.startswith("models/of") and "norm inf, 7: " in line)


def test_what_is_left_is_a_range(clock: Callable[[float], None]) -> None:
    """As fast as before, unless the one under way is slower, and at most the limit of each."""
    progress = Progress(5, limit=60, screen=screen())
    assert progress.left(time.monotonic()) == (300, 300)
    for k in range(3):
        clock(1)
        progress.settle(k)
    assert progress.left(time.monotonic()) == (2, 120)
    progress.hear(3, TraceEvent(0.0, 0.0, 1.0, "lp-split"))
    clock(30)
    assert progress.left(time.monotonic()) == (60, 90)
    clock(28)
    assert progress.left(time.monotonic()) == (62, 62)
    assert "at most 62 s left" in shown(progress, 120)[0]
    for k in (3, 4):
        progress.settle(k)
    assert progress.left(time.monotonic()) == (0, 0)
    endless = Progress(2, screen=screen())
    assert endless.left(time.monotonic()) == (math.inf, math.inf) and "left" not in shown(endless)[0]


def test_only_terminals_see_it() -> None:
    for quiet, terminal, total in ((False, False, 3), (True, True, 3), (False, True, 0)):
        place = screen(terminal=terminal)
        with Progress(total, quiet=quiet, screen=place) as progress:
            progress.settle(0)
        assert isinstance(place.file, StringIO) and not place.file.getvalue()
    place = screen()
    with Progress(3, screen=place) as progress:
        progress.settle(0)
    assert isinstance(place.file, StringIO) and "0 of 3 images" in place.file.getvalue()


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 89, 90, 5399, 7200)] == ["0 s", "89 s", "2 min", "90 min", "2.0 h"]

"""The benchmark itself: an undisturbed run, rounds of mischief, and a comparison."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from advverify.verifier.store import Store

from ..measure import table
from .cluster import hides
from .mischief import KINDS, Mischief
from .stage import Driver, Stage

_INSIDE = "ADVVERIFY_CHAOS_MOUNTS"
_STUCK = 900.0  # seconds of a round without a new answer
_AMID, _BETWEEN, _QUIET = 0.8, 12, 180.0  # share of strikes that wait for answers, how many at most, and how long
_LAST = 3  # undisturbed runs that may be needed after the mischief
_ENDS = {0, 1, 2, 130}  # exit statuses that a driver may choose


@click.command("chaos")
@click.option("--queries", default=400, show_default=True, help="About so many.")
@click.option("--rounds", default=1, show_default=True, help="Of every kind of mischief.")
@click.option("--kind", multiple=True, help="Only kinds that contain this text.")
@click.option("--seed", default=0, show_default=True)
def command(queries: int, rounds: int, kind: tuple[str, ...], seed: int) -> None:
    """Kill drivers, workers and schedulers, fill disks, hide files: every query is answered once, as in a quiet run."""
    _have_mounts()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # what was started is ended then too
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        stage = Stage(Path(folder), rng, small=_INSIDE in os.environ)
        stage.prepare(queries)
        quiet = Path(folder) / "quiet.sqlite"
        began = time.perf_counter()
        driver = stage.start(quiet)
        driver.process.wait()
        if driver.process.returncode:
            raise click.ClickException(f"the undisturbed run failed: {driver.end()}")
        rows = [["undisturbed", 1, 0, len(_answers(quiet)), 0, f"{time.perf_counter() - began:.0f}"]]
        kinds = [each for each in KINDS if not kind or any(text in each.name for text in kind)]
        order = [each for _ in range(rounds) for each in rng.sample(kinds, len(kinds))]
        for number, each in enumerate(order, start=1):
            if each.disk and not stage.small:
                rows.append([each.name + ": not tried, no mounts here", 0, 0, 0, 0, "0"])
                continue
            done = stage.answered()  # what is left is shared among this round and those to come
            quota = done + (len(_answers(quiet)) - done) // (len(order) + 2 - number)
            rows.append(_round(stage, each, quota))
            click.echo(rows[-1], err=True)
        rows.append(_finish(stage))
        click.echo(table(["mischief", "drivers", "strikes", "answers", "accidents then", "seconds"], rows))
        _judge(stage, quiet)
        if stage.small:
            subprocess.run(["umount", str(stage.store.parent)], check=True)


def _have_mounts() -> None:
    """Start again as a process that has mounts of its own, where the machine allows it."""
    unshare = hides()
    if unshare is not None and _INSIDE not in os.environ:
        os.environ[_INSIDE] = "1"
        os.execvp(unshare[0], [*unshare, sys.executable, "-m", "benchmarks", *sys.argv[1:]])


def _round(stage: Stage, mischief: Mischief, quota: int) -> list[object]:
    """Drivers under one kind of mischief, until the store has its quota of answers."""
    before, began = stage.answered(), time.perf_counter()
    drivers = strikes = 0
    last, moved = before, time.perf_counter()
    mischief.begin(stage)
    try:
        while stage.answered() < quota:
            driver = stage.start(stage.store, *mischief.options(stage), environment=mischief.environment(stage))
            drivers += 1
            while driver.runs() and stage.answered() < quota:
                _pause(stage, driver)
                if mischief.strike is not None and driver.runs():
                    mischief.strike(stage, driver)
                    strikes += 1
                if stage.answered() > last:
                    last, moved = stage.answered(), time.perf_counter()
            _heed(stage, mischief.name, driver)
            if time.perf_counter() - moved > _STUCK:
                stage.faults.append(f"{mischief.name}: no new answer for {_STUCK:g} s")
                break
    finally:
        mischief.end(stage)
    seconds = f"{time.perf_counter() - began:.0f}"
    return [mischief.name, drivers, strikes, stage.answered() - before, stage.accidents(), seconds]


def _pause(stage: Stage, driver: Driver) -> None:
    """Wait for the next strike: now and then while things start, mostly in the middle of answers."""
    until = time.perf_counter() + stage.rng.uniform(0.5, 6.0)
    if stage.rng.random() < _AMID:
        patience, wanted = time.perf_counter() + _QUIET, stage.answered() + stage.rng.randint(1, _BETWEEN)
        while driver.runs() and stage.answered() < wanted and time.perf_counter() < patience:
            time.sleep(0.1)
        until = time.perf_counter() + stage.rng.uniform(0.0, 2.0)
    while driver.runs() and time.perf_counter() < until:
        time.sleep(0.05)


def _heed(stage: Stage, name: str, driver: Driver) -> None:
    """End a driver; how it ended by itself, and what it said, may be a fault."""
    by_itself = not driver.runs()
    words = driver.end()
    if "Traceback" in words or (by_itself and driver.process.returncode not in (*_ENDS, -9)):
        stage.faults.append(f"{name}: a driver ended with {driver.process.returncode}: {words[-2000:]}")
    if stage.answered():
        stage.count_answers()


def _finish(stage: Stage) -> list[object]:
    """Undisturbed runs until nothing is left."""
    before, began, runs = stage.answered(), time.perf_counter(), 0
    for _ in range(_LAST):
        driver = stage.start(stage.store)
        driver.process.wait()
        runs += 1
        _heed(stage, "the last run", driver)
        if driver.process.returncode == 0:
            break
    else:
        stage.faults.append(f"after {_LAST} undisturbed runs something is open")
    seconds = f"{time.perf_counter() - began:.0f}"
    return ["undisturbed again", runs, 0, stage.answered() - before, stage.accidents(), seconds]


def _answers(path: Path) -> dict[str, tuple[str, float | None, float | None]]:
    """Verdict, and the bracket of distances, by query."""
    with Store(path) as store:
        return {
            row["key"]: (row["verdict"], row["lower"], row["upper"])
            if row["kind"] == "distance"
            else (row["verdict"], 0, 0)
            for row in store.rows()
        }


def _judge(stage: Stage, quiet: Path) -> None:
    """Compare with the undisturbed run.

    Raises:
        SystemExit: with status 1, where anything differs.
    """
    wanted, found = _answers(quiet), _answers(stage.store)
    given = stage.given()
    missing = [key for key in wanted if found.get(key, (None,))[0] is None]
    unknown = [key for key, answer in found.items() if answer[0] == "unknown"]
    differ = [key for key in wanted if key in found and not _agree(wanted[key], found[key])]
    twice = [key for key, count in given.items() if count > 1]
    lines = [
        ["queries", len(wanted)],
        ["answered", len(found) - len(missing)],
        ["answered twice", len(twice)],
        ["answers that differ from the undisturbed run's", len(differ)],
        ["unknown", len(unknown)],
        ["accidents left", stage.accidents()],
        ["other faults", len(stage.faults)],
    ]
    click.echo(table(["at the end", ""], lines))
    for fault in stage.faults:
        click.echo(fault, err=True)
    if missing or unknown or differ or twice or stage.faults or stage.accidents() or set(found) != set(wanted):
        raise SystemExit(1)


def _agree(a: tuple[str, float | None, float | None], b: tuple[str, float | None, float | None]) -> bool:
    """The same verdict, and brackets that have a value in common."""
    sides = [(lower or 0.0, float("inf") if upper is None else upper) for _, lower, upper in (a, b)]
    return a[0] == b[0] and max(low for low, _ in sides) <= min(high for _, high in sides)

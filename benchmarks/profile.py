"""Where the time of queries goes, set by set: start-up, reading, and every engine of the cascade.

Start-up is that of a whole process that only imports what a query needs; the rest is measured in this process, engine by engine.
"""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click

from advverify.verifier import cascade
from advverify.verifier.api import Model, verify
from advverify.verifier.engines import ENGINES, Settings, get_engine
from advverify.verifier.engines.state import SearchState
from advverify.verifier.outcome import Verdict

from .measure import table

_START = "import advverify.verifier.api"
_STARTS = 3


class Timed:
    """An engine whose seconds are added up; everything else is the engine's own."""

    def __init__(self, name: str, spent: dict[str, float]) -> None:
        """Wrap a fresh engine."""
        self._engine: Any = get_engine(name)
        self._spent = spent

    def __getattr__(self, attribute: str) -> Any:
        """What the engine has."""
        return getattr(self._engine, attribute)

    def run(self, state: SearchState, deadline: float) -> None:
        """Run it, and write down how long that took, however it ends."""
        with self._timed():
            self._engine.run(state, deadline)

    def resume(self, state: SearchState, deadline: float) -> None:
        """Let it go on; likewise."""
        with self._timed():
            self._engine.resume(state, deadline)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self._spent[self._engine.name] += time.perf_counter() - began


@click.command("profile")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--timeout", default=20.0, show_default=True, help="Seconds an instance.")
@click.option("--take", type=int, default=None, help="So many instances of each folder, spread evenly.")
@click.option("--threads", default=2, show_default=True)
def command(folders: tuple[Path, ...], timeout: float, take: int | None, threads: int) -> None:
    """Verify instances of VNN-COMP FOLDERS, and say what took how long."""
    start = min(_started() for _ in range(_STARTS))
    rows, used = [], set[str]()
    profiles: list[tuple[str, int, int, dict[str, float]]] = []
    for folder in folders:
        spent: dict[str, float] = defaultdict(float)
        with (folder / "instances.csv").open() as stream:
            instances = _spread(list(csv.reader(stream)), take)
        settled = 0
        with patch.object(cascade, "get_engine", partial(Timed, spent=spent)):
            for model, spec, limit in instances:
                began = time.perf_counter()
                network = Model(folder / model)
                spent["reading"] += time.perf_counter() - began
                settings = Settings(timeout=min(timeout, float(limit)), threads=threads)
                outcome = verify(network, folder / spec, settings=settings)
                spent["all"] += time.perf_counter() - began
                settled += outcome.verdict is not Verdict.UNKNOWN
        used |= set(spent)
        profiles.append((folder.name, len(instances), settled, spent))
    names = [name for name in ENGINES if name in used]
    for name, count, settled, spent in profiles:
        inside = sum(spent[each] for each in (*names, "reading"))
        shares = [spent["reading"], *(spent[each] for each in names), spent["all"] - inside]
        rows.append([name, f"{settled} of {count}", *(f"{seconds / count:.2f}" for seconds in shares)])
    click.echo(f"Start-up of a process (its imports alone): {start:.2f} s. Seconds an instance:\n")
    click.echo(table(["set", "settled", "model", *names, "property and the rest"], rows))


def _spread(instances: Sequence[list[str]], take: int | None) -> list[list[str]]:
    """So many of them, evenly."""
    if take is None or take >= len(instances):
        return list(instances)
    return [instances[k * len(instances) // take] for k in range(take)]


def _started() -> float:
    """Seconds of a process that imports what a query needs."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _START], check=True)
    return time.perf_counter() - began

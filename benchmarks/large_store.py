"""What reading a very large store takes: a million answers, made up, read by processes of their own whose memory is measured."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from advverify.verifier.outcome import Outcome
from advverify.verifier.parallel.accident import Accident, AccidentKind
from advverify.verifier.store import Store, StoredQuery

from .gap_report import made_up
from .measure import table

_CHUNK, _DIFFERENT, _MODELS = 5_000, 500, 8
_ACCIDENTS = 100  # one query in so many ends in one


def write_store(path: Path, rows: int) -> None:
    """A store of distances of several networks; some queries end in an accident."""
    rng = np.random.default_rng(0)
    outcomes = [replace(made_up(rng, index), mips=()) for index in range(_DIFFERENT)]
    with Store(path, write=True) as store:
        for begin in range(0, rows, _CHUNK):
            part = range(begin, min(begin + _CHUNK, rows))
            store.add("made-up", "made-up", ".", [_stored(index) for index in part], more=True)
            store.finish(_answers(part, outcomes))
            for index in part[::_ACCIDENTS]:
                store.note_accident(
                    _key(index), Accident(AccidentKind.KILLED, f"the worker died of SIGKILL ({index})"), 2
                )


def _answers(part: range, outcomes: list[Outcome]) -> Iterator[tuple[str, Outcome, int]]:
    for index in part:
        if index % _ACCIDENTS:
            yield _key(index), outcomes[index % len(outcomes)], 1


def _key(index: int) -> str:
    return f"{index:032x}"


def _stored(index: int) -> StoredQuery:
    model, item = f"made-up-{index % _MODELS}", str(index // _MODELS)
    options = '{"engines": [], "gap": 0.0001, "seed": 0, "timeout": 60.0}'
    return StoredQuery(_key(index), "distance", model, "0" * 64, "made-up", item, "inf", None, options, "0.1.0")


@click.command("large_store")
@click.option("--rows", default=1_000_000, show_default=True, help="Queries in the store.")
@click.option("--keep", type=click.Path(path_type=Path), default=None, help="The store, made where it is not there.")
def command(rows: int, keep: Path | None) -> None:
    """Time and memory of `batch status`, `report` and `batch export` on a very large store."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = keep or Path(folder) / "large.sqlite", Path(folder) / "out"
        began = time.perf_counter()
        if not path.exists():
            write_store(path, rows)
            click.echo(f"written in {time.perf_counter() - began:.0f} s", err=True)
        size = f"{path.stat().st_size / 1e6:.0f}"
        lines = []
        for name, arguments in (
            ("batch status", ["batch", "status", "--store", str(path)]),
            ("report --text", ["report", str(path), "--text"]),
            ("report -o", ["report", str(path), "-o", str(out)]),
            ("report -o, against a store as large", ["report", str(path), "-o", str(out), "--against", str(path)]),
            ("batch export, CSV", ["batch", "export", "--store", str(path), "-o", str(out)]),
            ("batch export, Parquet", ["batch", "export", "--store", str(path), "--format", "parquet", "-o", str(out)]),
        ):
            out.unlink(missing_ok=True)
            seconds, peak = _measured(arguments)
            written = f"{out.stat().st_size / 1e6:.1f}" if out.exists() else "-"
            lines.append((name, rows, size, f"{seconds:.1f}", f"{peak:.0f}", written))
            click.echo(lines[-1], err=True)
    click.echo(table(("command", "queries", "store, MB", "seconds", "peak memory, MiB", "written, MB"), lines))


def _measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command.

    Raises:
        ClickException: it failed.
    """
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "advverify", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"advverify {' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_maxrss / 1024

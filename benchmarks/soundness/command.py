"""`python -m benchmarks soundness`: cases until the time is over, in processes that may die without ending the run."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..measure import table
from .networks import NETWORKS, kind_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from .run import Record

_SHIFT = 500  # cases after which a process is replaced
_SILENCE = 120.0  # seconds without a word after which it is taken for hung


def work(pipe: Connection, numbers: list[int], seed: int, kept: str, timeout: float) -> None:
    """Run cases and tell of each."""
    import warnings

    import torch

    from .run import run

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for number in numbers:
        pipe.send(number)
        pipe.send(run(number, seed, Path(kept), timeout))
    pipe.send(None)


class Worker:
    """A process and the case that it is at."""

    def __init__(self, numbers: list[int], seed: int, kept: str, timeout: float) -> None:
        """Start it."""
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=work, args=(theirs, numbers, seed, kept, timeout), daemon=False
        )
        self.process.start()
        theirs.close()
        self.numbers, self.at, self.heard = numbers, numbers[0], time.monotonic()

    def left(self) -> list[int]:
        """Numbers behind the one that it is at."""
        return self.numbers[self.numbers.index(self.at) + 1 :]

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def lost(number: int, why: str) -> Record:
    """A case that its process did not survive."""
    from .run import Record

    return Record(number, kind_of(number), why, True, ["wrong"], [why], [why])


@click.command("soundness")
@click.option("--minutes", type=float, default=5.0, show_default=True)
@click.option("--cases", type=int, default=None, help="Stop after so many.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--from", "first", type=int, default=0, show_default=True, help="First case; with --cases 1, that one only."
)
@click.option(
    "--network", "kinds", multiple=True, type=click.Choice(list(NETWORKS)), help="Only these kinds; by default all."
)
@click.option("--jobs", type=int, default=1, show_default=True, help="Processes.")
@click.option("--keep", type=click.Path(path_type=Path), default=Path("build/soundness"), show_default=True)
@click.option("--verbose", is_flag=True, help="A line for every case that is open, refused or wrong.")
def command(
    minutes: float,
    cases: int | None,
    seed: int,
    first: int,
    kinds: tuple[str, ...],
    jobs: int,
    keep: Path,
    verbose: bool,
) -> None:
    """Everything that a user can call, on nasty networks and questions, against exact rational arithmetic."""
    from .run import HEADER, Counts, shares, where

    click.echo(f"under test: {where()}", err=True)
    keep = keep.resolve()
    counts, began, done = Counts(), time.monotonic(), 0
    until = began + 60 * minutes
    following = first

    def numbers() -> list[int]:
        nonlocal following
        block = _SHIFT if cases is None else min(_SHIFT, first + cases - following)
        following += block
        return [n for n in range(following - block, following) if not kinds or kind_of(n) in kinds]

    def hear(record: Record) -> None:
        nonlocal done
        done += 1
        counts.add(record)
        bad = "wrong" in record.statuses
        if bad or (verbose and set(record.statuses) - {"settled"}):
            word = "WRONG" if bad else "/".join(sorted(set(record.statuses)))
            click.echo(f"{word} {record.number} {record.network}, {record.question}: {record.faults[:1]}", err=True)
            click.echo(f"      advverify {record.line}", err=True)
        if done % 100 == 0:
            rate = done / (time.monotonic() - began)
            settled, wrong = counts.all["settled"], counts.all["wrong"]
            click.echo(f"{done} cases, {rate:.1f} a second, {settled} settled, {wrong} wrong", err=True)

    workers = [Worker(block, seed, str(keep), 5.0) for _ in range(jobs) if (block := numbers())]
    while workers and time.monotonic() < until:
        ready = multiprocessing.connection.wait([worker.pipe for worker in workers], timeout=1.0)
        for worker in list(workers):
            why, rest = "", []
            if worker.pipe in ready:
                try:
                    message = worker.pipe.recv()
                except EOFError:
                    why, rest = "the process died", worker.left()
                else:
                    worker.heard = time.monotonic()
                    if isinstance(message, int):
                        worker.at = message
                    elif message is not None:
                        hear(message)
                    else:
                        rest = numbers()
                        worker.end()
                        workers.remove(worker)
                        workers += [Worker(rest, seed, str(keep), 5.0)] if rest else []
                        continue
            elif time.monotonic() - worker.heard > _SILENCE:
                why, rest = f"no answer in {_SILENCE:g} s", worker.left()
            if why:
                hear(lost(worker.at, why))
                worker.end()
                workers.remove(worker)
                workers += [Worker(rest or block, seed, str(keep), 5.0)] if rest or (block := numbers()) else []
    for worker in workers:
        worker.end()
    click.echo(table(["network", *HEADER], counts.rows("network")))
    click.echo("\n" + table(["question", *HEADER], counts.rows("question")))
    click.echo(f"\n{done} cases in {time.monotonic() - began:.0f} s; {shares(counts.all)}")
    for kind, where_ in sorted(counts.faults.items()):
        click.echo(f"WRONG {kind}: cases {', '.join(map(str, where_[:8]))} ({len(where_)})")
    if counts.faults:
        click.echo(f"failures are kept in {keep}")
        sys.exit(1)

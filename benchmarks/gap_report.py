"""How long a gap report of a large store takes, and how much memory. Its answers are made up: bounds that converge at random speeds.

A process of its own writes the report, so that time and memory are what a user would see.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from advverify.verifier.mip_record import MipRecord
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from advverify.verifier.store import Store, StoredQuery

from .measure import table

LIMIT, GAP = 60.0, 1e-4
_INPUTS, _CHUNK = 64, 5_000


def made_up(rng: np.random.Generator, index: int, speed: float = 1.0, **labels: object) -> Outcome:
    """An outcome of a distance as a search might have had it: both sides come closer until they meet or time is over.

    Args:
        rng: randomness of how they do.
        index: of the image; its distance depends on nothing else.
        speed: factor on all times.
        labels: more of the outcome's.
    """
    exact = float(np.random.default_rng(index).uniform(0.02, 0.3))
    seconds = float(rng.lognormal(0.5, 1.8)) / speed
    moves = int(rng.integers(4, 20))
    times = np.sort(rng.uniform(0.0, 1.0, moves)) ** 3 * seconds
    lower = exact * (1 - (1 - times / seconds) ** 2 * rng.uniform(0.2, 0.9))
    upper = exact * (1 + (1 - times / seconds) ** 4 * rng.uniform(0.0, 0.5))
    upper[times < 0.02 * seconds] = np.inf
    closed = seconds < LIMIT
    trace = [
        TraceEvent(float(t), float(low), float(high), "relu-split")
        for t, low, high in zip(times, lower, upper, strict=True)
        if t <= LIMIT
    ]
    last = (exact * (1 - GAP / 2), exact) if closed else (trace[-1].lower, trace[-1].upper) if trace else (0.0, np.inf)
    seconds = min(seconds, LIMIT)
    trace.append(TraceEvent(seconds, *last, "milp"))
    about = {"label": 7, "objective": "min_distortion", "norm": "inf", "eps": None, "target": None, "index": index}
    about |= {"model": "made-up", "model_sha256": "0" * 64, "data": "made-up", "timeout": LIMIT, "gap": GAP, **labels}
    mips = tuple(_record(rng, target, exact, trace[0].lower, last[0], seconds) for target in range(2 * (seconds > 5)))
    verdict = Verdict.ADVERSARIAL if closed else Verdict.UNKNOWN
    bracket = Bracket(*last, rng.uniform(size=_INPUTS))
    return Outcome(verdict, bracket, Trust.SOLVER, "milp", seconds, tuple(trace), "", about, {"nodes": 3}, mips=mips)


def _record(
    rng: np.random.Generator, target: int, exact: float, first: float, proved: float, seconds: float
) -> MipRecord:
    tightened, cuts = np.sort(rng.uniform(0, 0.8, 2)) * (proved - first) + first
    trace = tuple((float(t), float(exact * (2 - t / seconds)), float(first)) for t in np.linspace(0, seconds, 8)[1:])
    return MipRecord(
        f"class {target}",
        "asymmetric big-M",
        "highs",
        "1.15",
        rows=400,
        columns=300,
        binaries=int(rng.integers(10, 60)),
        nonzeros=9000,
        largest_m=4.0,
        began=0.3,
        seconds=seconds,
        status="solved to optimality within tolerance",
        primal=exact,
        dual=proved,
        proved=proved,
        nodes=int(rng.integers(1, 5000)),
        iterations=12345,
        root={"lp": first, "tightened": float(tightened), "cuts": float(cuts)},
        trace=trace,
    )


def write_store(path: Path, rows: int, seed: int = 0) -> None:
    """A store of so many answers, each to a question of its own."""
    rng = np.random.default_rng(seed)
    with Store(path, write=True) as store:
        for part in _parts(rows):
            store.add("made-up", "made-up", ".", [_stored(index) for index in part], more=True)
            store.finish((_key(index), made_up(rng, index), 1) for index in part)


def _parts(rows: int) -> Iterator[range]:
    for begin in range(0, rows, _CHUNK):
        yield range(begin, min(begin + _CHUNK, rows))


def _key(index: int) -> str:
    return f"{index:032x}"


def _stored(index: int) -> StoredQuery:
    options = f'{{"engines": [], "gap": {GAP}, "seed": 0, "timeout": {LIMIT}}}'
    return StoredQuery(
        _key(index), "distance", "made-up", "0" * 64, "made-up", str(index), "inf", None, options, "0.1.0"
    )


@click.command()
@click.option("--rows", default=100_000, show_default=True, help="Answers in the store.")
def command(rows: int) -> None:
    """Time and memory of `advverify gap` and `advverify report` on a store of made-up answers."""
    with tempfile.TemporaryDirectory() as folder:
        path, page = Path(folder) / "made-up.sqlite", Path(folder) / "page.html"
        write_store(path, rows)
        lines = []
        for name, arguments in (("gap", []), ("gap -o", ["-o", str(page)]), ("report -o", ["-o", str(page)])):
            page.unlink(missing_ok=True)
            began = time.perf_counter()
            call = [sys.executable, "-m", "advverify", name.split()[0], str(path), *arguments]
            subprocess.run(call, check=True, stdout=subprocess.DEVNULL)
            seconds = time.perf_counter() - began
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # of the largest so far
            size = f"{page.stat().st_size / 1e6:.1f}" if page.exists() else "-"
            lines.append((name, rows, f"{path.stat().st_size / 1e6:.0f}", f"{seconds:.1f}", f"{peak:.0f}", size))
    print(table(("command", "answers", "store, MB", "seconds", "peak memory so far, MiB", "page, MB"), lines))


if __name__ == "__main__":
    command()

"""Faults put one at a time into what verdicts rest on: the tests must notice.

A fault is a passage of a file and what stands there instead (`areas/*.toml`), each of a kind that makes wrong answers
possible: a dropped rounding loss, a flipped sign, `<` for `<=`, a swapped bound, a missing clip, something stale. What is
run is the soundness part of the tests (`tests/conftest.py`), those named for the fault's area first. Faults are chosen
by hand, for each promise that a line makes, rather than made by rules, of which most are harmless.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from . import trial
from .faults import ROOT, Fault, load_faults
from .trial import Trial

_SHARE, _LEAST = 5.0, 60.0  # a trial's time limit: so many times what its tests take without a fault, and seconds
KEPT = Path("build/mutants.json")


@dataclass(frozen=True)
class _Task:
    """Tests to be run with a fault, or without one."""

    fault: Fault | None
    tests: tuple[str, ...]
    limit: float


@click.command()
@click.option("--jobs", default=1, show_default=True, help="Trials side by side.")
@click.option("--only", multiple=True, help="Areas, or faults as AREA/NAME.")
@click.option("--minutes", type=float, help="Stop after so long; faults are taken spread over all areas.")
@click.option("--near", is_flag=True, help="Only the tests named for a fault's area, not the whole soundness part.")
@click.option(
    "--limit", type=float, help="Seconds of a trial; by default five times what its tests take without a fault."
)
@click.option("--again", is_flag=True, help="Run those that have a result in --out again; they are kept by default.")
@click.option("--list", "listed", is_flag=True, help="Name the faults and what goes wrong; run nothing.")
@click.option("--out", type=click.Path(path_type=Path), default=KEPT, show_default=True, help="Results as JSON.")
def command(
    jobs: int,
    only: tuple[str, ...],
    minutes: float | None,
    near: bool,
    limit: float | None,
    again: bool,
    listed: bool,
    out: Path,
) -> None:
    """Put faults in one at a time, and say which the tests notice."""
    every = load_faults()
    faults = [fault for fault in every if not only or fault.area in only or fault.label in only]
    if not faults:
        raise click.ClickException("there is no such area or fault; see --list")
    for fault in faults:
        fault.source()  # refuses stale ones before anything runs
    if listed:
        for fault in faults:
            click.echo(f"{fault.label}: {fault.wrong}" + (f" (harmless: {fault.harmless})" if fault.harmless else ""))
        click.echo(f"{len(faults)} faults, {sum(not fault.harmless for fault in faults)} of them count")
        return
    todo = [fault for fault in faults if not fault.harmless]
    if minutes is not None:
        todo = _spread(todo)
    trial.prepare()
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    runner = _Runner(jobs, near, limit, deadline, out)
    if out.is_file() and not again:
        known = json.loads(out.read_text())
        there = {fault.label for fault in every}  # faults may be gone since
        runner.results = {label: Trial(**found) for label, found in known.items() if label in there}
    click.echo(_report(faults, runner.run(todo)))


class _Runner:
    """Trials side by side, and what they gave by fault."""

    def __init__(self, jobs: int, near: bool, limit: float | None, deadline: float | None, out: Path) -> None:
        self.jobs, self.near, self.limit, self.deadline, self.out = jobs, near, limit, deadline, out
        self.normal: dict[str, float] = {}  # seconds without a fault, by file or test
        self.results: dict[str, Trial] = {}

    def run(self, faults: Sequence[Fault]) -> dict[str, Trial]:
        """All faults: first what their tests take without any, then the tests near them, then the others."""
        entries = list(dict.fromkeys(test for fault in faults for test in fault.tests))
        if not self.near:
            entries += [file for file in soundness_files() if file not in entries]
        # survivors again: tests may have been written for them
        faults = [f for f in faults if self._outcome(f) in (None, "survived")]
        with trial.scratch() as folder:
            if self.limit is None:
                self._trials(folder / "normal", [_Task(None, (entry,), 3600.0) for entry in entries])
            self._trials(folder / "near", [_Task(f, f.tests, self._limit(f.tests)) for f in faults])
            if not self.near:
                self._trials(folder / "rest", [self._rest(f) for f in faults if self._outcome(f) == "survived"])
        return self.results

    def _rest(self, fault: Fault) -> _Task:
        """The soundness part less what has been run, the shortest first."""
        tests = tuple(
            file
            for file in sorted(soundness_files(), key=lambda file: self.normal.get(file, 0.0))
            if file not in fault.tests
        )
        return _Task(fault, tests, self._limit(tests))

    def _limit(self, tests: Sequence[str]) -> float:
        return self.limit if self.limit is not None else _LEAST + _SHARE * sum(self.normal[test] for test in tests)

    def _outcome(self, fault: Fault) -> str | None:
        return self.results[fault.label].outcome if fault.label in self.results else None

    def _trials(self, folder: Path, tasks: Sequence[_Task]) -> None:
        waiting, active = list(enumerate(tasks)), dict[int, tuple[int, _Task, float]]()
        try:
            while waiting or active:
                while waiting and len(active) < self.jobs:
                    number, task = waiting.pop(0)
                    if task.fault is not None and self.deadline is not None and time.monotonic() > self.deadline:
                        continue
                    process = trial.begin(task.fault, task.tests, folder / str(number))
                    active[process] = number, task, time.monotonic()
                for process, (number, task, began) in list(active.items()):
                    seconds = time.monotonic() - began
                    late = seconds > task.limit
                    if late:
                        trial.stop(process)
                    elif not trial.ended(process):
                        continue
                    del active[process]
                    self._note(task, trial.end(folder / str(number), seconds, late), folder / str(number) / "output")
                trial.wait()
        finally:
            for process in active:
                trial.stop(process)

    def _note(self, task: _Task, result: Trial, output: Path) -> None:
        """Keep a result.

        Raises:
            click.ClickException: tests fail without any fault, or a fault cannot even be imported.
        """
        if task.fault is None:
            if result.outcome != "survived":
                raise click.ClickException(f"without any fault: {result}\n{output.read_text()[-3000:]}")
            self.normal[task.tests[0]] = result.seconds
            click.echo(f"without a fault  {result.seconds:6.1f} s  {task.tests[0]}")
            return
        if result.outcome == "broken":
            raise click.ClickException(
                f"{task.fault.label} breaks the import, so it tests nothing\n{output.read_text()[-3000:]}"
            )
        before = self.results.get(task.fault.label)
        seconds = result.seconds + (before.seconds if before is not None else 0.0)
        self.results[task.fault.label] = Trial(result.outcome, result.test, seconds, {})
        click.echo(f"{result.outcome:9}  {seconds:6.1f} s  {task.fault.label}  {result.test}")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps({label: asdict(found) for label, found in self.results.items()}, indent=1))


def soundness_files() -> list[str]:
    """Names of the test files that carry the marker."""
    path = ROOT / "tests" / "conftest.py"
    spec = importlib.util.spec_from_file_location("_marks", path)
    assert spec is not None and spec.loader is not None
    marks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(marks)
    return sorted(
        {f.relative_to(path.parent).as_posix() for f in path.parent.rglob("test_*.py")} - marks.NOT_OF_ANSWERS
    )


def _spread(faults: Sequence[Fault]) -> list[Fault]:
    """One of each area in turn, those of an area in an order that is the same every time."""
    by_area: dict[str, list[Fault]] = {}
    for fault in sorted(faults, key=lambda fault: hash_of(fault.label)):
        by_area.setdefault(fault.area, []).append(fault)
    most = max(len(members) for members in by_area.values())
    return [members[k] for k in range(most) for members in by_area.values() if k < len(members)]


def hash_of(label: str) -> str:
    """A shuffle that does not change."""
    import hashlib

    return hashlib.sha256(label.encode()).hexdigest()


def _report(faults: Sequence[Fault], results: dict[str, Trial]) -> str:
    """A Markdown table by area, and the survivors."""
    from ..measure import table

    rows, total = [], Counter[str]()
    for area in sorted({fault.area for fault in faults}):
        counted = [fault for fault in faults if fault.area == area and not fault.harmless and fault.label in results]
        found = Counter(results[fault.label].outcome for fault in counted)
        harmless = sum(fault.area == area and bool(fault.harmless) for fault in faults)
        rows.append((area, *_cells(len(counted), found), harmless))
        total += found
    rows.append(("all", *_cells(total.total(), total), sum(bool(fault.harmless) for fault in faults)))
    header = ("area", "faults", "noticed", "of them by the time limit", "survived", "share", "not counted: harmless")
    survivors = [f for f in faults if f.label in results and results[f.label].outcome == "survived" and not f.harmless]
    lines = [f"- `{fault.label}` ({fault.kind}): {fault.wrong}" for fault in survivors]
    return "\n".join([table(header, rows), "", *lines])


def _cells(count: int, found: Counter[str]) -> tuple[object, ...]:
    noticed = found["noticed"] + found["time-out"]
    return count, noticed, found["time-out"], found["survived"], f"{noticed / count:.0%}" if count else "-"

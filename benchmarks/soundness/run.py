"""Cases by number, their counts, and the folder in which failures are kept in the form of `run_cases.py`."""

from __future__ import annotations

import csv
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import advverify.verifier.api

from . import properties, questions
from .ask import Answer, ask, command_line, write
from .build import Builder
from .exact import TooMany
from .judge import Judgement, Runtime, judge
from .networks import kind_of, make

COLUMNS = ("cases", "settled", "refused", "partial", "open", "wrong")
_COMPLETE = {"relu-split", "milp"}  # engines of which one is needed to settle whatever can be settled


@dataclass
class Record:
    """What became of a case: counts of answers by status, and its faults."""

    number: int
    network: str
    question: str
    plain: bool  # every engine, no radius or threshold at the edge of what floating point can tell
    statuses: list[str]
    faults: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    seconds: float = 0.0
    line: str = ""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder: paths of a case are relative, as they are for whoever reruns it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def case(number: int, seed: int) -> tuple[str, Builder, random.Random]:
    """Network and the source of all that follows; kinds take turns."""
    rng = random.Random(f"{seed}/{number}")
    kind = kind_of(number)
    return kind, make(kind, rng), rng


def run(number: int, seed: int, kept: Path | None, timeout: float = 5.0) -> Record:
    """One case, by its number alone; a failure is kept."""
    began = time.monotonic()
    kind, builder, rng = case(number, seed)
    name, network = f"case{seed}-{number}", builder.network
    with tempfile.TemporaryDirectory(prefix="soundness-") as place, inside(Path(place)):
        path = Path("models", f"{name}.onnx")
        builder.write(path)
        runtime = Runtime(path, builder.shape)
        subject: questions.Question | properties.Property
        try:
            if network.outputs == 1 or rng.random() < (0.6 if network.ending else 0.3):
                subject = properties.draw(rng, network)
            else:
                subject = questions.draw(rng, network, kind, runtime)
        except TooMany:
            return Record(number, kind, "too many pieces", False, [])
        write(name, subject, Path())
        answers = ask(name, subject)
        judged = judge(subject, network, answers, runtime)
        record = Record(number, kind, subject.kind, _plain(subject), [_status(j.status, subject) for j in judged])
        record.line = command_line(name, subject)
        for answer, judgement in zip(answers, judged, strict=True):
            if judgement.status in ("wrong", "refused", "open"):
                record.faults.append(judgement.fault)
            if judgement.status == "wrong":
                record.kinds.append(judgement.kind)
                if kept is not None:
                    keep(kept, name, record, answer, judgement)
    record.seconds = time.monotonic() - began
    return record


def _status(status: str, subject: questions.Question | properties.Property) -> str:
    """What was left open by engines of which none is complete is "partial"."""
    chosen = set(subject.how.engines)
    return "partial" if status == "open" and chosen and not chosen & _COMPLETE else status


def _plain(subject: questions.Question | properties.Property) -> bool:
    edge = subject.kind.split()[-1] in (*questions.EDGES, *properties.EDGES)
    return not edge and not subject.how.engines and not subject.how.float32


def keep(folder: Path, name: str, record: Record, answer: Answer, judgement: Judgement) -> None:
    """Add a failure, with its files, to a folder that `run_cases.py` runs."""
    for part in ("models", "properties", "data"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in Path(part).glob("*"):
            shutil.copy(file, folder / part / file.name)
    path = folder / "cases.csv"
    new = not path.exists()
    with path.open("a", newline="") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["id", "args", "expect", "never", "seconds", "why"])
        identity = f"{name}-{record.network}-{re.sub(r'[^a-z]+', '-', record.question)}-{judgement.kind}"
        writer.writerow([identity, record.line, judgement.expect, judgement.never, 60, judgement.fault])


class Counts:
    """Counts of answers by kind of network and by kind of question."""

    def __init__(self) -> None:
        """Begin at nothing."""
        self.by: dict[str, dict[str, Counter[str]]] = {
            "network": defaultdict(Counter),
            "question": defaultdict(Counter),
        }
        self.all: Counter[str] = Counter()
        self.faults: dict[str, list[int]] = defaultdict(list)

    def add(self, record: Record) -> None:
        """Count a case."""
        for status in record.statuses:
            for counter in (self.by["network"][record.network], self.by["question"][record.question], self.all):
                counter["cases"] += 1
                counter[status] += 1
                if record.plain:
                    counter["plain"] += 1
                    counter[f"plain {status}"] += 1
        for kind in record.kinds:
            self.faults[f"{record.network}, {record.question}: {kind}"].append(record.number)

    def rows(self, by: str) -> list[list[object]]:
        """A line a kind, and one for all."""
        lines = sorted(self.by[by].items())
        return [[name, *_cells(counter)] for name, counter in [*lines, ("all", self.all)]]


def _cells(counter: Counter[str]) -> list[object]:
    asked = counter["plain"] - counter["plain refused"]
    share = f"{100 * counter['plain settled'] / asked:.1f}" if asked else "-"
    return [*(counter[name] for name in COLUMNS), share]


HEADER = (*COLUMNS, "settled of plain, %")


def shares(counter: Counter[str]) -> str:
    """Of all answers, and of those that neither had to be refused nor were asked of engines that are not complete."""
    answerable = counter["cases"] - counter["refused"] - counter["partial"]
    parts = [100 * counter["settled"] / max(count, 1) for count in (counter["cases"], answerable)]
    return f"settled: {parts[0]:.1f} % of all, {parts[1]:.1f} % of those neither refused nor partial"


def where() -> str:
    """Which copy of the program is under test."""
    return str(Path(advverify.verifier.api.__file__).resolve())

"""What workers do with tasks, in whatever process: the answer of an engine, or the accident that stands in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import AdvverifyError, ChangedFile
from ..outcome import Outcome, Verdict
from ..parallel.accident import Accident, AccidentKind, tells_of_memory
from ..parallel.pool import Work
from ..parallel.worker import Duty, Tell
from ..request import Request, answer_all
from .task import Task


def answer(task: Task, tell: Tell) -> Outcome:
    """Settle a task, telling every move of its bracket.

    Raises:
        Accident: whatever kept the engines from an answer.
    """
    with _accidents(task.request):
        outcome = task.request.answer(tell)
    _refuse_failures(outcome)
    return outcome.labelled(**_labels(task))


def prepare(task: Task) -> None:
    """Read a task's model, unless this process has it.

    Raises:
        Accident: it cannot be read.
    """
    with _accidents(task.request):
        task.request.read()


def together(tasks: Sequence[Task]) -> Iterator[tuple[int, Outcome]]:
    """The tasks of a group that are settled in batches: place in the group and answer.

    All of them together get the time of one, which is plenty where batches pay: a group that hangs is noticed as soon as a
    query would be. Those that need more are asked one by one, with all of their time.

    Raises:
        Accident: the rest has to be asked one by one.
    """
    settings = tasks[0].request.settings
    brief = replace(settings, timeout=settings.timeout / len(tasks))
    with _accidents(tasks[0].request):
        for position, outcome in answer_all([replace(task.request, settings=brief) for task in tasks], rest=False):
            yield position, outcome.labelled(**_labels(tasks[position]))


def limit(task: Task) -> float:
    """Seconds that a task may take."""
    return task.request.seconds


WORK: Work[Task, Outcome] = Work(Duty(answer, prepare, together), limit)


@contextmanager
def _accidents(request: Request) -> Iterator[None]:
    """What goes wrong inside is an accident of some kind."""
    try:
        yield
    except Accident:
        raise
    except MemoryError as error:
        raise Accident(AccidentKind.MEMORY, str(error) or "MemoryError") from error
    except (ChangedFile, OSError) as error:
        raise Accident(AccidentKind.FILE, str(error)) from error
    except AdvverifyError as error:
        there = all(Path(path).is_file() for path in (request.path, request.property_path) if path)
        raise Accident(AccidentKind.REFUSED if there else AccidentKind.FILE, str(error)) from error
    except (RuntimeError, ArithmeticError) as error:
        text = f"{type(error).__name__}: {error}"
        kind = AccidentKind.MEMORY if tells_of_memory(text) else AccidentKind.FAILED
        raise Accident(kind, text) from error


def _refuse_failures(outcome: Outcome) -> None:
    """An unknown that engines failed to settle is no answer; one that the time limit ended is.

    Raises:
        Accident: they failed.
    """
    if outcome.verdict is not Verdict.UNKNOWN or "failures" not in outcome.statistics:
        return
    failed = next((note for note in outcome.reason.split("; ") if " failed (" in note), outcome.reason)
    if tells_of_memory(outcome.reason):
        raise Accident(AccidentKind.MEMORY, failed)
    if not outcome.reason.startswith("time limit"):
        raise Accident(AccidentKind.FAILED, failed)


def _labels(task: Task) -> dict[str, Any]:
    stored = task.stored
    about = {"model": stored.model, "model_sha256": stored.model_sha256, "data": stored.data}
    return {**about, "index": stored.item, "key": stored.key}

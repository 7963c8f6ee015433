"""One task, in whatever process it was sent to."""

from __future__ import annotations

from typing import Any

from ..errors import AdvverifyError
from ..outcome import Outcome
from ..parallel.pool import Work
from .job import Task


def answer(task: Task) -> Outcome:
    """Settle a task; whatever goes wrong ends `unknown` with the reason."""
    try:
        outcome = task.request.answer()
    except (AdvverifyError, MemoryError, RuntimeError, ArithmeticError, OSError) as error:
        return failed(task, str(error) or type(error).__name__)
    return outcome.labelled(**_labels(task))


def failed(task: Task, reason: str) -> Outcome:
    """`unknown`, and why."""
    return task.request.unanswered(reason.splitlines()[0]).labelled(**_labels(task))


def _labels(task: Task) -> dict[str, Any]:
    stored = task.stored
    about = {"model": stored.model, "model_sha256": stored.model_sha256, "data": stored.data}
    return {**about, "index": stored.item, "key": stored.key}


def limit(task: Task) -> float:
    """Seconds that a task may take."""
    return task.request.seconds


WORK = Work(answer, failed, limit)

"""Runs a job: what is open, longest expected first, everything kept as it comes by the one writer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

from ..outcome import Outcome
from ..parallel.accident import Accident
from ..parallel.pool import Hear
from ..store import Store
from .groups import grouped
from .job import Job
from .task import Task

Retry = Literal["accidents", "unknown", "all"]

Answer = tuple[Task, Outcome | Accident, int]


class Pool(Protocol):
    """Answers tasks in any order."""

    @property
    def jobs(self) -> int:
        """Tasks that are worked on at the same time."""

    def run(self, groups: Sequence[Sequence[Task]], hear: Hear[Task] | None = None) -> Iterator[Answer]:
        """(task, outcome or accident, attempts) as they come; `hear` gets what workers tell about a task meanwhile."""


Listener = Callable[[Task, Outcome | Accident], None]


def open_tasks(store: Store, job: Job, proofs: Path | None = None, retry: Retry = "accidents") -> list[Task]:
    """Tasks to do, longest expected first.

    Args:
        store: what is answered already; what ended in an accident is not.
        job: all tasks.
        proofs: the folder that proofs of what is answered now go to, in the place of the job's own; it does not change what a
            query is.
        retry: what is asked again: accidents, also what is unknown or whose bracket is open, or all. The time limit is no part
            of what a query is, so that nothing that is settled is asked again because there is more time.
    """
    answered = {} if retry == "all" else store.answered([task.stored.key for task in job.tasks])
    done = {key for key, seconds in answered.items() if seconds is None or retry == "accidents"}
    seen = store.expected_seconds()
    tasks = []
    for task in job.tasks:
        if task.stored.key not in done:
            settings = task.request.settings
            settings = settings if proofs is None else replace(settings, proofs=proofs)
            expected = seen.get((task.stored.model_sha256, task.stored.kind), task.expected)
            tasks.append(replace(task, request=replace(task.request, settings=settings), expected=expected))
    return sorted(tasks, key=lambda task: -task.expected)


def with_more_time(store: Store, job: Job) -> int:
    """How many answers are open that had less time than the job gives by now."""
    had = store.answered([task.stored.key for task in job.tasks])
    return sum((had.get(task.stored.key) or math.inf) < task.request.settings.timeout for task in job.tasks)


def most_seconds(tasks: list[Task], jobs: int) -> float:
    """Seconds that what is open takes at most, if every query needs all of its limit."""
    limits = [task.request.seconds for task in tasks]
    longest = max(limits, default=0.0)
    return longest + (sum(limits) - longest) / max(jobs, 1)


def run_job(store: Store, job: Job, tasks: list[Task], pool: Pool, listener: Listener | None = None) -> int:
    """Settle the tasks of a job (see `open_tasks`); returns the number of answers.

    Every answer, accident and move of a bracket is kept at once, in a transaction of its own.

    Raises:
        InvalidInput: the store cannot be written any more.
    """
    store.add(job.name, job.text, job.folder, [task.stored for task in job.tasks])
    count = 0
    for task, found, attempts in pool.run(
        grouped(tasks, pool.jobs), lambda task, events: store.note_progress(task.stored.key, events)
    ):
        if isinstance(found, Accident):
            store.note_accident(task.stored.key, found, attempts)
        else:
            store.finish([(task.stored.key, found, attempts)], {task.stored.key: task.stored.options})
            count += 1
        if listener is not None:
            listener(task, found)
    return count

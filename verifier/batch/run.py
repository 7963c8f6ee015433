"""Runs a job: what is open, longest expected first, answers kept as they come by the one writer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from ..outcome import Outcome
from ..store import Store
from .job import Job, Task

_FLUSH_SECONDS, _FLUSH_ROWS = 0.5, 200

Answer = tuple[Task, Outcome, int]


class Pool(Protocol):
    """Answers tasks in any order."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Answer]:
        """(task, outcome, attempts) as they come."""


Listener = Callable[[Task, Outcome], None]


def open_tasks(store: Store, job: Job, proofs: Path | None = None) -> list[Task]:
    """The tasks without an answer, longest expected first: by the store's experience where there is one.

    `proofs` is a folder for proofs of what is answered now; it does not change what a query is.
    """
    done = store.answered([task.stored.key for task in job.tasks])
    seen = store.expected_seconds()
    tasks = []
    for task in job.tasks:
        if task.stored.key not in done:
            settings = replace(task.request.settings, proofs=proofs)
            expected = seen.get((task.stored.model_sha256, task.stored.kind), task.expected)
            tasks.append(replace(task, request=replace(task.request, settings=settings), expected=expected))
    return sorted(tasks, key=lambda task: -task.expected)


def estimate(tasks: list[Task], jobs: int) -> float:
    """Rough seconds for what is open."""
    return sum(min(task.expected, task.request.seconds) for task in tasks) / max(jobs, 1)


def run_job(store: Store, job: Job, tasks: list[Task], pool: Pool, listener: Listener | None = None) -> int:
    """Settle the tasks of a job (see `open_tasks`); returns the number of answers. What was answered is kept, whatever ends
    the run.

    Raises:
        InvalidInput: the store cannot be written any more.
    """
    store.add(job.name, job.text, job.folder, [task.stored for task in job.tasks])
    waiting: list[tuple[str, Outcome, int]] = []
    count, last = 0, time.monotonic()
    try:
        for task, outcome, attempts in pool.run(tasks):
            waiting.append((task.stored.key, outcome, attempts))
            count += 1
            if listener is not None:
                listener(task, outcome)
            if len(waiting) >= _FLUSH_ROWS or time.monotonic() - last > _FLUSH_SECONDS:
                store.finish(waiting)
                waiting, last = [], time.monotonic()
    finally:
        if waiting:
            store.finish(waiting)
    return count

"""Runs a job: what is open, longest expected first, answers kept as they come by the one writer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..outcome import Outcome
from ..store import Store
from .job import Job, Task
from .pool import Pool

_FLUSH_SECONDS, _FLUSH_ROWS = 0.5, 200

Listener = Callable[[Task, Outcome], None]


def open_tasks(store: Store, job: Job) -> list[Task]:
    """The tasks without an answer, longest expected first: by the store's experience where there is one."""
    done = store.answered([task.stored.key for task in job.tasks])
    seen = store.expected_seconds()
    tasks = [
        replace(task, expected=seen.get((task.stored.model_sha256, task.stored.kind), task.expected))
        for task in job.tasks
        if task.stored.key not in done
    ]
    return sorted(tasks, key=lambda task: -task.expected)


def estimate(tasks: list[Task], jobs: int) -> float:
    """Rough seconds for what is open."""
    return sum(min(task.expected, task.timeout) for task in tasks) / max(jobs, 1)


def run_job(store: Store, job: Job, pool: Pool, listener: Listener | None = None) -> int:
    """Settle what is open; returns the number of answers. What was answered is kept, whatever ends the run.

    Raises:
        InvalidInput: the store cannot be written any more.
    """
    store.add(job.name, job.text, job.folder, [task.stored for task in job.tasks])
    waiting: list[tuple[str, Outcome, int]] = []
    count, last = 0, time.monotonic()
    try:
        for task, outcome, attempts in pool.run(open_tasks(store, job)):
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

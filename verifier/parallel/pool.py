"""Worker processes that may hang, die or eat memory: each costs its own task and no other.

The driver hands out one task at a time over a pipe. A worker that is gone, or silent for longer than its task's time limit
and a grace period, is replaced and its task tried once more; then it is given up with the reason. Workers leave when their
driver does.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Task = TypeVar("Task")
Reply = TypeVar("Reply")

GRACE = 30.0  # seconds beyond its limit that a task gets before its worker is taken for lost
_ATTEMPTS = 2


@dataclass(frozen=True)
class Work(Generic[Task, Reply]):
    """What workers do.

    Attributes:
        reply: to a task; importable by name in a fresh process. An exception that it raises ends the whole run.
        lost: the reply to a task that was given up, and why it was; made in the driver.
        limit: seconds that a task may take.
    """

    reply: Callable[[Task], Reply]
    lost: Callable[[Task, str], Reply]
    limit: Callable[[Task], float]


def _serve(pipe: Connection, reply: Callable[[Any], Any], parent: int, memory: int) -> None:
    """A worker's life."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    torch.set_num_threads(1)
    if memory:
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))

    def leave_with_parent() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    try:
        while (task := pipe.recv()) is not None:
            try:
                answer: tuple[Any, Exception | None] = (reply(task), None)
            except Exception as error:  # for the driver to raise
                answer = None, error
            pipe.send(answer)
    except (EOFError, OSError):
        return


class _Worker(Generic[Task]):
    """A process, its pipe, and what it is doing."""

    def __init__(self, reply: Callable[[Task], Any], memory: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, reply, os.getpid(), memory), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.attempt, self.deadline = 0, float("inf")

    def give(self, task: Task, attempt: int, limit: float) -> None:
        self.task, self.attempt = task, attempt
        self.deadline = time.monotonic() + limit + GRACE
        self.pipe.send(task)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


class ProcessPool(Generic[Task, Reply]):
    """Processes on this machine."""

    def __init__(self, work: Work[Task, Reply], jobs: int, memory_mib: int = 0) -> None:
        """`memory_mib` limits each worker's data; 0 does not."""
        self.work, self.jobs, self.memory = work, jobs, memory_mib << 20

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Reply, int]]:
        """(task, reply, attempts) as they come.

        Raises:
            Exception: whatever a reply raises.
        """
        waiting = iter(tasks)
        again: list[tuple[Task, int]] = []
        workers = [self._worker() for _ in range(min(self.jobs, len(tasks)))]
        try:
            while True:
                for worker in workers:
                    if worker.task is None and (following := self._next(waiting, again)) is not None:
                        self._hand(worker, *following)
                busy = [w for w in workers if w.task is not None]
                if not busy and not again:
                    return
                nearest = min((w.deadline for w in busy), default=time.monotonic()) - time.monotonic()
                ready = set(wait([w.pipe for w in busy], max(0.0, min(nearest, 1.0))))
                for position, worker in enumerate(workers):
                    if worker.task is None:
                        continue
                    if worker.pipe in ready:
                        found = self._receive(worker, again)
                    elif time.monotonic() > worker.deadline:
                        limit = self.work.limit(worker.task) + GRACE
                        found = self._lost(worker, f"no answer within {limit:g} s, the worker was stopped", again)
                    elif not worker.process.is_alive():
                        found = self._lost(worker, self._end(worker), again)
                    else:
                        continue
                    if not worker.process.is_alive() or worker.pipe.closed:
                        workers[position] = self._worker()
                    if found is not None:
                        yield found
        finally:
            for worker in workers:
                worker.stop()

    def _worker(self) -> _Worker[Task]:
        return _Worker(self.work.reply, self.memory)

    def _next(self, waiting: Iterator[Task], again: list[tuple[Task, int]]) -> tuple[Task, int] | None:
        if again:
            return again.pop()
        task = next(waiting, None)
        return None if task is None else (task, 1)

    def _hand(self, worker: _Worker[Task], task: Task, attempt: int) -> None:
        try:
            worker.give(task, attempt, self.work.limit(task))
        except OSError:  # it died while idle; the loop replaces it
            worker.task = task

    def _receive(self, worker: _Worker[Task], again: list[tuple[Task, int]]) -> tuple[Task, Reply, int] | None:
        assert worker.task is not None
        try:
            reply, error = worker.pipe.recv()
        except (EOFError, OSError):
            return self._lost(worker, self._end(worker), again)
        if error is not None:
            raise error
        found = (worker.task, reply, worker.attempt)
        worker.task = None
        return found

    def _lost(
        self, worker: _Worker[Task], reason: str, again: list[tuple[Task, int]]
    ) -> tuple[Task, Reply, int] | None:
        """Try the task once more, or give it up."""
        assert worker.task is not None
        task, attempt = worker.task, worker.attempt
        worker.task = None
        worker.stop()
        if attempt < _ATTEMPTS:
            again.append((task, attempt + 1))
            return None
        return task, self.work.lost(task, f"{reason} (attempt {attempt})"), attempt

    def _end(self, worker: _Worker[Task]) -> str:
        worker.process.join(5)
        code = worker.process.exitcode
        return (
            f"the worker was killed by signal {-code}" if code and code < 0 else f"the worker ended with status {code}"
        )

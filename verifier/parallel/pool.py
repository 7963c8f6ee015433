"""Worker processes that may hang, die or eat memory: each costs its own task and no other.

The driver hands out work over a line, as soon as a worker has said that it is ready; a task's time starts when the worker
has prepared for it. A worker that is gone, or silent for longer than its task's time limit and a grace period, is replaced
and its task tried once more; then an accident stands in the place of the reply. Workers leave when their driver does.

Tasks come in groups, of one or several. Of several a worker settles together what it can; the others, and all that an
accident left of a group, are handed out alone.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any, Generic, TypeVar

from ..errors import InvalidInput
from . import worker
from .accident import Accident, AccidentKind, tells_of_memory
from .process import FORKS, fate, start
from .worker import Duty, Message

Task = TypeVar("Task")
Reply = TypeVar("Reply")
Hear = Callable[[Task, list[Any]], None]

GRACE = 30.0  # seconds beyond its limit that a task gets before its worker is taken for lost
_ATTEMPTS = 2
_START = 300.0  # seconds that a worker may take to be ready, and again to prepare for a task
_STARTS = 3  # workers in a row that may fail before any does something
_LAST_WORDS = 1.0  # seconds between the cut of a worker's line and its end
_LOOK = 1.0  # seconds between two looks at who is still there


@dataclass(frozen=True)
class Work(Generic[Task, Reply]):
    """What workers do, and how long they may take.

    Attributes:
        duty: what they do, as it travels to them.
        limit: seconds that a task may take, or a group until its first and each further reply.
    """

    duty: Duty
    limit: Callable[[Task], float]


@dataclass
class _Share(Generic[Task]):
    """Tasks of a group that are still to be done, by their place in it."""

    left: dict[int, Task]
    attempt: int = 1


class _Worker(Generic[Task]):
    """A process, its line, and what it is doing."""

    def __init__(self, duty: Duty, memory: int, fork: bool) -> None:
        self._words = tempfile.TemporaryFile()
        self.process, self.line = start(worker.serve, (duty, memory), self._words, fork)
        self.ready = False
        self.share: _Share[Task] | None = None
        self.allow(_START)

    def allow(self, seconds: float) -> None:
        """It may be silent for so long from now on."""
        self.allowed, self.deadline = seconds, time.monotonic() + seconds

    def give(self, share: _Share[Task]) -> None:
        """Hand it work.

        Raises:
            OSError: it is gone.
        """
        self.line.send_bytes(pickle.dumps(share.left, pickle.HIGHEST_PROTOCOL))
        self.share = share
        self.allow(_START)

    def rest(self) -> None:
        """It has nothing to do."""
        self.share, self.deadline = None, float("inf")

    def hear(self) -> Message | None:
        """What it has to say; None where the line is cut."""
        try:
            message: Message = pickle.loads(self.line.recv_bytes())
        except (EOFError, OSError):
            return None
        return message

    def end(self, patience: float) -> str:
        """End it, if it does not by itself in so many seconds; what has become of it."""
        how = fate(self.process.wait(patience), self._words)
        self.stop()
        return how

    def stop(self) -> None:
        """End it at once."""
        self.process.end()
        self.line.close()
        self._words.close()


class ProcessPool(Generic[Task, Reply]):
    """Processes on this machine."""

    def __init__(
        self,
        work: Work[Task, Reply],
        jobs: int,
        memory_mib: int = 0,
        single_threaded: bool = True,
        lasting: bool = False,
    ) -> None:
        """No workers yet.

        Args:
            work: what they do.
            jobs: how many there are at most.
            memory_mib: limits each worker's data; 0 does not.
            single_threaded: whether tasks compute on one thread. Only then can workers be copies of this process, since
                torch's pool of threads does not survive a fork.
            lasting: whether workers that are idle at the end of a run wait for the next one.
        """
        self.work, self.jobs, self.memory = work, jobs, memory_mib << 20
        self.single_threaded, self.lasting = single_threaded, lasting
        self.resting: list[_Worker[Task]] = []

    def close(self) -> None:
        """End the workers that wait for another run."""
        while self.resting:
            self.resting.pop().stop()

    def run(
        self,
        groups: Sequence[Sequence[Task]],
        hear: Hear[Task] | None = None,
        leave: Callable[[list[Task]], None] | None = None,
    ) -> Iterator[tuple[Task, Reply | Accident, int]]:
        """Have all tasks done.

        Args:
            groups: of tasks; those of a group that has several may be settled together.
            hear: called with a task and what its worker told about it meanwhile.
            leave: takes what was not settled together of a group, which is done one by one here otherwise.

        Yields:
            Task, reply or accident, and attempts, as they come.

        Raises:
            InvalidInput: no worker fits into the memory that it may have.
            Exception: whatever work raises that is no accident.
        """
        yield from _Run(self, groups, hear, leave).replies()


class _Run(Generic[Task, Reply]):
    """One run of a pool: the work that waits, and the workers."""

    def __init__(
        self,
        pool: ProcessPool[Task, Reply],
        groups: Sequence[Sequence[Task]],
        hear: Hear[Task] | None,
        leave: Callable[[list[Task]], None] | None,
    ) -> None:
        self.pool, self.hear, self.leave = pool, hear, leave
        self.fork = FORKS and pool.single_threaded and _copies_compute_gradients()
        self.waiting = deque(_Share(dict(enumerate(group))) for group in groups if group)
        self.workers, pool.resting = pool.resting, []
        self.failures = 0  # workers that died without having done anything, in a row

    def replies(self) -> Iterator[tuple[Task, Reply | Accident, int]]:
        try:
            while self.waiting or any(each.share is not None for each in self.workers):
                self._hand_out()
                for each in self._stirring():
                    yield from self._look(each)
        finally:
            for each in self.workers:
                if self.pool.lasting and each.ready and each.share is None:
                    self.pool.resting.append(each)
                else:
                    each.stop()

    def _hand_out(self) -> None:
        """Give waiting work to idle workers, and start workers for what is left."""
        for each in [w for w in self.workers if w.ready and w.share is None]:
            if not self.waiting:
                return
            share = self.waiting.popleft()
            try:
                each.give(share)
            except OSError:  # it died while idle, which is nobody's attempt
                self.waiting.appendleft(share)
                self._dismiss(each)
        coming = sum(not w.ready for w in self.workers)
        while len(self.waiting) > coming and len(self.workers) < self.pool.jobs:
            self.workers.append(_Worker(self.pool.work.duty, self.pool.memory, self.fork))
            coming += 1

    def _stirring(self) -> list[_Worker[Task]]:
        """Workers that have something to say, are late, or are gone; after a while, where there are none."""
        now = time.monotonic()
        nearest = min((w.deadline for w in self.workers), default=now) - now
        speaking = set(wait([w.line for w in self.workers], max(0.0, min(nearest, _LOOK))))
        now = time.monotonic()
        return [w for w in self.workers if w.line in speaking or now > w.deadline or w.process.poll() is not None]

    def _look(self, each: _Worker[Task]) -> Iterator[tuple[Task, Reply | Accident, int]]:
        if each.line.poll():
            message = each.hear()
            if message is not None:
                yield from self._heed(each, message)
                return
        elif each.process.poll() is None:  # late
            share = each.share
            self._dismiss(each)
            if share is None:
                yield from self._failed_start(f"not ready within {each.allowed:g} s")
            else:
                hung = f"no answer within {each.allowed:g} s, the worker was ended"
                yield from self._over(share, Accident(AccidentKind.HUNG, hung))
            return
        share, was_ready = each.share, each.ready
        how = self._dismiss(each, _LAST_WORDS)
        if share is not None:
            kind = AccidentKind.MEMORY if self.pool.memory and tells_of_memory(how) else AccidentKind.KILLED
            yield from self._over(share, Accident(kind, f"the worker {how}"))
        elif not was_ready:
            yield from self._failed_start(how)

    def _heed(self, each: _Worker[Task], message: Message) -> Iterator[tuple[Task, Reply | Accident, int]]:
        """Act on a message of a worker."""
        share, body = each.share, message.body
        if message.kind == "ready":
            each.ready = True
            each.rest()
            return
        if message.kind == "error":
            raise body
        if share is None:
            raise AssertionError(f"a worker without work said {message.kind}")  # a bug of ours
        if message.kind == "begun":
            each.allow(self._limit(share))
        elif message.kind == "told":
            if self.hear is not None:
                self.hear(share.left[message.place], body)
        elif message.kind == "accident" and len(share.left) == 1:
            each.rest()
            if body.kind is AccidentKind.MEMORY:  # what it holds by now may be what is too much
                self._dismiss(each)
            yield from self._over(share, body)
        elif message.kind in ("accident", "leave"):  # what is left of a group
            each.rest()
            self._alone(share, share.attempt)
        else:
            self.failures = 0
            task = share.left.pop(message.place)
            if share.left:
                each.allow(self._limit(share))
            else:
                each.rest()
            yield task, body, share.attempt

    def _limit(self, share: _Share[Task]) -> float:
        """Seconds that a worker may be silent for, with this in hand; all of a group get no more than one."""
        return GRACE + max(self.pool.work.limit(task) for task in share.left.values())

    def _over(self, share: _Share[Task], accident: Accident) -> Iterator[tuple[Task, Accident, int]]:
        """Try a task once more, or give it up; those of a group are tried alone."""
        if len(share.left) > 1:
            self._alone(share, share.attempt + 1)
        elif accident.kind.passes and share.attempt < _ATTEMPTS:
            self.waiting.appendleft(_Share(share.left, share.attempt + 1))
        else:
            (task,) = share.left.values()
            yield task, accident, share.attempt

    def _alone(self, share: _Share[Task], attempt: int) -> None:
        """Have what is left of a group done one by one, before anything else, or leave it to whoever takes it."""
        if self.leave is not None:
            self.leave(list(share.left.values()))
            return
        self.waiting.extendleft(_Share({0: task}, attempt) for task in reversed(share.left.values()))

    def _failed_start(self, how: str) -> Iterator[tuple[Task, Accident, int]]:
        """Give everything up once several workers in a row did not come to life.

        Raises:
            InvalidInput: they do not fit into the memory that they may have.
        """
        self.failures += 1
        if self.failures < _STARTS:
            return
        if self.pool.memory and tells_of_memory(how):
            raise InvalidInput(
                f"{self.pool.memory >> 20} MiB of memory: workers do not start with so little ({how}); give more"
            )
        for share in self.waiting:
            for task in share.left.values():
                yield task, Accident(AccidentKind.START, f"no worker could be started: {how}"), share.attempt
        self.waiting.clear()

    def _dismiss(self, each: _Worker[Task], patience: float = 0.0) -> str:
        """Do without a worker; what has become of it."""
        self.workers.remove(each)
        return each.end(patience)


def _copies_compute_gradients() -> bool:
    """See `fork`, which imports torch."""
    from .fork import copies_compute_gradients

    return copies_compute_gradients()

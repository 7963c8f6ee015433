"""The same tasks on an existing Dask cluster (extra `[batch]`): answers stream back to the one writer.

A worker that dies costs a retry of its task by Dask; a scheduler that is restarted forgets everything, so what is open is
sent again. Workers must run this version of the package.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from typing import Any

from advverify import __version__

from ..errors import InvalidInput, how_to_install
from ..outcome import Outcome
from ..parallel.accident import Accident, AccidentKind
from ..parallel.pool import GRACE, Hear
from .run import Answer
from .task import Task
from .work import answer

_RECONNECT = 120.0  # seconds that a scheduler may be away
_POLL = 0.005
# What a scheduler that went away looks like from here; distributed's CommClosedError is an OSError.
_GONE = (OSError, TimeoutError, RuntimeError, asyncio.CancelledError)
_WINDOW = 4  # tasks in flight for each worker thread


def _answer(task: Task) -> Outcome:
    """The answer of a worker on the cluster, which has no line to tell anything on meanwhile."""
    return answer(task, lambda message: None)


def _version() -> str:
    from advverify import __version__ as there

    return there


class DaskPool:
    """Tasks on the cluster of a scheduler."""

    def __init__(self, address: str) -> None:
        """Connect, and check the workers' versions.

        Raises:
            InvalidInput: no package, no scheduler, no workers, or workers of another version.
        """
        try:
            import distributed
        except ImportError as error:
            raise InvalidInput(f"--scheduler needs dask.distributed: {how_to_install('batch')}") from error
        for name in list(logging.root.manager.loggerDict):  # what goes wrong is handled here, and said once
            if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._distributed: Any = distributed
        self.address = address
        self._client = self._connect(10.0)
        self._check()

    def _connect(self, timeout: float) -> Any:
        try:
            return self._distributed.Client(self.address, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError, ImportError) as error:
            raise InvalidInput(f"--scheduler {self.address}: no Dask scheduler answers there ({error})") from error

    def _check(self) -> None:
        versions = self._client.run(_version)
        if not versions:
            raise InvalidInput(f"--scheduler {self.address}: the cluster has no workers")
        other = {v for v in versions.values() if v != __version__}
        if other:
            raise InvalidInput(
                f"--scheduler {self.address}: workers run advverify {', '.join(sorted(other))}, this is {__version__}; "
                "install the same version everywhere"
            )

    @property
    def jobs(self) -> int:
        """Threads of all workers."""
        threads: int = sum(self._client.nthreads().values())
        return max(1, threads)

    def run(self, groups: Sequence[Sequence[Task]], hear: Hear[Task] | None = None) -> Iterator[Answer]:
        """(task, outcome or accident, attempts) as they come; groups are taken apart, and nothing is told meanwhile."""
        waiting = [task for group in reversed(groups) for task in reversed(group)]
        flying: dict[Any, Task] = {}
        attempts: dict[str, int] = {}
        window = 0  # counted afresh on every cluster that comes back
        try:
            while waiting or flying:
                try:
                    window = window or _WINDOW * self.jobs
                    while waiting and len(flying) < window:
                        task = waiting[-1]
                        flying[self._client.submit(_answer, task, pure=False, retries=1)] = task
                        waiting.pop()  # only now: a submission that fails loses nothing
                        attempts[task.stored.key] = attempts.get(task.stored.key, 0) + 1
                    finished = [future for future in flying if future.done()]
                    if not finished:
                        time.sleep(_POLL)
                except _GONE:
                    finished = []
                for future in finished:
                    task = flying.pop(future)
                    found = self._result(future)
                    if found is None:
                        waiting.append(task)
                    else:
                        yield task, found, attempts[task.stored.key]
                if self._client.status in ("closed", "connecting") or any(
                    f.status in ("lost", "cancelled") for f in flying
                ):
                    waiting += flying.values()
                    flying, window = {}, 0
                    self._again()
        finally:
            self._client.close()

    def _result(self, future: Any) -> Outcome | Accident | None:
        """What came of a task; None where it was lost with a scheduler and has to be asked for again."""
        if future.status in ("cancelled", "lost"):
            return None
        try:
            if future.status == "error":
                error = future.exception(timeout=GRACE)
                if isinstance(error, Accident):
                    return error
                killed = isinstance(error, self._distributed.KilledWorker)
                kind = AccidentKind.KILLED if killed else AccidentKind.FAILED
                return Accident(kind, f"on the cluster: {error or type(error).__name__}")
            outcome: Outcome = future.result(timeout=GRACE)
        except _GONE:
            return None
        return outcome

    def _again(self) -> None:
        """Connect anew, as long as a scheduler may take to come back."""
        self._client.close(timeout=5)
        deadline = time.monotonic() + _RECONNECT
        while True:
            try:
                self._client = self._connect(5.0)
                self._client.wait_for_workers(1, timeout=max(1.0, deadline - time.monotonic()))
                return
            except (InvalidInput, *_GONE) as error:
                if time.monotonic() > deadline:
                    raise InvalidInput(
                        f"--scheduler {self.address}: gone for {_RECONNECT:g} s; what was answered is kept, run again"
                    ) from error
                time.sleep(1.0)

"""The same tasks on an existing Dask cluster (extra `[batch]`), which shares no file system with this machine.

Files travel by content: each is a result that workers keep and hand on to each other, so that every worker gets it once. Groups
go to the cluster as they go to processes of this machine, and what a group leaves comes back to be sent one by one.

A worker that is lost costs another attempt of what it was at; a scheduler that is restarted has forgotten everything, so
that all that is open is sent again. Workers may come and go; while there are none, what is open waits.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import platform
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from advverify import __version__

from ..errors import InvalidInput, how_to_install
from ..outcome import Outcome
from ..parallel.accident import Accident, AccidentKind
from ..parallel.pool import Hear
from .parcels import pack_file, pack_model
from .remote import Letter, Shipment, packed
from .run import Answer
from .task import Task

_RECONNECT = 120.0  # seconds that a scheduler may be away
_PATIENCE = 30.0  # seconds for a result to arrive that is there
_POLL = 0.01
_LOOK = 2.0  # seconds between two looks at how many workers there are
# What a scheduler that went away looks like from here; distributed's CommClosedError is an OSError.
_GONE = (OSError, TimeoutError, RuntimeError, asyncio.CancelledError)
_SHORT = 4.0  # seconds without workers that are not worth a word
_WINDOW = 4  # groups in flight for each worker thread
_LEAST = 32  # groups in flight at least: what waits is what makes an adaptive cluster grow
_COMING = 8  # threads that a cluster without workers is taken to get
_ATTEMPTS = 3  # of a group or a task whose worker is lost: machines of clusters come and go


@dataclass
class _Share:
    """Tasks that travel together, and how often they set out."""

    tasks: list[Task]
    attempt: int = 1


class DaskPool:
    """Tasks on the cluster of a scheduler."""

    def __init__(self, address: str, memory_mib: int = 0, say: Callable[[str], None] = lambda line: None) -> None:
        """Connect, and check the workers that there are.

        Args:
            address: of the scheduler.
            memory_mib: data that a query's process may hold; 0 does not limit it.
            say: hears about a cluster without workers.

        Raises:
            InvalidInput: no package, no scheduler, or workers without this version of advverify.
        """
        try:
            import distributed
        except ImportError as error:
            raise InvalidInput(f"--scheduler needs dask.distributed: {how_to_install('batch')}") from error
        for name in list(logging.root.manager.loggerDict):  # what goes wrong is handled here, and said once
            if name.split(".")[0] in ("distributed", "tornado", "asyncio"):
                logging.getLogger(name).setLevel(logging.CRITICAL)
        self._distributed: Any = distributed
        self.address, self.memory, self._say = address, memory_mib, say
        self._client = self._connect(10.0)
        self._waiting = self._looked = 0.0  # since when there are no workers, and when somebody looked last
        self._said = False
        try:
            self.jobs = self._threads() or _COMING
            self._check()
        except _GONE as error:
            raise self._silent(error) from error

    def run(self, groups: Sequence[Sequence[Task]], hear: Hear[Task] | None = None) -> Iterator[Answer]:
        """(task, outcome or accident, attempts) as they come; what was told of a task comes with its accident."""
        run = _Run(self, groups, hear)
        try:
            while run.waiting or run.flying:
                futures: list[Any] = []
                try:
                    self._look()
                    run.send()
                    futures = run.arrived()
                except _GONE:  # what has become of the scheduler is seen below
                    time.sleep(_POLL)
                while run.refused:
                    yield run.refused.pop()
                for future in futures:
                    yield from run.receive(future)
                if self._client.status in ("closed", "connecting") or run.lost:
                    self._again()
                    run.begin()
        finally:
            self._client.close(timeout=5)

    def _connect(self, timeout: float) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # distributed warns of versions of packages that do not matter here
                return self._distributed.Client(self.address, timeout=timeout, set_as_default=False)
        except (OSError, TimeoutError, ValueError, ImportError) as error:
            raise self._silent(error) from error

    def _check(self) -> None:
        """Refuse workers of another Python, which could not read what is sent, or of another advverify."""
        here = platform.python_version_tuple()[:2]
        for worker, there in self._client.run(platform.python_version_tuple, on_error="return").items():
            if isinstance(there, tuple) and there[:2] != here:
                raise self._refusal(f"worker {worker} runs Python {'.'.join(there[:2])}, this is {'.'.join(here)}")
        for worker, there in self._client.run(_version_there(), on_error="return").items():
            if not isinstance(there, Exception):  # one that is leaving says nothing, and takes no work either
                self.check_version(worker, there)

    def check_version(self, worker: str, version: str | None) -> None:
        """Refuse a worker that could not do what it is asked, or would do it otherwise.

        Raises:
            InvalidInput: it has another version, or none.
        """
        if version != __version__:
            runs = "has no advverify" if version is None else f"runs advverify {version}"
            raise self._refusal(f"worker {worker} {runs}, this is {__version__}")

    def _silent(self, error: BaseException) -> InvalidInput:
        return InvalidInput(f"--scheduler {self.address}: no Dask scheduler answers there ({error})")

    def _refusal(self, why: str) -> InvalidInput:
        return InvalidInput(f"--scheduler {self.address}: {why}; install the same version everywhere")

    def _threads(self) -> int:
        """Threads of all workers."""
        return int(sum(self._client.nthreads().values()))

    def _look(self) -> None:
        """See from time to time how many workers there are, and say it where there are none."""
        now = time.monotonic()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        threads = self._threads()
        if threads:
            self.jobs, self._waiting, self._said = threads, 0.0, False
        elif not self._waiting:
            self._waiting = now
        elif not self._said and now - self._waiting > _SHORT:
            self._said = True
            self._say(f"--scheduler {self.address}: the cluster has no workers; waiting for some (Ctrl-C ends the run)")

    def _again(self) -> None:
        """Connect anew, as long as a scheduler may take to come back."""
        self._client.close(timeout=5)
        deadline = time.monotonic() + _RECONNECT
        while True:
            try:
                self._client, self._looked = self._connect(5.0), 0.0
                return
            except (InvalidInput, *_GONE) as error:
                if time.monotonic() > deadline:
                    raise InvalidInput(
                        f"--scheduler {self.address}: gone for {_RECONNECT:g} s; what was answered is kept, run again"
                    ) from error
                time.sleep(1.0)

    def window(self) -> int:
        """Groups that may be in flight."""
        return max(_LEAST, _WINDOW * self.jobs)

    @property
    def client(self) -> Any:
        """The connection, which is another one after the scheduler was away."""
        return self._client


class _Run:
    """One run: what waits, what is in flight, and the files that are on the cluster."""

    def __init__(self, pool: DaskPool, groups: Sequence[Sequence[Task]], hear: Hear[Task] | None) -> None:
        self.pool, self.hear = pool, hear
        self.waiting = deque(_Share(list(group)) for group in groups if group)
        self.flying: dict[Any, _Share] = {}
        self.refused: list[Answer] = []  # tasks whose files cannot be sent
        self.begin()

    def begin(self) -> None:
        """Nothing is on the cluster yet, or any more."""
        self.waiting.extendleft(self.flying.values())
        self.flying, self.lost = {}, False
        self._parcels: dict[str, tuple[str, Any]] = {}
        self._completed = self.pool._distributed.as_completed(loop=self.pool.client.loop)

    def send(self) -> None:
        """Submit as much as may be in flight."""
        while self.waiting and len(self.flying) < self.pool.window():
            share = self.waiting[0]
            try:
                files = self._files(share)
            except OSError as error:  # it went away, or changed its mind about who may read it
                accident = Accident(AccidentKind.FILE, str(error))
                self.refused += [(task, accident, share.attempt) for task in share.tasks]
                self.waiting.popleft()
                continue
            shipment = Shipment(share.tasks, {path: digest for path, (digest, _) in files.items()}, self.pool.memory)
            future = self.pool.client.submit(
                _settle_there(),
                pickle.dumps(shipment, pickle.HIGHEST_PROTOCOL),
                [f for _, f in files.values()],
                pure=False,
            )
            self.waiting.popleft()  # only now: a submission that fails loses nothing
            self.flying[future] = share
            self._completed.add(future)

    def arrived(self) -> list[Any]:
        """Futures that are finished, after a moment where there are none."""
        if not self._completed.has_ready():
            time.sleep(_POLL)
        futures: list[Any] = self._completed.next_batch(block=False)
        return futures

    def receive(self, future: Any) -> Iterator[Answer]:
        """What came of a share; nothing where it was lost with its scheduler."""
        if future.status in ("cancelled", "lost"):
            self.lost = True
            return
        share = self.flying[future]
        try:
            if future.status == "error":
                error = future.exception(timeout=_PATIENCE)
            else:
                reply = future.result(timeout=_PATIENCE)
                error = None
        except _GONE:
            self.lost = True
            return
        del self.flying[future]
        if error is not None:
            yield from self._failed(share, error)
        else:
            yield from self._read(share, *reply)

    def _files(self, share: _Share) -> dict[str, tuple[str, Any]]:
        """Digest and future of each file that a share's tasks are about, by path.

        Raises:
            OSError: one cannot be read.
        """
        request = share.tasks[0].request  # all of a group are about one network, and those with a property are alone
        for path, pack in ((request.path, pack_model), (request.property_path, pack_file)):
            if path and path not in self._parcels:
                parcel = pack(path)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # of large arguments: these are sent once
                    future = self.pool.client.submit(bytes, packed(parcel), pure=False)
                self._parcels[path] = parcel.digest, future
        return {path: self._parcels[path] for path in (request.path, request.property_path) if path}

    def _failed(self, share: _Share, error: BaseException) -> Iterator[Answer]:
        """A share whose worker was lost sets out again, a group one by one; other errors are not for trying again."""
        killed = isinstance(error, self.pool._distributed.KilledWorker)
        if killed and (len(share.tasks) > 1 or share.attempt < _ATTEMPTS):
            self.waiting.extendleft(_Share([task], share.attempt + 1) for task in reversed(share.tasks))
            return
        kind = AccidentKind.KILLED if killed else AccidentKind.FAILED
        for task in share.tasks:
            yield task, Accident(kind, f"on the cluster: {type(error).__name__}: {error}"), share.attempt

    def _read(self, share: _Share, worker: str, version: str | None, content: bytes) -> Iterator[Answer]:
        """The letter of a worker about a share.

        Raises:
            InvalidInput: it has another version of advverify or none, or no process of its can do anything.
        """
        self.pool.check_version(worker, version)
        letter: Letter = pickle.loads(content)
        if letter.error:
            raise InvalidInput(f"--scheduler {self.pool.address}: worker {worker}: {letter.error}")
        self.waiting.extendleft(_Share([share.tasks[place]], share.attempt) for place in reversed(letter.left))
        for place, found, attempts, proof in letter.found:
            task = share.tasks[place]
            if place in letter.told and self.hear is not None:
                self.hear(task, letter.told[place])
            if proof and isinstance(found, Outcome):
                found = _with_proof(task, found, proof)
            yield task, found, share.attempt + attempts - 1


def _with_proof(task: Task, outcome: Outcome, content: bytes) -> Outcome | Accident:
    """An outcome whose proof lies in the folder of the task's proofs."""
    assert task.request.settings.proofs is not None and outcome.proof is not None
    place = task.request.settings.proofs / Path(outcome.proof).name
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_suffix(".part")
        part.write_bytes(content)
        os.replace(part, place)
    except OSError as error:
        return Accident(AccidentKind.FILE, f"the proof cannot be kept: {error}")
    return replace(outcome, proof=str(place))


# Functions for the cluster are made inside others: such functions travel by value, so that the scheduler need not have
# advverify, and a worker that has it not, or another version of it, can say so.


def _version_there() -> Callable[[], str | None]:
    def version() -> str | None:
        try:
            from advverify import __version__ as there
        except ImportError:
            return None
        return there

    return version


def _settle_there() -> Callable[[bytes, list[bytes]], tuple[str, str | None, bytes]]:
    wanted = __version__

    def settle_shipment(shipment: bytes, parcels: list[bytes]) -> tuple[str, str | None, bytes]:
        from distributed import get_worker

        worker = get_worker()
        try:
            from advverify import __version__ as there
        except ImportError:
            return worker.address, None, b""
        if there != wanted:
            return worker.address, there, b""
        from advverify.verifier.batch.remote import settle

        return worker.address, there, settle(shipment, parcels, worker.local_directory)

    return settle_shipment

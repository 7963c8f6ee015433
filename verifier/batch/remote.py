"""What a worker of a cluster does: it settles a shipment of tasks as a worker of this machine would, and writes a letter back.

Queries run in a process of their own beside the cluster's, which stays for the next shipment. So deadlines and limits of
memory hold as they do on this machine, and no query harms the cluster's worker. Files come with the shipment.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..outcome import Outcome
from ..parallel.accident import Accident, AccidentKind
from ..parallel.pool import ProcessPool
from .parcels import Parcel, unpack
from .task import Task
from .work import WORK


@dataclass(frozen=True)
class Shipment:
    """A group of tasks on its way.

    Attributes:
        tasks: as the driver has them.
        files: digests of the parcels that hold their files, by the driver's paths.
        memory: MiB of data that their process may hold; 0 does not limit it.
    """

    tasks: Sequence[Task]
    files: Mapping[str, str]
    memory: int


@dataclass
class Letter:
    """What became of a shipment.

    Attributes:
        found: place of a task, outcome or accident, attempts, and the content of its proof where it has one.
        left: places of those that have to be asked one by one.
        told: what was told about tasks without an answer, by their place.
        error: why none of this machine's processes can do anything, in one line.
    """

    found: list[tuple[int, Outcome | Accident, int, bytes]] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    told: dict[int, list[Any]] = field(default_factory=dict)
    error: str = ""


def settle(shipment: bytes, parcels: Sequence[bytes], scratch: str) -> bytes:
    """A letter about a shipment; all three travel as bytes, which the cluster has no need to understand.

    Args:
        shipment: a `Shipment`.
        parcels: what `files` of the shipment names, in that order.
        scratch: a folder that is this worker's own and goes with it.
    """
    asked: Shipment = pickle.loads(shipment)
    letter, folder = Letter(), Path(scratch) / "advverify"
    try:
        folder.mkdir(exist_ok=True)
        places = {
            path: str(unpack(pickle.loads(parcel), digest, folder))
            for (path, digest), parcel in zip(asked.files.items(), parcels, strict=True)
        }
        with tempfile.TemporaryDirectory(dir=folder, prefix="proofs-") as proofs:
            _settle(asked, places, Path(proofs), letter)
    except OSError as error:  # no room for the files
        accident = Accident(AccidentKind.FILE, f"on the cluster: {error}")
        done = {place for place, *_ in letter.found}
        letter.found += [(k, accident, 1, b"") for k in range(len(asked.tasks)) if k not in done]
        letter.left = []
    except InvalidInput as error:
        letter.error = str(error)
    return pickle.dumps(letter, pickle.HIGHEST_PROTOCOL)


def packed(parcel: Parcel) -> bytes:
    """A parcel as it travels."""
    return pickle.dumps(parcel, pickle.HIGHEST_PROTOCOL)


def _settle(asked: Shipment, places: Mapping[str, str], proofs: Path, letter: Letter) -> None:
    tasks = [_here(task, places, proofs) for task in asked.tasks]
    position = {task.stored.key: k for k, task in enumerate(tasks)}

    def hear(task: Task, events: list[Any]) -> None:
        letter.told.setdefault(position[task.stored.key], []).extend(events)

    def leave(tasks: list[Task]) -> None:
        letter.left += [position[task.stored.key] for task in tasks]

    with _pool(asked.memory) as pool:
        for task, found, attempts in pool.run([tasks], hear, leave):
            place, proof = position[task.stored.key], b""
            if isinstance(found, Accident):
                found = Accident(found.kind, _there(found.message, places))
            else:
                letter.told.pop(place, None)  # the outcome has it all
                if found.proof is not None:
                    proof = Path(found.proof).read_bytes()
            letter.found.append((place, found, attempts, proof))


def _here(task: Task, places: Mapping[str, str], proofs: Path) -> Task:
    """A task about this machine's files."""
    request = task.request
    settings = request.settings if request.settings.proofs is None else replace(request.settings, proofs=proofs)
    path, spec = (places.get(name, name) for name in (request.path, request.property_path))
    return replace(task, request=replace(request, path=path, property_path=spec, settings=settings))


def _there(message: str, places: Mapping[str, str]) -> str:
    """A message with the driver's paths in the place of this machine's."""
    for path, here in places.items():
        message = message.replace(here, path)
    return message


_LOCK = threading.Lock()
_IDLE: dict[int, list[ProcessPool[Task, Outcome]]] = {}  # by their limit of memory


@contextmanager
def _pool(memory: int) -> Iterator[ProcessPool[Task, Outcome]]:
    """A pool of one process, which no other thread of this worker uses meanwhile."""
    with _LOCK:
        for limit in [limit for limit in _IDLE if limit != memory]:  # an earlier job's
            for pool in _IDLE.pop(limit):
                pool.close()
        idle = _IDLE.get(memory)
        # A cluster's worker has threads, of which a copy of it would have none: its processes are fresh ones.
        pool = idle.pop() if idle else ProcessPool(WORK, 1, memory, single_threaded=False, lasting=True)
    try:
        yield pool
    except BaseException:
        pool.close()
        raise
    with _LOCK:
        _IDLE.setdefault(memory, []).append(pool)

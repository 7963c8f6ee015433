"""The life of a pool's worker: it says that it is ready, and does what comes over its line until that is cut."""

from __future__ import annotations

import os
import pickle
import queue
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from .accident import Accident, AccidentKind
from .process import portable

Tell = Callable[[Any], None]

_PAUSE = 0.5  # seconds at least between two messages about a task; what is told meanwhile travels together


class Message(NamedTuple):
    """What a worker says.

    Attributes:
        kind: "ready" for work; "begun" with a share of it; "told" about a task; "reply" to a task; "accident" in its place;
            "leave" the rest of a group; "error" that is the caller's to raise.
        place: of the task in its group.
        body: what there is to say.
    """

    kind: str
    place: int = 0
    body: Any = None


@dataclass(frozen=True)
class Duty:
    """What a worker does; functions that can be imported by name.

    Attributes:
        reply: to a task; it may tell something about it meanwhile, and raise an `Accident`. Another exception that it raises
            ends the whole run.
        prepare: for a task, before its time starts.
        together: replies to those tasks of a group that can be settled together, with their place in it, as they come.
    """

    reply: Callable[[Any, Tell], Any]
    prepare: Callable[[Any], None] | None = None
    together: Callable[[Sequence[Any]], Iterator[tuple[int, Any]]] | None = None


def serve(line: Connection, value: tuple[Duty, int]) -> None:
    """Work until the line is cut; `value` is what to do, and the limit of data in bytes, or 0."""
    import torch

    duty, memory = value
    torch.set_num_threads(1)
    work: queue.SimpleQueue[dict[int, Any]] = queue.SimpleQueue()

    def listen() -> None:
        while True:
            try:
                work.put(pickle.loads(line.recv_bytes()))
            except (EOFError, OSError):
                os.killpg(0, signal.SIGKILL)  # the driver is gone: so is this process, and what it started

    threading.Thread(target=listen, daemon=True).start()
    voice = _Voice(line)
    if memory:
        _limit_memory(memory)
    voice.say(Message("ready"))
    while True:
        share = work.get()
        try:
            if len(share) > 1:
                _together(duty, share, voice)
            else:
                _alone(duty, *next(iter(share.items())), voice)
        except Accident as accident:
            voice.say(Message("accident", 0, accident))
        except MemoryError as error:
            voice.say(Message("accident", 0, Accident(AccidentKind.MEMORY, str(error) or "MemoryError")))
        except Exception as error:
            voice.say(Message("error", 0, portable(error)))


def _limit_memory(most: int) -> None:
    """Limit the data of this process.

    Raises:
        MemoryError: it holds as much already.
    """
    status = Path("/proc/self/status")
    if status.exists():
        held = next(int(line.split()[1]) << 10 for line in status.read_text().splitlines() if line.startswith("VmData"))
        if held >= most:
            raise MemoryError(f"a worker holds {held >> 20} MiB before it does anything")
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _alone(duty: Duty, place: int, task: Any, voice: _Voice) -> None:
    if duty.prepare is not None:
        duty.prepare(task)
    voice.say(Message("begun"))
    reply = duty.reply(task, lambda message: voice.tell(place, message))
    voice.drop()  # the reply says it all
    voice.say(Message("reply", place, reply))


def _together(duty: Duty, share: dict[int, Any], voice: _Voice) -> None:
    places, tasks = list(share), list(share.values())
    if duty.together is not None:
        if duty.prepare is not None:
            duty.prepare(tasks[0])
        voice.say(Message("begun"))
        left = len(tasks)
        for position, reply in duty.together(tasks):
            voice.say(Message("reply", places[position], reply))
            left -= 1
            if not left:  # whatever would come after the last reply would be taken for the next group's
                return
    voice.say(Message("leave"))


class _Voice:
    """Says things on the line; what is told about a task waits a moment for more, on a thread of its own."""

    def __init__(self, line: Connection) -> None:
        self._line, self._lock = line, threading.Condition()
        self._told: list[Any] = []
        self._place, self._last = 0, -_PAUSE
        threading.Thread(target=self._keep_telling, daemon=True).start()

    def say(self, message: Message) -> None:
        """Say something at once, after all that was told before."""
        with self._lock:
            self._flush()
            self._send(message)

    def tell(self, place: int, message: Any) -> None:
        """Tell something about a task: at once after a silence, with the next otherwise."""
        with self._lock:
            self._place = place
            self._told.append(message)
            if time.monotonic() - self._last >= _PAUSE:
                self._flush()
            else:
                self._lock.notify()

    def drop(self) -> None:
        """Forget what was told and has not been sent."""
        with self._lock:
            self._told = []

    def _flush(self) -> None:
        if self._told:
            self._send(Message("told", self._place, self._told))
            self._told, self._last = [], time.monotonic()

    def _send(self, message: Message) -> None:
        self._line.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def _keep_telling(self) -> None:
        while True:
            with self._lock:
                while not self._told:
                    self._lock.wait()
            time.sleep(_PAUSE)
            with self._lock:
                self._flush()

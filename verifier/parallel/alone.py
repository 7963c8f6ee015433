"""Work in a process of its own, which may crash, hang or run out of memory at no cost to this one.

It says on a line what it has to say while it works, and hears there whether it should stop; if this process dies, the line is
cut, and it ends itself and whatever it started.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import IO, Any

from .process import FORKS, Process, fate, portable, start

Tell = Callable[[Any], bool]
Work = Callable[[Any, Tell], Any]

_STOP = b"stop"
_PATIENCE = 5.0  # seconds that a process has to answer after it was asked to stop


class Died(Exception):
    """The process gave no answer; the text says what became of it."""


def alone(work: Work, task: Any, hear: Tell, seconds: float, fork: bool = FORKS) -> Any:
    """The value of `work(task, tell)`, computed elsewhere.

    Args:
        work: its `tell` sends a message here and says whether it should stop. Importable by name where nothing is forked.
        task: what to work on; pickled where nothing is forked.
        hear: called here with each message; True asks the process to stop.
        seconds: after which the process is killed.
        fork: a copy of this process, rather than a fresh interpreter.

    Raises:
        Died: it crashed, was killed, or gave no answer in time.
        Exception: whatever `work` or `hear` raises.
    """
    with tempfile.TemporaryFile() as words:
        process, line = start(_serve, (work, task), words, fork)
        try:
            return _listen(process, line, hear, seconds, words)
        finally:
            line.close()
            process.end()


def _listen(process: Process, line: Connection, hear: Tell, seconds: float, words: IO[bytes]) -> Any:
    until = time.monotonic() + seconds
    stopped = False
    while True:
        left = until - time.monotonic()
        if left <= 0:
            asked = "after it was asked to stop" if stopped else f"within {seconds:.3g} s"
            raise Died(f"gave no answer {asked}")
        if not line.poll(min(left, 0.5)):
            continue
        try:
            kind, body = pickle.loads(line.recv_bytes())
        except (EOFError, ConnectionError):
            raise Died(fate(process.wait(1.0), words)) from None
        if kind == "reply":
            return body
        if kind == "error":
            raise body
        if hear(body) and not stopped:
            stopped, until = True, min(until, time.monotonic() + _PATIENCE)
            try:
                line.send_bytes(_STOP)
            except ConnectionError:  # it has just ended: what it left on the line says how
                continue


def _serve(line: Connection, value: tuple[Work, Any]) -> None:
    """The life of the process: it works and answers."""
    work, task = value
    stop, speaking = threading.Event(), threading.Lock()

    def listen() -> None:
        while True:
            try:
                line.recv_bytes()
            except (EOFError, OSError):
                os.killpg(0, signal.SIGKILL)
            stop.set()

    threading.Thread(target=listen, daemon=True).start()

    def say(kind: str, body: Any) -> None:
        message = pickle.dumps((kind, body), pickle.HIGHEST_PROTOCOL)
        with speaking:
            line.send_bytes(message)

    def tell(message: Any) -> bool:
        say("message", message)
        return stop.is_set()

    try:
        reply = work(task, tell)
    except Exception as error:
        say("error", portable(error))
    else:
        say("reply", reply)

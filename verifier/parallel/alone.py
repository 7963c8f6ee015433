"""Work in a process of its own, which may crash, hang or run out of memory at no cost to this one.

On Linux the process is a fork, which knows all that this one knows and costs milliseconds; on other systems with sockets a
fresh interpreter, which costs what the imports cost. It says on a line what it has to say while it works, and hears there
whether it should stop; if this process dies, the line is cut, and it ends itself and whatever it started.
"""

from __future__ import annotations

import faulthandler
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any

Tell = Callable[[Any], bool]
Work = Callable[[Any, Tell], Any]

FORKS = sys.platform == "linux"
_STOP = b"stop"
_PATIENCE = 5.0  # seconds that a process has to answer after it was asked to stop
_LAST_WORDS = 400  # characters


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
        process, line = _forked(work, task, words) if fork else _fresh(work, task, words)
        try:
            return _listen(process, line, hear, seconds, words)
        finally:
            line.close()
            process.end()


class _Process:
    """A process and all that it starts: they share a group."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def end(self) -> int:
        """Kill what is left of the group; the wait status of the process itself."""
        if self._status is None:
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # it has not made its group yet, or all of it is gone
                os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitpid(self.pid, 0)[1]
        return self._status

    def wait(self, seconds: float) -> int:
        """Its wait status once it ended by itself, or was killed after some seconds."""
        until = time.monotonic() + seconds
        while self._status is None and time.monotonic() < until:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
                return status
            time.sleep(0.01)
        return self.end()


def _listen(process: _Process, line: Connection, hear: Tell, seconds: float, words: IO[bytes]) -> Any:
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
            raise Died(_fate(process.wait(1.0), words)) from None
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


def _fate(status: int, words: IO[bytes]) -> str:
    """How a process ended, and the last line that it wrote."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        fate = f"died of {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            fate += " (out of memory?)"
    else:
        fate = f"ended with status {os.waitstatus_to_exitcode(status)}"
    words.seek(0)
    lines = words.read()[-_LAST_WORDS:].decode(errors="replace").split("\n")
    last = next((text.strip() for text in reversed(lines) if text.strip()), "")
    return f"{fate}: {last}" if last else fate


def fork_process() -> int:
    """Copy this process as `os.fork` does: 0 in the copy, its number here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of other threads; a copy needs none
        return os.fork()


def _forked(work: Work, task: Any, words: IO[bytes]) -> tuple[_Process, Connection]:
    ours, theirs = _line()
    pid = fork_process()
    if pid:
        theirs.close()
        return _Process(pid), ours
    try:
        ours.close()
        os.setpgid(0, 0)
        _serve(theirs, work, task, words.fileno())
    finally:
        os._exit(1)


def _fresh(work: Work, task: Any, words: IO[bytes]) -> tuple[_Process, Connection]:
    ours, theirs = _line()
    arguments = [sys.executable, "-m", __name__, str(theirs.fileno()), str(words.fileno())]
    process = subprocess.Popen(
        arguments, pass_fds=(theirs.fileno(), words.fileno()), stdin=subprocess.DEVNULL, process_group=0
    )
    process.returncode = 0  # it is waited for here, not by subprocess
    theirs.close()
    ours.send_bytes(pickle.dumps((work, task), pickle.HIGHEST_PROTOCOL))
    return _Process(process.pid), ours


def _line() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


def _serve(line: Connection, work: Work, task: Any, words: int) -> None:
    """The life of the process: it works, answers, and ends without any cleaning up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.dup2(words, 1)
    os.dup2(words, 2)
    badness = Path("/proc/self/oom_score_adj")
    if badness.exists():  # where memory runs out, this process goes first
        badness.write_text("1000")
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
        say("error", _portable(error))
    else:
        say("reply", reply)
    os._exit(0)


def _portable(error: Exception) -> Exception:
    """An error as it can travel: errors of foreign packages may not survive being pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


if __name__ == "__main__":
    _channel = Connection(int(sys.argv[1]))
    _work, _task = pickle.loads(_channel.recv_bytes())
    os.setpgid(0, 0)
    _serve(_channel, _work, _task, int(sys.argv[2]))

"""A process that works for this one, over a line that is cut as soon as either of them dies.

On Linux the process is a fork, which knows all that this one knows and costs milliseconds; on other systems with sockets a
fresh interpreter, which costs what the imports cost. What it prints goes to a file, whose last line is kept for whoever
wonders what became of it.
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
import time
import traceback
import warnings
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO, Any, NoReturn

FORKS = sys.platform == "linux"
Life = Callable[[Connection, Any], None]

_LAST_WORDS = 400  # characters
_OURS: weakref.WeakSet[Connection] = (
    weakref.WeakSet()
)  # this side of every line: a fork that kept one would keep it open


class Process:
    """A process and all that it starts: they share a group."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None

    def poll(self) -> int | None:
        """Its wait status; None while it lives."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = status
        return self._status

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
        while time.monotonic() < until:
            status = self.poll()
            if status is not None:
                return status
            time.sleep(0.01)
        return self.end()


def start(life: Life, value: Any, words: IO[bytes], fork: bool = FORKS) -> tuple[Process, Connection]:
    """Start a process that calls `life(line, value)` and ends without any cleaning up.

    Args:
        life: what it does; importable by name where nothing is forked.
        value: what it gets to know; pickled where nothing is forked.
        words: takes what it prints.
        fork: a copy of this process, rather than a fresh interpreter.

    Returns:
        The process, and this side of the line.
    """
    process, line = _forked(life, value, words) if fork else _fresh(life, value, words)
    _OURS.add(line)
    return process, line


def fork_process() -> int:
    """Copy this process as `os.fork` does: 0 in the copy, its number here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of other threads; a copy needs none
        return os.fork()


def fate(status: int, words: IO[bytes]) -> str:
    """What became of a process: how it ended, and the last line that it printed."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        how = f"died of {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            how += " (out of memory?)"
    else:
        how = f"ended with status {os.waitstatus_to_exitcode(status)}"
    words.seek(0)
    lines = words.read()[-_LAST_WORDS:].decode(errors="replace").split("\n")
    last = next((text.strip() for text in reversed(lines) if text.strip()), "")
    return f"{how}: {last}" if last else how


def portable(error: Exception) -> Exception:
    """An error as it can travel: errors of foreign packages may not survive being pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _forked(life: Life, value: Any, words: IO[bytes]) -> tuple[Process, Connection]:
    ours, theirs = _line()
    pid = fork_process()
    if pid:
        theirs.close()
        return Process(pid), ours
    try:
        ours.close()
        for line in list(_OURS):
            line.close()
        os.setpgid(0, 0)
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # no progress bar's, whose locks may have been held
        _live(life, theirs, value, words.fileno())
    except BaseException:  # last words, as an interpreter of its own would print them
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _fresh(life: Life, value: Any, words: IO[bytes]) -> tuple[Process, Connection]:
    ours, theirs = _line()
    arguments = [sys.executable, "-m", __name__, str(theirs.fileno()), str(words.fileno())]
    process = subprocess.Popen(
        arguments, pass_fds=(theirs.fileno(), words.fileno()), stdin=subprocess.DEVNULL, process_group=0
    )
    process.returncode = 0  # it is waited for here, not by subprocess
    theirs.close()
    ours.send_bytes(pickle.dumps((life, value), pickle.HIGHEST_PROTOCOL))
    return Process(process.pid), ours


def _line() -> tuple[Connection, Connection]:
    ours, theirs = socket.socketpair()
    return Connection(ours.detach()), Connection(theirs.detach())


def _live(life: Life, line: Connection, value: Any, words: int) -> NoReturn:
    """The process itself, which leaves what signals and memory running out mean to the one that started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    os.dup2(words, 1)
    os.dup2(words, 2)
    badness = Path("/proc/self/oom_score_adj")
    if badness.exists():  # where memory runs out, this process goes first
        badness.write_text("1000")
    life(line, value)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    _channel = Connection(int(sys.argv[1]))
    _life, _value = pickle.loads(_channel.recv_bytes())
    os.setpgid(0, 0)
    _live(_life, _channel, _value, int(sys.argv[2]))

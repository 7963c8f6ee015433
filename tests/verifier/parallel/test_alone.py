"""Work in a process of its own: whatever becomes of it, the caller gets an answer or an error, and nothing is left running."""

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from advverify.verifier.parallel.alone import Died, Tell, alone
from advverify.verifier.parallel.process import FORKS

WAYS = [True, False] if FORKS else [False]


def job(task: Any, tell: Tell) -> Any:
    match task:
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exit":
            os.write(1, b"last words\n")
            os._exit(3)
        case "raise":
            raise LookupError("lost")
        case "hang":
            time.sleep(60)
        case "deaf":
            tell(os.getpid())
            time.sleep(60)
        case "talk":
            count = 0
            while not tell(count):
                count += 1
            return count
        case "child":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            tell(child.pid)
            time.sleep(60)
    return [task, os.getpid()]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("fork", WAYS)
def test_it_answers_from_elsewhere(fork: bool) -> None:
    task, pid = alone(job, "plain", lambda message: False, 30.0, fork)
    assert task == "plain" and pid != os.getpid() and not runs(pid)


@pytest.mark.parametrize(
    ("task", "words"),
    [("abort", "died of SIGABRT"), ("kill", r"died of SIGKILL \(out of memory\?\)"), ("exit", "status 3: last words")],
)
@pytest.mark.parametrize("fork", WAYS)
def test_a_crash_is_told(task: str, words: str, fork: bool) -> None:
    with pytest.raises(Died, match=words):
        alone(job, task, lambda message: False, 30.0, fork)


def test_a_hang_is_ended() -> None:
    with pytest.raises(Died, match=r"gave no answer within 0\.2 s"):
        alone(job, "hang", lambda message: False, 0.2)


@pytest.mark.parametrize("fork", WAYS)
def test_errors_are_raised_here(fork: bool) -> None:
    with pytest.raises(LookupError, match="lost"):
        alone(job, "raise", lambda message: False, 30.0, fork)


@pytest.mark.parametrize("fork", WAYS)
def test_messages_come_and_the_wish_to_stop_goes(fork: bool) -> None:
    heard: list[int] = []

    def hear(message: int) -> bool:
        heard.append(message)
        return message >= 5

    assert alone(job, "talk", hear, 30.0, fork) >= 5
    assert heard[:6] == list(range(6))


def test_who_does_not_listen_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advverify.verifier.parallel.alone._PATIENCE", 0.2)
    with pytest.raises(Died, match="after it was asked to stop"):
        alone(job, "deaf", lambda message: True, 30.0)


def test_an_error_of_the_listener_ends_it_and_what_it_started() -> None:
    pids: list[int] = []

    def hear(message: int) -> bool:
        pids.append(message)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(job, "child", hear, 30.0)
    until = time.monotonic() + 10
    while runs(pids[0]) and time.monotonic() < until:
        time.sleep(0.01)
    assert not runs(pids[0])


SCRIPT = """
import os, sys
sys.path.insert(0, {folder!r})
from test_alone import alone, job
def hear(pid):
    print(pid, flush=True)
    os.kill(os.getpid(), 9)
alone(job, "child", hear, 60.0)
"""


@pytest.mark.skipif(not FORKS, reason="reads /proc")
def test_it_does_not_outlive_its_caller() -> None:
    """Not even one that is killed; nor does what it started."""
    script = SCRIPT.format(folder=os.path.dirname(__file__))
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    child = int(said.stdout)
    until = time.monotonic() + 10
    while runs(child) and time.monotonic() < until:
        time.sleep(0.01)
    assert not runs(child)

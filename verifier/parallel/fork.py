"""Forked copies of this process that do a share of its work.

A second thread brings small tensor programs next to nothing, a second process does its share at full speed. A fork knows
all that this process knows and costs milliseconds; after it only tasks and replies travel. A copy computes on one
thread, since torch's pool does not survive a fork, which is also how torch's own data loaders work.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

from .process import fork_process

Task = TypeVar("Task")
Reply = TypeVar("Reply")


def helpers_for(threads: int) -> int:
    """How many copies may work beside this process; none where forks are not safe: all systems but Linux, and with a GPU."""
    return threads - 1 if sys.platform == "linux" and copies_compute_gradients() else 0


def copies_compute_gradients() -> bool:
    """Whether PyTorch computes gradients in a copy of this process.

    Where it sees a GPU, used or not, its first gradient starts a thread for every device; a copy lacks them, so that PyTorch
    refuses gradients there. A process that has no use for GPUs calls `hide_gpus` first.
    """
    return torch.cuda.device_count() == 0


def hide_gpus() -> None:
    """Keep GPUs from PyTorch's sight in this process and those that it starts; too late once it has looked for them."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@dataclass
class _Helper:
    pid: int
    line: Connection


class Team(Generic[Task, Reply]):
    """This process and its copies.

    Attributes:
        lost: copies that ended before their time (killed for their memory, say); this process then does their share.
    """

    def __init__(self, work: Callable[[Task], Reply], helpers: int) -> None:
        """No copies yet: they are made when there is work to share, and know what this process knows by then."""
        self.size = helpers + 1
        self.lost = 0
        self._work = work
        self._helpers: list[_Helper] = []

    def work(self, shares: Sequence[Task]) -> list[Reply]:
        """The replies to up to `size` tasks, worked on at the same time.

        Raises:
            Exception: whatever work raises, here or in a copy.
        """
        threads = torch.get_num_threads()
        if len(shares) > 1:
            torch.set_num_threads(1)
        try:
            while len(self._helpers) < min(len(shares), self.size) - 1:
                self._helpers.append(self._fork())
            busy = self._helpers[: len(shares) - 1]
            sent = [_send(helper.line, task) for helper, task in zip(busy, shares[1:], strict=True)]
            replies = [self._work(shares[0])]
            for helper, task, fine in zip(busy, shares[1:], sent, strict=True):
                replies.append(self._reply(helper, task, fine))
            return replies
        except BaseException:  # replies that nobody reads any more may be under way
            self.close()
            raise
        finally:
            torch.set_num_threads(threads)

    def close(self) -> None:
        """End all copies; work after that makes new ones."""
        while self._helpers:
            self._dismiss(self._helpers[-1])

    def __enter__(self) -> Team[Task, Reply]:
        """The copies end with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Whatever happened."""
        self.close()

    def _reply(self, helper: _Helper, task: Task, sent: bool) -> Reply:
        try:
            if not sent:
                raise EOFError
            reply, error = pickle.loads(helper.line.recv_bytes())
        except (EOFError, ConnectionError):
            self.lost += 1
            self.size -= 1
            self._dismiss(helper)
            return self._work(task)
        if error is not None:
            raise error
        result: Reply = reply
        return result

    def _dismiss(self, helper: _Helper) -> None:
        self._helpers.remove(helper)
        helper.line.close()
        try:
            os.kill(helper.pid, signal.SIGKILL)
            os.waitpid(helper.pid, 0)
        except (ProcessLookupError, ChildProcessError):  # somebody else has waited for it
            return

    def _fork(self) -> _Helper:
        ours, theirs = Pipe()
        pid = fork_process()
        if pid:
            theirs.close()
            return _Helper(pid, ours)
        ours.close()
        try:
            self._serve(theirs)
        finally:
            os._exit(0)

    def _serve(self, line: Connection) -> None:
        """The life of a copy: until the line is cut."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        torch.set_num_threads(1)
        while True:
            try:
                task = pickle.loads(line.recv_bytes())
            except (EOFError, ConnectionError):
                return
            try:
                answer: tuple[Any, Exception | None] = (self._work(task), None)
            except Exception as error:  # for the process that asked to deal with
                answer = (None, error)
            if not _send(line, answer):
                return


class _Pickler(pickle.Pickler):
    """Tensors as arrays, which takes a tenth of the time."""

    def reducer_override(self, thing: Any) -> Any:
        """How to make a thing again."""
        if isinstance(thing, torch.Tensor):
            return torch.from_numpy, (thing.numpy(),)
        return NotImplemented


def _send(line: Connection, message: Any) -> bool:
    """Whether there still was somebody to send it to."""
    buffer = io.BytesIO()
    _Pickler(buffer, pickle.HIGHEST_PROTOCOL).dump(message)
    try:
        line.send_bytes(buffer.getbuffer())
    except ConnectionError:
        return False
    return True

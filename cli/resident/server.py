"""The resident server: one process that has imported what commands need and forks for each of them.

It computes nothing itself, so that no thread of it is lost in a fork; what runs is a process of its own, with its caller's limits,
which ends when the caller does.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from advverify.verifier.errors import AdvverifyError

from .call import FORWARDED, Call, code_stamp
from .client import HEAD, OTHER_CODE, STATUS

_NEEDED = (
    "advverify.verifier.answers",
    "advverify.cli.commands.certify",
    "advverify.cli.commands.distance",
    "advverify.cli.commands.verify",
    "advverify.cli.commands.attack",
    "advverify.cli.commands.check",
    "highspy",
)  # not onnxruntime: it starts a thread, which a fork would lose
_FORWARDED = [getattr(signal, name) for name in FORWARDED]
_PR_SET_PDEATHSIG = 1
_LARGEST = 1 << 24  # bytes of a call
_PATIENCE = 1.0  # seconds for a caller, who writes at once, to say what it wants


class Server:
    """A listening socket and the commands under way.

    Args:
        path: of the socket; its folder is made, for this user alone, where it is not there.

    Raises:
        AdvverifyError: another server listens there, something else lies there, or others may write into the folder.
    """

    def __init__(self, path: Path) -> None:
        """Import what commands need, and listen."""
        self._path, self._process = path, os.getpid()
        self._stamp = code_stamp()  # before packages put variables into the environment
        for name in _NEEDED:
            import_module(name)
        self._callers: dict[socket.socket, int] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = _listening(path)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._woken, self._wake = socket.socketpair()  # tells of commands that ended
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._wake.setblocking(False)

    def serve(self, idle: float) -> Call | None:
        """Fork for each command that is asked for; KeyboardInterrupt ends it.

        Args:
            idle: seconds without any command after which it ends by itself.

        Returns:
            In a process that was forked: the command that it is now, to be run and left with its exit status. In the server: None, at its end.
        """
        gc.collect()
        gc.freeze()  # else the first collection of every command would copy all of it
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        last = time.monotonic()
        while self._callers or time.monotonic() - last < idle:
            for key, _ in self._selector.select(max(0.0, last + idle - time.monotonic()) + 0.01):
                last = time.monotonic()
                if key.fileobj is self._listener:
                    call = self._accept()
                    if call is not None:
                        return call
                elif key.fileobj is self._woken:
                    self._woken.recv(4096)
                    self._reap()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._callers:
                    self._hear(key.fileobj)
        return None

    def close(self) -> None:
        """End what runs, and listen no longer; nothing in a process that was forked."""
        if os.getpid() != self._process:
            return
        self._path.unlink(missing_ok=True)
        for process in self._callers.values():
            os.kill(process, signal.SIGTERM)
        self._let_go()

    def _let_go(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for each in (self._listener, self._woken, self._wake, *self._callers):
            each.close()

    def _accept(self) -> Call | None:
        """Fork for a caller; its call in the new process."""
        connection, _ = self._listener.accept()
        connection.settimeout(_PATIENCE)
        try:
            call, files = _heard(connection)
        except (OSError, ValueError, TypeError):  # a caller that is gone, or none of ours
            connection.close()
            return None
        try:
            if call.stamp != self._stamp:
                _tell(connection, OTHER_CODE)
                return None
            # a signal that comes before the command has its own handlers would look like the server's
            signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
            try:
                process = os.fork()
                if process == 0:
                    self._let_go()
                    connection.close()
                    _end_with(self._process)
                    for number, file in enumerate(files):
                        os.dup2(file, number)
                    _assume(call)
                    return call
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, _FORWARDED)
            self._callers[connection] = process
            self._selector.register(connection, selectors.EVENT_READ)
        except BlockingIOError:  # too many processes
            _tell(connection, OTHER_CODE)
        finally:
            for file in files:
                os.close(file)
        return None

    def _hear(self, connection: socket.socket) -> None:
        """Hand signals on; a caller that is gone has its command ended."""
        try:
            numbers = connection.recv(64)
        except OSError:
            numbers = b""
        process = self._callers[connection]
        for number in numbers or bytes([signal.SIGTERM]):
            if number in _FORWARDED:  # anything else is none of ours
                os.kill(process, number)
        if not numbers:
            self._selector.unregister(connection)

    def _reap(self) -> None:
        """Tell callers what became of their commands."""
        for connection, process in list(self._callers.items()):
            ended, status = os.waitpid(process, os.WNOHANG)
            if not ended:
                continue
            del self._callers[connection]
            if connection in self._selector.get_map():
                self._selector.unregister(connection)
            _tell(connection, os.waitstatus_to_exitcode(status))


def _end_with(server: int) -> None:
    """Have this process interrupted when the server dies, however: its caller is told that the command has ended."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != server:
            os.kill(os.getpid(), signal.SIGTERM)


def _assume(call: Call) -> None:
    try:
        call.assume()
    except (OSError, ValueError) as error:
        raise AdvverifyError(
            f"the resident server cannot run this as you would: {error}; set ADVVERIFY_SERVER=off"
        ) from error


def _tell(connection: socket.socket, status: int) -> None:
    """A command's end, to a caller who may have left at the same moment."""
    with connection, suppress(OSError):
        connection.sendall(STATUS.pack(status))


def _heard(connection: socket.socket) -> tuple[Call, list[int]]:
    """A call and the caller's three files."""
    head, files, _, _ = socket.recv_fds(connection, HEAD.size, 3)
    try:
        if len(files) != 3 or len(head) != HEAD.size or HEAD.unpack(head)[0] > _LARGEST:
            raise ValueError("this is no call of a command")
        size = HEAD.unpack(head)[0]
        data = bytearray()
        while len(data) < size:
            part = connection.recv(size - len(data))
            if not part:
                raise ValueError("the caller left")
            data += part
        return Call.from_bytes(bytes(data)), list(files)
    except BaseException:
        for file in files:
            os.close(file)
        raise


def _listening(path: Path) -> socket.socket:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AdvverifyError(f"cannot make the folder {path.parent}: {error.strerror or error}") from error
    folder = path.parent.stat()
    if folder.st_uid != os.getuid() or folder.st_mode & 0o022:
        raise AdvverifyError(f"others can write into {path.parent}; name a socket in a folder of yours (--socket)")
    if path.exists() and not path.is_socket():
        raise AdvverifyError(f"{path} is no socket; name another file (--socket)")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.connect(str(path))
    except OSError:  # nobody is there, or nobody any more
        path.unlink(missing_ok=True)
    else:
        listener.close()
        raise AdvverifyError(f"a server listens at {path} already")
    listener.close()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError as error:
        raise AdvverifyError(f"cannot listen at {path}: {error.strerror or error}") from error
    finally:
        os.umask(before)
    listener.listen(64)
    return listener

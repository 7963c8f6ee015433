"""The side of a resident server that a command sees: it hands itself over, and waits for its exit status."""

from __future__ import annotations

import os
import signal
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .call import FORWARDED, Call, address

HEAD = struct.Struct("!I")  # length of a call in bytes
STATUS = struct.Struct(
    "!i"
)  # exit status of a command, or minus the signal that ended it; `OTHER_CODE` where it was not run
OTHER_CODE = 1 << 20
_PATIENCE = 5.0  # seconds for a server to take a connection: it forks for each and is never busy for long


def ask_server(arguments: list[str]) -> int | None:
    """The exit status of a command that a resident server ran; None where no server of the same code listens.

    Args:
        arguments: the command's, its name first.
    """
    path = address()
    if path is None or not _is_ours(path) or not _has_streams():
        return None
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(str(path))
            call = Call.here(arguments).to_bytes()
            socket.send_fds(connection, [HEAD.pack(len(call))], [0, 1, 2])
            connection.sendall(call)
        except OSError:  # a server that was killed leaves its socket behind
            return None
        connection.settimeout(None)
        with _forwarding(connection):
            status = _received(connection)
    if status == OTHER_CODE:
        print(
            "advverify: the resident server has other code or settings; this command runs without it "
            "(end the server and start `advverify serve` again, or set ADVVERIFY_SERVER=off)",
            file=sys.stderr,
        )
        return None
    if status is None:
        print("advverify: the resident server ended before this command did; run it again", file=sys.stderr)
        return 2
    return status if status >= 0 else 128 - status


def _is_ours(path: Path) -> bool:
    """Whether a socket is there, made by this user: who answers sees the environment and speaks for the verifier."""
    try:
        found = os.stat(path)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid()


def _has_streams() -> bool:
    """Whether input, output and errors are open: else the connection would be taken for one of them."""
    try:
        for number in (0, 1, 2):
            os.fstat(number)
    except OSError:
        return False
    return True


def _received(connection: socket.socket) -> int | None:
    data = b""
    while len(data) < STATUS.size:
        try:
            part = connection.recv(STATUS.size - len(data))
        except ConnectionResetError:
            return None
        if not part:
            return None
        data += part
    return int(STATUS.unpack(data)[0])


@contextmanager
def _forwarding(connection: socket.socket) -> Iterator[None]:
    """Signals that end a command are the server's to hand on."""

    def forward(number: int, frame: FrameType | None) -> None:
        try:
            connection.send(bytes([number]))
        except OSError:  # the command has just ended
            return

    before = {}
    for name in FORWARDED:
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

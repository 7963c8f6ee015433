"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is done is kept and said, and nothing is left running."""

from __future__ import annotations

import signal
from types import FrameType

_ALIKE = ("SIGTERM", "SIGHUP")


def interrupt_alike() -> None:
    """Take these signals for Ctrl-C, in the main thread of this process; those that are ignored (`nohup`) stay ignored."""
    for name in _ALIKE:
        number = getattr(signal, name, None)  # there is no SIGHUP on Windows
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

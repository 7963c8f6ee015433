"""What ends a task in the place of an answer: an accident says nothing about what was asked, and the task may be asked again."""

from __future__ import annotations

from enum import Enum
from typing import Any

ACCIDENT = "accident"  # the label of an outcome that is no answer: it is asked again


class AccidentKind(Enum):
    """What went wrong.

    KILLED: the worker died.
    HUNG: the worker was silent beyond the time limit and a grace period, and was ended.
    MEMORY: memory ran out.
    START: no worker came to life.
    FILE: a file is missing, cannot be read, or has changed.
    REFUSED: what was asked makes no sense, or is not supported.
    FAILED: the program failed.
    """

    KILLED = "killed"
    HUNG = "hung"
    MEMORY = "memory"
    START = "start"
    FILE = "file"
    REFUSED = "refused"
    FAILED = "failed"

    @property
    def passes(self) -> bool:
        """Whether another worker may do better at once."""
        return self in (AccidentKind.KILLED, AccidentKind.HUNG, AccidentKind.MEMORY)


class Accident(Exception):  # noqa: N818  (an answer's place, whether it is raised or returned)
    """An accident, raised by work or made by who watches it.

    Attributes:
        kind: what went wrong.
        message: how, in one line.
    """

    def __init__(self, kind: AccidentKind, message: str) -> None:
        """Only the first line of the message is kept."""
        self.kind = kind
        self.message = next((line.strip() for line in message.splitlines() if line.strip()), kind.value)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """How it travels."""
        return Accident, (self.kind, self.message)


# What C++, torch, numpy and the kernel say, apart from MemoryError.
_SHORT_OF_MEMORY = ("memoryerror", "bad_alloc", "allocate memory", "enough memory", "out of memory", "start new thread")


def tells_of_memory(text: str) -> bool:
    """Whether an error's text says that memory ran out."""
    low = text.lower()
    return any(words in low for words in _SHORT_OF_MEMORY)

"""A time limit that reaches into long computations without being handed through every call.

Whoever owns the time opens `until`; loops whose rounds may take long call `check`, and the work that is not finished by
then ends with `OutOfTime`. What was proved before stands, for it was handed over when it was proved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class OutOfTime(Exception):  # noqa: N818  (no error: time limits are there to be reached)
    """The time that work was given is over."""


def _never() -> bool:
    return False


_over: ContextVar[Callable[[], bool]] = ContextVar("over", default=_never)


@contextmanager
def until(over: Callable[[], bool]) -> Iterator[None]:
    """Inside, `check` raises as soon as `over` says so; limits outside of it hold as well."""
    outer = _over.get()
    token = _over.set(lambda: outer() or over())
    try:
        yield
    finally:
        _over.reset(token)


def check() -> None:
    """Look at the clock.

    Raises:
        OutOfTime: a limit around this call is over.
    """
    if _over.get()():
        raise OutOfTime

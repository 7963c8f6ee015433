"""Python's names in what is said: the work that commands and calls share speaks of options."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

from advverify.verifier.errors import AdvverifyError

P = ParamSpec("P")
R = TypeVar("R")
_OPTION = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z0-9]*(?:-[a-z0-9]+)*)")
_ARGUMENTS = {"bytes": "bytes_as", "format": "form"}  # where Python calls it something else


def in_arguments(text: str) -> str:
    """A message with arguments in the place of options.

    >>> in_arguments("--eps-grid takes radii; leave --data out")
    'eps_grid takes radii; leave data out'
    """
    return _OPTION.sub(lambda found: _ARGUMENTS.get(found[1], found[1].replace("-", "_")), text)


def speaks_of_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """A call whose errors name its arguments."""

    @wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        with translated():
            return function(*arguments, **keywords)

    return call


@contextmanager
def translated() -> Iterator[None]:
    """Errors of what is inside name arguments."""
    try:
        yield
    except AdvverifyError as error:
        text = in_arguments(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error


def warn(text: str) -> None:
    """Say something that was decided and not asked, as Python does."""
    warnings.warn(text, UserWarning, stacklevel=2)

"""The errors that users can cause or mend. Each message says what, where, and how to mend it, in one sentence.

Every class also inherits the builtin that a Python programmer would expect to catch.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def printable(text: str) -> str:
    """A text as one line in which nothing moves the cursor: line ends, terminal codes and their like are shown escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class AdvverifyError(Exception):
    """Base of every error that advverify raises on purpose; the command line prints its text and exits with 2.

    The text is one line: what a broken file smuggles into it, line breaks or terminal codes, is shown escaped.
    """

    def __init__(self, message: str) -> None:
        """Escape what is not printable."""
        super().__init__(printable(message))


class InvalidInput(AdvverifyError, ValueError):
    """An argument, image, label, radius or option that makes no sense."""


class ChangedFile(InvalidInput):
    """A file that is not what it was when something was asked about it."""


class InvalidModel(AdvverifyError, ValueError):
    """A file that is not a usable ONNX network."""


class UnsupportedOperator(InvalidModel):
    """An ONNX node outside the supported set."""


class InvalidSpecification(AdvverifyError, ValueError):
    """A property that is malformed or beyond what is supported; `line` and `column` count from 1."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        """Append the position to the message when it is known."""
        self.line, self.column = line, column
        super().__init__(message if line is None else f"line {line}, column {column}: {message}")


class SolverUnavailable(AdvverifyError, RuntimeError):
    """A solver back end that is not installed."""


class TrainingDiverged(AdvverifyError, ArithmeticError):
    """A training whose loss is no number any more."""


def no_file(path: Path) -> str:
    """Why a path is no file, in words."""
    return "is a folder, not a file" if path.is_dir() else "no such file"


def how_to_install(extra: str) -> str:
    """The command that brings the packages of an extra; in a clone the one that keeps to its constraints."""
    root = Path(__file__).resolve().parents[1]
    if all((root / name).is_file() for name in ("constraints.txt", "pyproject.toml")):
        return f"pip install -c constraints.txt '.[{extra}]' in {root}"
    return f"pip install 'advverify[{extra}]'"


def no_such(kind: str, name: object, known: Iterable[str]) -> InvalidInput:
    """The error for a name that a table does not have, with the nearest one that it has."""
    names = list(known)
    near = difflib.get_close_matches(str(name), names, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return InvalidInput(f"unknown {kind} '{name}': {meant}choose among {', '.join(names)}")

"""Places that results are written to: checked before the work that they are for."""

from __future__ import annotations

import os
from pathlib import Path

from advverify.verifier.errors import InvalidInput


def writable_folder(path: Path, option: str) -> Path:
    """The folder of an option, made where it is missing.

    Raises:
        InvalidInput: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{option} {str(path)!r}: not a folder that can be written to ({why})") from error
    return path.absolute()


def refuse_overwriting(out: str | Path, *inputs: object) -> None:
    """Refuse a place for results that is one of the files which are read, by whatever name.

    Raises:
        InvalidInput: it is.
    """
    for given in inputs:
        if isinstance(given, str | Path):
            try:
                same = os.path.isfile(given) and os.path.samefile(out, given)
            except (OSError, ValueError):  # not there, or no name that a file can have
                continue
            if same:
                raise InvalidInput(f"{out}: is what is read here, and would be overwritten; write to another name")


def writable_file(path: Path, option: str) -> None:
    """Check that the file of an option can be written, before the work whose result it is for.

    Raises:
        InvalidInput: it cannot be.
    """
    try:
        there = path.exists()
        with path.open("a"):
            pass
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{option} {path}: cannot be written ({why})") from error
    if not there:
        path.unlink()


def is_page(path: Path) -> bool:
    """Whether what --out names is a page; other files get JSON lines, and what is no file a folder."""
    return path.suffix.lower() in (".html", ".htm")


def writable_page_or_folder(path: Path, option: str) -> Path:
    """Check that a page, or a folder for a page and what belongs to it, can be written before the work that it is for.

    Raises:
        InvalidInput: it cannot be.
    """
    if not is_page(path):
        return writable_folder(path, option)
    writable_file(path, option)
    return path.absolute()


def page_of(path: Path) -> Path:
    """The page that is written to what --out names, itself a page or a folder."""
    return path if is_page(path) else path / "index.html"


def write_text(path: Path, text: str, option: str) -> None:
    """Write the file of an option.

    Raises:
        InvalidInput: it cannot be written any more: a full disk, a folder that is gone.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except (OSError, ValueError) as error:  # a name that no file can have is a ValueError
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{option} {path}: cannot be written ({why})") from error

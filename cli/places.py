"""Places that results are written to: checked before the work that they are for."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from advverify.verifier.errors import InvalidInput

_HEAD = 4096  # bytes of a file that say whether it is text


def writable_folder(path: Path, option: str) -> Path:
    """The folder of an option, made where it is missing.

    Raises:
        InvalidInput: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{option} {str(path)!r}: not a folder that can be written to ({_why(error)})") from error
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


def writable_file(path: Path, option: str, proof: bool = False) -> None:
    """Check that the file of an option can be written, before the work whose result it is for.

    What is there is overwritten only if it is text, or a proof where one is to be written: networks, their weights, images and stores
    are read for a command under many names, and none of them is lost by any.

    Raises:
        InvalidInput: it cannot be, or holds something else.
    """
    try:
        there = path.exists()
        if path.is_file() and (not _is_proof(path) if proof else not _is_text(path)):
            raise InvalidInput(
                f"{option} {path}: holds something other than what is written there; choose another name"
            )
        with path.open("a"):
            pass
    except InvalidInput:
        raise
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{option} {path}: cannot be written ({_why(error)})") from error
    if not there:
        path.unlink()


def _is_text(path: Path) -> bool:
    """Whether a file holds text, or nothing."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > _HEAD - 4 and b"\0" not in head  # a character may be cut off at the end
    return b"\0" not in head


def _is_proof(path: Path) -> bool:
    """Whether a file holds a proof, or nothing."""
    if not path.stat().st_size:
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.json" in archive.namelist()
    except zipfile.BadZipFile:
        return False


def _why(error: OSError | ValueError) -> object:
    """What an error says without the file's name; a name that no file can have is a ValueError."""
    return error.strerror if isinstance(error, OSError) else error


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
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{option} {path}: cannot be written ({_why(error)})") from error

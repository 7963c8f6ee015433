"""How a store is opened: by any number of readers, which change nothing, or by one writer, which has the lock.

A file that is not a store is never written to, not even its head. A store of an older schema is copied before it is brought to
the present one.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import InvalidInput
from . import schema

_PATIENCE = 30.0  # seconds to wait for another process in the middle of a transaction


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that changes nothing, and works where nothing can be changed.

    Raises:
        InvalidInput: not a store, broken, or of a newer version.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: no such store; `advverify batch run JOB --store FILE` makes one")
    try:
        return _readable(path, "mode=ro")
    except sqlite3.OperationalError as error:  # the journal's index can be neither read nor made
        journal = Path(f"{path}-wal")
        if os.access(path.parent, os.W_OK) and not _read_only(path.parent):
            raise unreadable(path, error) from error
        if journal.exists() and journal.stat().st_size:
            raise InvalidInput(
                f"{path}: its newest answers are in {journal.name}, which cannot be read where nothing can be written; copy "
                "both files to a folder of yours and give that copy"
            ) from error
    except sqlite3.DatabaseError as error:
        raise unreadable(path, error) from error
    try:
        return _readable(path, "immutable=1")
    except sqlite3.Error as error:
        raise unreadable(path, error) from error


def open_writer(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """The connection that may write, which creates a store that is not there, and the lock, which ends when it is closed.

    Raises:
        InvalidInput: not a store, of a newer version, not writable, or being written by another job.
    """
    lock: sqlite3.Connection | None = None
    connection: sqlite3.Connection | None = None
    try:
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path}: not a file; give a name for the store")
        _version(path)  # before even a lock is laid beside what is no store
        lock = _exclusive(path)
        version = _version(path)
        if 0 < version < schema.VERSION:
            _keep_copy(path, version)
        connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        schema.migrate(connection)
        connection.execute("SELECT count(*) FROM jobs").fetchone()
    except (sqlite3.Error, OSError, InvalidInput) as error:
        for opened in (connection, lock):
            if opened is not None:
                opened.close()
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"{path}: not a store that can be written ({error}); give another, or mend this one"
        ) from error
    return connection, lock


def unreadable(path: Path, error: Exception) -> InvalidInput:
    """The error of a store that is broken."""
    return InvalidInput(
        f"{path}: not a store that can be read ({error}); restore a copy, or save what is left: sqlite3 {path} .recover"
    )


def _readable(path: Path, how: str) -> sqlite3.Connection:
    """A connection for reading, tried out."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_PATIENCE)
    try:
        if schema.recognise(connection, str(path)) == 0:
            raise InvalidInput(f"{path}: an empty store; `advverify batch run JOB --store FILE` fills it")
        schema.show_as_present(connection)
        connection.execute("SELECT count(*) FROM jobs").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _read_only(folder: Path) -> bool:
    """Whether a folder lies on a file system that takes no writes."""
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)


def _version(path: Path) -> int:
    """The schema of what a writer would write to; 0 where nothing is there yet.

    Raises:
        InvalidInput: something is, and it is no store.
    """
    if not path.exists() or (path.is_file() and path.stat().st_size == 0):
        return 0
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
        return schema.recognise(connection, str(path))


def _keep_copy(path: Path, version: int) -> None:
    """Copy a store of an older schema to a name of its own, whole or not at all."""
    copy, number = Path(f"{path}.schema-{version}"), 1
    while copy.exists():
        number += 1
        copy = Path(f"{path}.schema-{version}-{number}")
    part = Path(f"{copy}.part")
    try:
        with closing(sqlite3.connect(path, timeout=_PATIENCE)) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
        os.replace(part, copy)
    finally:
        part.unlink(missing_ok=True)


def _exclusive(path: Path) -> sqlite3.Connection:
    """A lock that goes with its process, however that ends; beside the file itself, by whatever name it was given."""
    lock = sqlite3.connect(f"{path.resolve()}.lock", timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if "locked" in str(error):
            raise InvalidInput(f"{path}: another job is writing to this store; wait or choose another") from error
        raise
    return lock

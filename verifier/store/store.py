"""The store itself."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import InvalidInput
from ..outcome import UNREADABLE, Outcome
from . import schema

_CHUNK = 500  # keys of one statement


@dataclass(frozen=True)
class StoredQuery:
    """What identifies and describes a query.

    Attributes:
        key: hash of everything that its answer depends on.
        kind: "certify", "distance" or "verify".
        model: as the job names it.
        model_sha256: of the file.
        data: data set, or the folder of a property.
        item: index of the image, or name of the property.
        norm: of the ball, None for properties.
        eps: radius, None for distances and properties.
        options: what limits the search, as JSON.
        version: of the package.
    """

    key: str
    kind: str
    model: str
    model_sha256: str
    data: str
    item: str
    norm: str | None
    eps: float | None
    options: str
    version: str


class Store:
    """An open store; a context manager."""

    def __init__(self, path: str | Path, write: bool = False) -> None:
        """Open for reading, or as the one writer (which creates it).

        Raises:
            InvalidInput: not a store, of a newer version, not writable, or being written by another job.
        """
        self.path = Path(path)
        self._lock: sqlite3.Connection | None = None
        try:
            if write:
                self._lock = self._exclusive()
                self._connection = sqlite3.connect(self.path, timeout=30, isolation_level=None)
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = NORMAL")
                schema.migrate(self._connection, str(self.path))
            else:
                if not self.path.is_file():
                    raise InvalidInput(f"{self.path}: no such store; `advverify batch run JOB --store FILE` makes one")
                self._connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
                (version,) = self._connection.execute("PRAGMA user_version").fetchone()
                schema.check(version, str(self.path))
                self._connection.execute("SELECT count(*) FROM jobs").fetchone()
        except (sqlite3.Error, InvalidInput) as error:
            if self._lock is not None:
                self._lock.close()
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"{self.path}: not a store that can be {'written' if write else 'read'} ({error}); "
                "give one that `advverify batch run` made"
            ) from error

    def _exclusive(self) -> sqlite3.Connection:
        """A lock that goes with its process, however that ends."""
        lock = sqlite3.connect(f"{self.path}.lock", timeout=0, isolation_level=None)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise InvalidInput(
                    f"{self.path}: another job is writing to this store; wait or choose another"
                ) from error
            raise
        return lock

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Close the file and give the lock back."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def add(self, job: str, text: str, folder: str, queries: Sequence[StoredQuery]) -> None:
        """Register a job with its queries; those that are there keep their answers.

        A job of this name with another text is replaced; its answers stay.
        """
        known = self._connection.execute("SELECT text FROM jobs WHERE name = ?", (job,)).fetchone()
        version = queries[0].version if queries else ""
        with self._transaction():
            if known is None:
                values = (job, text, folder, time.time(), version)
                self._connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", values)
            elif known[0] != text:
                self._connection.execute("UPDATE jobs SET text = ?, folder = ? WHERE name = ?", (text, folder, job))
                self._connection.execute("DELETE FROM members WHERE job = ?", (job,))
            self._connection.executemany(
                "INSERT OR IGNORE INTO queries (key, kind, model, model_sha256, data, item, norm, eps, options, version) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (q.key, q.kind, q.model, q.model_sha256, q.data, q.item, q.norm, q.eps, q.options, q.version)
                    for q in queries
                ],
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO members VALUES (?, ?, ?)", [(job, q.key, i) for i, q in enumerate(queries)]
            )

    def finish(self, answers: Iterable[tuple[str, Outcome, int]]) -> None:
        """Keep answers (key, outcome, attempts) in one transaction.

        Raises:
            InvalidInput: the disk is full, or the file cannot be written any more; what was kept before stays.
        """
        rows = []
        for key, outcome, attempts in answers:
            text = outcome.to_json()
            record = json.loads(text)
            columns = [record[c] for c in ("verdict", "lower", "upper", "trust", "engine", "seconds", "reason")]
            rows.append((*columns, attempts, time.time(), outcome.proof, text, key))
        try:
            with self._transaction():
                self._connection.executemany(
                    "UPDATE queries SET verdict = ?, lower = ?, upper = ?, trust = ?, engine = ?, seconds = ?, reason = ?, "
                    "attempts = ?, finished = ?, proof = ?, outcome = ? WHERE key = ?",
                    rows,
                )
        except sqlite3.Error as error:
            raise InvalidInput(f"{self.path}: answers cannot be kept ({error}); those before are safe") from error

    def answered(self, keys: Sequence[str]) -> set[str]:
        """Which of the keys have an answer."""
        found: set[str] = set()
        for begin in range(0, len(keys), _CHUNK):
            part = keys[begin : begin + _CHUNK]
            marks = ",".join("?" * len(part))
            query = f"SELECT key FROM queries WHERE verdict IS NOT NULL AND key IN ({marks})"
            found.update(key for (key,) in self._connection.execute(query, list(part)))
        return found

    def jobs(self) -> list[dict[str, Any]]:
        """Name, text, folder, time of creation and counts of every job."""
        rows = self._rows(
            "SELECT j.name, j.text, j.folder, j.created, count(q.key) AS queries, count(q.verdict) AS done, "
            "coalesce(sum(q.verdict = 'robust'), 0) AS robust, coalesce(sum(q.verdict = 'adversarial'), 0) AS adversarial, "
            "coalesce(sum(q.verdict = 'misclassified'), 0) AS misclassified, "
            "coalesce(sum(q.verdict = 'unknown'), 0) AS unknown, coalesce(sum(q.seconds), 0) AS seconds "
            "FROM jobs j LEFT JOIN members m ON m.job = j.name LEFT JOIN queries q ON q.key = m.key GROUP BY j.name"
        )
        return list(rows)

    def rows(self, job: str | None = None, outcomes: bool = False) -> Iterator[dict[str, Any]]:
        """Every query of a job (of all jobs) in its order, as a dictionary; with the outcome's JSON line on request."""
        columns = (
            "q.key, q.kind, q.model, q.model_sha256, q.data, q.item, q.norm, q.eps, q.options, q.version, q.verdict, "
        )
        columns += "q.lower, q.upper, q.trust, q.engine, q.seconds, q.reason, q.attempts, q.finished, q.proof"
        columns += ", q.outcome" if outcomes else ""
        if job is None:
            return self._rows(f"SELECT {columns} FROM queries q ORDER BY q.rowid")
        return self._rows(
            f"SELECT {columns} FROM members m JOIN queries q ON q.key = m.key WHERE m.job = ? ORDER BY m.position",
            (job,),
        )

    def outcome(self, key: str) -> Outcome | None:
        """The full answer of a query.

        Raises:
            InvalidInput: it cannot be read, or no search can have left it.
        """
        row = self._connection.execute("SELECT outcome FROM queries WHERE key = ?", (key,)).fetchone()
        if row is None or row[0] is None:
            return None
        try:
            return Outcome.from_json(row[0])
        except UNREADABLE as error:
            why = " ".join(str(error).split())
            raise InvalidInput(
                f"{self.path}: the answer {key} cannot be read ({why}); ask it again in a new store"
            ) from error

    def expected_seconds(self) -> dict[tuple[str, str], float]:
        """Mean seconds of answered queries by (model hash, kind)."""
        query = "SELECT model_sha256, kind, avg(seconds) FROM queries WHERE seconds IS NOT NULL GROUP BY 1, 2"
        return {(sha, kind): float(mean) for sha, kind, mean in self._connection.execute(query)}

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[dict[str, Any]]:
        cursor = self._connection.execute(query, values)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))

    def _transaction(self) -> _Transaction:
        return _Transaction(self._connection)


class _Transaction:
    """All or nothing."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._connection.execute("COMMIT")
        elif self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
            self._connection.execute("ROLLBACK")

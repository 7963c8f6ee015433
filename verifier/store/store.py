"""The store itself."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ..errors import InvalidInput
from ..outcome import UNREADABLE, Bracket, Outcome, TraceEvent, Verdict
from ..parallel.accident import Accident
from .opening import open_reader, open_writer, unreadable

_CHUNK = 500  # keys of one statement


@dataclass(frozen=True)
class StoredQuery:
    """What identifies and describes a query.

    Attributes:
        key: hash of everything that its answer depends on.
        kind: "certify", "distance", "verify" or "attack".
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
        if write:
            self._connection, self._lock = open_writer(self.path)
        else:
            self._connection = open_reader(self.path)

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

    def add(self, job: str, text: str, folder: str, queries: Sequence[StoredQuery], more: bool = False) -> None:
        """Register a job with its queries; those that are there keep their answers.

        A job of this name is replaced, and its answers stay; with `more` its queries stay too.

        Raises:
            InvalidInput: the disk is full, or the file cannot be written any more.
        """
        version = queries[0].version if queries else ""
        with self._writing():
            known = self._connection.execute("SELECT 1 FROM jobs WHERE name = ?", (job,)).fetchone()
            if known is None:
                values = (job, text, folder, time.time(), version)
                self._connection.execute("INSERT INTO jobs VALUES (?, ?, ?, ?, ?)", values)
            elif not more:
                self._connection.execute("UPDATE jobs SET text = ?, folder = ? WHERE name = ?", (text, folder, job))
                # What it asked before may be another question by now, of another version or about a file that changed.
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

    def finish(self, answers: Iterable[tuple[str, Outcome, int]], options: Mapping[str, str] | None = None) -> None:
        """Keep answers (key, outcome, attempts) in one transaction; where one is kept already that says more, it stays.

        Args:
            answers: what came.
            options: under which they came, by key, where these may be others than when the query was added.

        Raises:
            InvalidInput: the disk is full, or the file cannot be written any more; what was kept before stays.
        """
        rows, keys, kept = [], [], []
        for key, outcome, attempts in answers:
            keys.append((key,))
            if self._says_more(key, outcome):
                kept.append(((options or {}).get(key), key))
                continue
            text = outcome.to_json()
            record = json.loads(text)
            columns = [record[c] for c in ("verdict", "lower", "upper", "trust", "engine", "seconds", "reason")]
            rows.append((*columns, attempts, time.time(), outcome.proof, text, (options or {}).get(key), key))
        with self._writing():
            self._connection.executemany(
                "UPDATE queries SET verdict = ?, lower = ?, upper = ?, trust = ?, engine = ?, seconds = ?, reason = ?, "
                "attempts = ?, finished = ?, proof = ?, outcome = ?, options = coalesce(?, options) WHERE key = ?",
                rows,
            )
            self._connection.executemany(  # more time has left it open, too
                "UPDATE queries SET options = ?1 WHERE key = ?2 AND json_extract(?1, '$.timeout') > json_extract(options, '$.timeout')",
                kept,
            )
            for table in ("accidents", "progress"):
                self._connection.executemany(f"DELETE FROM {table} WHERE key = ?", keys)

    def _says_more(self, key: str, new: Outcome) -> bool:
        """Whether the answer that is kept is a verdict and the new one is none, or has the tighter bracket of two alike.

        A proof of what is settled counts for more than a tighter bracket.
        """
        query = "SELECT kind, verdict, lower, upper, options, proof FROM queries WHERE key = ? AND verdict IS NOT NULL"
        with self._reading():
            row = self._connection.execute(query, (key,)).fetchone()
        if row is None:
            return False
        kind, verdict, lower, upper, options, proof = row
        if (verdict == "unknown") != (new.verdict is Verdict.UNKNOWN):
            return bool(new.verdict is Verdict.UNKNOWN)
        if (proof is None) != (new.proof is None):
            found = new.verdict.value, new.bracket.lower, new.bracket.upper
            open_ = [_left_open(kind, verdict, lower, upper, options), _left_open(kind, *found, options)]
            if open_ == [None, None]:
                return proof is not None
        if lower is None:  # not finite: where nothing is unsafe, or nothing is proved
            lower = math.inf if verdict == "robust" else -math.inf
        upper = math.inf if upper is None else upper
        below, above = new.bracket.lower, new.bracket.upper
        if (below, above) == (lower, upper):  # the one that had more time
            return False
        return bool((below <= lower and above >= upper) or upper - lower < new.bracket.gap)

    def note_accident(self, key: str, accident: Accident, attempts: int) -> None:
        """Keep what ended a query in the place of an answer; attempts add up. An answer of an earlier run stays.

        Raises:
            InvalidInput: the disk is full, or the file cannot be written any more.
        """
        with self._writing():
            self._connection.execute(
                "INSERT INTO accidents VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET kind = excluded.kind, "
                "message = excluded.message, attempts = attempts + excluded.attempts, happened = excluded.happened",
                (key, accident.kind.value, accident.message, attempts, time.time()),
            )

    def note_progress(self, key: str, events: Sequence[TraceEvent]) -> None:
        """Keep moves of the bracket of a query that has no answer yet.

        Raises:
            InvalidInput: the disk is full, or the file cannot be written any more.
        """
        with self._writing():
            self._connection.executemany(
                "INSERT INTO progress VALUES (?, ?, ?, ?, ?)",
                [(key, event.seconds, event.lower, event.upper, event.engine) for event in events],
            )

    def answered(self, keys: Sequence[str]) -> dict[str, float | None]:
        """Which of the keys have an answer, and how many seconds it had if these left it open; None where it is settled.

        A query is open that is unknown, and a bracket that was to be closed and is wider than its gap.
        """
        found: dict[str, float | None] = {}
        with self._reading():
            for begin in range(0, len(keys), _CHUNK):
                part = keys[begin : begin + _CHUNK]
                query = (
                    "SELECT key, kind, verdict, lower, upper, options FROM queries WHERE verdict IS NOT NULL AND key IN "
                    f"({','.join('?' * len(part))})"
                )
                for key, kind, verdict, lower, upper, options in self._connection.execute(query, list(part)):
                    found[key] = _left_open(kind, verdict, lower, upper, options)
        return found

    def count(self) -> int:
        """Queries that have an answer."""
        with self._reading():
            return int(self._connection.execute("SELECT count(verdict) FROM queries").fetchone()[0])

    def jobs(self) -> list[dict[str, Any]]:
        """Name, text, folder, time of creation and counts of every job."""
        rows = self._rows(
            "SELECT j.name, j.text, j.folder, j.created, count(q.key) AS queries, count(q.verdict) AS done, "
            "coalesce(sum(q.verdict = 'robust'), 0) AS robust, coalesce(sum(q.verdict = 'adversarial'), 0) AS adversarial, "
            "coalesce(sum(q.verdict = 'misclassified'), 0) AS misclassified, "
            "coalesce(sum(q.verdict = 'unknown'), 0) AS unknown, coalesce(sum(q.seconds), 0) AS seconds, "
            "coalesce(sum(q.verdict IS NULL AND a.key IS NOT NULL), 0) AS accidents "
            "FROM jobs j LEFT JOIN members m ON m.job = j.name LEFT JOIN queries q ON q.key = m.key "
            "LEFT JOIN accidents a ON a.key = q.key GROUP BY j.name"
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

    def accidents(self, job: str | None = None) -> Iterator[dict[str, Any]]:
        """Every query of a job (of all jobs, as they are now) that ended in an accident and has no answer.

        Yields:
            What describes the query, as in `rows`; `accident` (its kind), `message`, `attempts` and `happened` (seconds since
            1970); and the bracket that was proved all the same, `lower` and `upper`, None where nothing was.
        """
        member = "m.key = q.key" if job is None else "m.key = q.key AND m.job = ?"
        return self._rows(
            "SELECT q.key, q.kind, q.model, q.data, q.item, q.norm, q.eps, q.options, a.kind AS accident, a.message, a.attempts, "
            "a.happened, (SELECT max(p.lower) FROM progress p WHERE p.key = q.key) AS lower, "
            "(SELECT min(p.upper) FROM progress p WHERE p.key = q.key) AS upper "
            "FROM accidents a JOIN queries q ON q.key = a.key WHERE q.verdict IS NULL "
            f"AND EXISTS (SELECT 1 FROM members m WHERE {member}) ORDER BY q.rowid",
            () if job is None else (job,),
        )

    def progress(self, key: str) -> list[TraceEvent]:
        """How the bracket of a query without an answer moved, attempt after attempt."""
        query = "SELECT seconds, lower, upper, engine FROM progress WHERE key = ? ORDER BY rowid"
        with self._reading():
            return [TraceEvent(*row) for row in self._connection.execute(query, (key,))]

    def outcome(self, key: str) -> Outcome | None:
        """The full answer of a query.

        Raises:
            InvalidInput: it cannot be read, or no search can have left it.
        """
        with self._reading():
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
        with self._reading():
            return {(sha, kind): float(mean) for sha, kind, mean in self._connection.execute(query)}

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> Iterator[dict[str, Any]]:
        with self._reading():
            cursor = self._connection.execute(query, values)
            names = [column[0] for column in cursor.description]
            for row in cursor:
                yield dict(zip(names, row, strict=True))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What is broken in the file is said in one line."""
        try:
            yield
        except sqlite3.Error as error:
            raise unreadable(self.path, error) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """All that is written inside, or nothing of it."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                if self._connection.in_transaction:  # SQLite rolls back by itself when the disk is full
                    self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise InvalidInput(f"{self.path}: answers cannot be kept ({error}); those before are safe") from error


def _left_open(kind: str, verdict: str, lower: float | None, upper: float | None, options: str) -> float | None:
    """Seconds that an answer had which is not settled; see `Store.answered`."""
    if kind == "attack" or (verdict != "unknown" and kind == "verify"):
        return None
    had = json.loads(options)
    is_bracket = kind == "distance" and verdict == "adversarial" or "exact_margin" in had and verdict != "misclassified"
    closed = True
    if is_bracket:
        bracket = Bracket(-math.inf if lower is None else lower, math.inf if upper is None else upper)
        closed = bracket.relative_gap <= had.get("gap", 1e-4) * (1 + 1e-9)
    return None if verdict != "unknown" and closed else float(had.get("timeout", 0.0))

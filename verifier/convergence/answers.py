"""Answers as they were kept, read one at a time from files of JSON lines and from stores."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InvalidInput, no_file
from ..outcome import UNREADABLE, Outcome, Verdict
from ..store import Store

DISTANCE, MARGIN, VERDICT = "distance", "margin", "verdict"
_KINDS = {"min_distortion": DISTANCE, "max_margin": MARGIN, "feasibility": VERDICT, "distance": DISTANCE}
_IDENTITY = ("data", "index", "label", "norm", "eps", "target", "margin", "valid_range", "channels", "float32")
_SQLITE = b"SQLite format 3\x00"
_MEND = "give a file that `distance --out` or `certify --out` wrote, or a store of `batch run`"


@dataclass(frozen=True, eq=False)
class Answer:
    """An answer is an outcome with what is known of its question and of how it was asked.

    Attributes:
        outcome: verdict, bracket, trace and records; without its witness, which would take most of the memory.
        labels: those of the outcome; from a store also timeout, gap, engines and version.
        kind: "distance", "margin" (the exact worst margin) or "verdict" (its sign alone).
        source: name of the file it came from.
        place: byte offset of its line, or its key in the store (see `Source.outcome`).
        where: the same for people: "line 3" or "key 5f0c".
    """

    outcome: Outcome
    labels: Mapping[str, Any]
    kind: str
    source: str
    place: int | str
    where: str

    @property
    def question(self) -> bytes:
        """Digest of what was asked, the same for every engine, solver, limit and version."""
        about = [str(self.labels.get(name)) for name in _IDENTITY]
        model = self.labels.get("model_sha256", self.labels.get("model"))
        return hashlib.blake2b(repr((self.kind, str(model), about)).encode(), digest_size=16).digest()

    @property
    def name(self) -> str:
        """Model, norm, radius and image, as people read them."""
        labels = self.labels
        parts = [str(labels["model"])] if "model" in labels else []
        parts += [f"norm {labels['norm']}"] if labels.get("norm") is not None else []
        parts += [f"eps {labels['eps']:g}"] if isinstance(labels.get("eps"), int | float) else []
        parts += [] if self.kind == VERDICT else [self.kind]
        parts += [str(labels["index"])] if "index" in labels else []
        return ", ".join(parts) or "unnamed"


class Source:
    """A file of answers: JSON lines or a store, whichever it is."""

    def __init__(self, path: str | Path, name: str = "", job: str | None = None, every: int = 1) -> None:
        """Look at the beginning of the file.

        Args:
            path: of the file.
            name: for tables; the file's own without its ending where empty.
            job: read this job of a store alone.
            every: read one in so many of a store's questions, the same ones whichever store they are in.

        Raises:
            InvalidInput: no such file, an empty one, or one without jobs where a job is asked for.
        """
        self.path, self.name, self.job, self.every = Path(path), name or Path(path).stem, job, every
        self.notes: list[str] = []
        try:
            with self.path.open("rb") as stream:
                head = stream.read(len(_SQLITE))
        except OSError as error:
            why = no_file(self.path) if not self.path.is_file() else f"cannot be read ({error.strerror})"
            raise InvalidInput(f"{self.path}: {why}; {_MEND}") from error
        if not head:
            raise InvalidInput(f"{self.path}: the file is empty; {_MEND}")
        self.is_store = head == _SQLITE
        if job is not None and not self.is_store:
            raise InvalidInput(f"{self.path}: a file of JSON lines has no jobs; leave --job out")

    def __iter__(self) -> Iterator[Answer]:
        """Every answer of a search that proves, in order, thus none of an attack's in a store; a last line that a kill cut short is left out and noted.

        Raises:
            InvalidInput: names the line that is no answer, and how to mend it.
        """
        return self._stored() if self.is_store else self._lines()

    def outcome(self, place: int | str) -> Outcome:
        """The outcome of an answer that was read before, in full."""
        if isinstance(place, str):
            with Store(self.path) as store:
                found = store.outcome(place)
            assert found is not None
            return found
        with self.path.open("rb") as stream:
            stream.seek(place)
            return Outcome.from_dict(_record(stream.readline()))

    def _lines(self) -> Iterator[Answer]:
        place = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    try:
                        outcome = Outcome.from_dict(_record(line) | {"witness": None})
                        kind = _kind(outcome)
                    except UNREADABLE as error:
                        if not line.endswith(b"\n") and number > 1:
                            self.notes.append(f"{self.path}: the last line is cut short and left out")
                            return
                        mend = _MEND if number == 1 else "take the line out"
                        raise InvalidInput(
                            f"{self.path}: line {number} is no answer ({_why(error)}); {mend}"
                        ) from error
                    yield Answer(outcome, outcome.labels, kind, self.name, place, f"line {number}")
                place += len(line)

    def _stored(self) -> Iterator[Answer]:
        with Store(self.path) as store:
            if self.job is not None and self.job not in {job["name"] for job in store.jobs()}:
                raise InvalidInput(f"{self.path}: has no job '{self.job}'")
            try:
                for row in store.rows(self.job, outcomes=True):
                    if row["verdict"] is not None and row["kind"] != "attack" and not _draw(row) % self.every:
                        yield self._row(row)
            except sqlite3.Error as error:
                raise InvalidInput(
                    f"{self.path}: the store cannot be read ({error}); restore it from a copy"
                ) from error

    def _row(self, row: Mapping[str, Any]) -> Answer:
        try:
            outcome = Outcome.from_dict(_record(row["outcome"]) | {"witness": None})
            options = json.loads(row["options"])
            labels = {"data": row["data"], "index": row["item"], "norm": row["norm"], "eps": row["eps"]}
            labels |= {"model": row["model"], "model_sha256": row["model_sha256"], "version": row["version"]}
            labels |= {
                **outcome.labels,
                **{name: options[name] for name in ("timeout", "gap", "engines") if name in options},
            }
            kind = _KINDS.get(outcome.labels.get("objective", row["kind"]), VERDICT)
        except UNREADABLE as error:
            raise InvalidInput(
                f"{self.path}: the answer {row['key']} cannot be read ({_why(error)}); ask it again in a new store"
            ) from error
        return Answer(outcome, labels, kind, self.name, str(row["key"]), f"key {row['key']}")


def _draw(row: Mapping[str, Any]) -> int:
    """A number that depends on a row's question alone."""
    about = [row[name] for name in ("kind", "model_sha256", "data", "item", "norm", "eps")]
    return zlib.crc32(repr(about).encode())


def _kind(outcome: Outcome) -> str:
    """What was asked. Lines of older versions do not say it, and are taken for what they look like.

    There, what has no norm is a property, what has no radius a distance, and of the rest only a bracket that is closed was
    asked for as an exact margin.
    """
    labels = outcome.labels
    if "objective" in labels:
        return _KINDS[labels["objective"]]
    if "norm" not in labels:
        return VERDICT
    if labels.get("eps") is None:
        return DISTANCE
    closed = outcome.bracket.relative_gap <= 1e-3
    return MARGIN if closed and outcome.verdict is not Verdict.MISCLASSIFIED else VERDICT


def _record(line: bytes | str) -> dict[str, Any]:
    """A line's values.

    Raises:
        ValueError: no JSON, no object, numbers that JSON does not have, or text that no terminal can show.
        RecursionError: nested without end.
    """
    record = json.loads(line, parse_constant=_refuse)
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}, not an object")
    halves = (b"\\ud", b"\\uD") if isinstance(line, bytes) else ("\\ud", "\\uD")
    if any(half in line for half in halves):  # type: ignore[operator]
        json.dumps(record, ensure_ascii=False).encode()  # halves of a pair were joined; one alone cannot be encoded
    return record


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which no answer does")


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "it holds half a character"
    if isinstance(error, json.JSONDecodeError | UnicodeDecodeError):
        return "not JSON"
    return " ".join(str(error).split())

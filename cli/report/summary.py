"""A store's answers as the numbers that a report shows; rows are dictionaries of the store's columns."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Row = dict[str, Any]

VERDICTS = ("robust", "adversarial", "misclassified", "unknown")
_MESSAGES = 1000  # different messages of a kind of accident that are counted one by one
_FURTHER = ""  # the others

# Options that change what is asked, in the order in which they are shown; others change how soon it is answered.
_ASKED = ("attack", "exact_margin", "target", "margin", "valid_range", "channels", "float32")


def group_name(row: Row) -> str:
    """Model and question, as curves and tables are labelled."""
    asked = "".join(
        f", {name.replace('_', ' ')}" + ("" if value is True else f" {value}") for name, value in _asked(row["options"])
    )
    if row["kind"] == "verify":
        return f"{row['data']}{asked}"
    question = "distance" if row["eps"] is None else f"eps {row['eps']:g}"
    return f"{row['model']}, norm {row['norm']}, {question}{asked}"


@lru_cache(maxsize=256)
def _asked(options: str) -> tuple[tuple[str, Any], ...]:
    """What the options of a row ask beyond norm and radius."""
    known = json.loads(options)
    return tuple((name, known[name]) for name in _ASKED if name in known)


@dataclass
class Question:
    """What is counted of the answers to one question about one model; numbers that are drawn are kept as 8 bytes each."""

    name: str
    counts: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))
    settled: array[float] = field(default_factory=lambda: array("d"))
    lower: array[float] = field(default_factory=lambda: array("d"))
    upper: array[float] = field(default_factory=lambda: array("d"))
    open_seconds: array[float] = field(default_factory=lambda: array("d"))
    open_gaps: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: Row) -> None:
        """Count an answer; the brackets of distances are kept, and what is open of them once more."""
        self.counts[row["verdict"]] += 1
        self.checked += row["trust"] == "checked"
        self.seconds.append(row["seconds"])
        is_settled = settled(row)
        if is_settled:
            self.settled.append(row["seconds"])
        if row["kind"] == "distance":
            self.lower.append(row["lower"] or 0.0)
            self.upper.append(math.inf if row["upper"] is None else row["upper"])
            if not is_settled:
                self.open_seconds.append(row["seconds"])
                self.open_gaps.append(relative_gap(row) or 0.0)


class Summary:
    """What a report says of answers, taken in one row at a time: memory grows by a few numbers a row."""

    def __init__(self, kept: int) -> None:
        """Nothing yet; of the hardest queries so many rows are kept."""
        self.count, self.total_seconds = 0, 0.0
        self.verdicts, self._engines, self._engine_seconds = Counter[str](), Counter[str](), Counter[str]()
        self.questions: dict[str, Question] = {}
        self._kept = kept
        self._hardest: list[tuple[bool, float, int, Row]] = []  # a heap, the easiest first

    def add(self, row: Row) -> None:
        """Take in an answer."""
        self.count += 1
        self.total_seconds += row["seconds"]
        self.verdicts[row["verdict"]] += 1
        if row["verdict"] != "unknown":
            self._engines[row["engine"]] += 1
            self._engine_seconds[row["engine"]] += row["seconds"]
        name = group_name(row)
        question = self.questions.get(name)
        if question is None:
            question = self.questions[name] = Question(name)
        question.add(row)
        entry = (not settled(row), row["seconds"], -self.count, row)
        if len(self._hardest) < self._kept:
            heapq.heappush(self._hardest, entry)
        elif entry > self._hardest[0]:
            heapq.heapreplace(self._hardest, entry)

    @property
    def engines(self) -> list[tuple[str, int, float]]:
        """(engine, queries it settled, seconds of those), most first."""
        return [(name, count, float(self._engine_seconds[name])) for name, count in self._engines.most_common()]

    def hardest(self, count: int) -> list[Row]:
        """Open queries first, then the slowest."""
        return [row for *_, row in sorted(self._hardest, reverse=True)[:count]]

    def shares(self) -> list[dict[str, Any]]:
        """Verdicts and times by model and question."""
        return [
            {
                "name": question.name,
                "queries": len(question.seconds),
                **{verdict: question.counts[verdict] for verdict in VERDICTS},
                "checked": question.checked,
                "median_seconds": sorted(question.seconds)[len(question.seconds) // 2],
                "total_seconds": sum(question.seconds),
            }
            for question in self.questions.values()
        ]


def settled(row: Row) -> bool:
    """Whether a query has its answer: a distance counts when its bracket is closed to its gap."""
    if row["verdict"] == "unknown":
        return False
    if row["kind"] != "distance":
        return True
    gap = _gap(row["options"])
    relative = relative_gap(row)
    return relative is not None and relative <= gap * (1 + 1e-9)


@lru_cache(maxsize=256)
def _gap(options: str) -> float:
    """The gap to which the bracket of a distance was to be closed."""
    return float(json.loads(options).get("gap", 1e-4))


def relative_gap(row: Row) -> float | None:
    """(upper - lower) / upper of a distance; None for other questions."""
    if row["kind"] != "distance":
        return None
    if row["upper"] is None:
        return math.inf
    return 0.0 if row["upper"] == 0 else (row["upper"] - (row["lower"] or 0.0)) / row["upper"]


class Accidents:
    """What a report says of accidents, taken in one row at a time."""

    def __init__(self, kept: int) -> None:
        """None yet; so many rows are kept."""
        self.count, self.rows = 0, list[Row]()
        self._kept, self._messages = kept, dict[str, Counter[str]]()

    def add(self, kind: str, message: str, row: Row | None = None) -> None:
        """Take in an accident."""
        self.count += 1
        if row is not None and len(self.rows) < self._kept:
            self.rows.append(row)
        counts = self._messages.setdefault(kind, Counter())
        counts[message if message in counts or len(counts) < _MESSAGES else _FURTHER] += 1

    @property
    def words(self) -> list[str]:
        """One line a kind, with its most frequent message."""
        lines = []
        for kind, counts in sorted(self._messages.items()):
            count, others = counts.total(), len(counts) - 1
            frequent = next(message for message, _ in counts.most_common() if message != _FURTHER)
            more = f"{others}{' or more' if _FURTHER in counts else ''} other message{'s' if others > 1 else ''}"
            text = f"{count} accident{'s' if count > 1 else ''}, {kind}: {frequent}"
            lines.append(text + (f" (and {more})" if others else ""))
        return lines


def changes(before: Iterable[Row], after: Iterable[Row], kept: int) -> dict[str, Any]:
    """Two runs of the same questions: verdicts that changed, so many of them by name, and what got faster or slower.

    What was before lies in a file for the time being, so that it takes no memory.
    """
    moved: list[dict[str, str]] = []
    ratios, was, now = array("d"), 0.0, 0.0
    changed = contradictions = 0
    with closing(sqlite3.connect("", isolation_level=None)) as index:
        index.execute("PRAGMA journal_mode = OFF")
        index.execute("CREATE TABLE old (question BLOB PRIMARY KEY, verdict TEXT, seconds REAL) WITHOUT ROWID")
        index.execute("BEGIN")
        index.executemany(
            "INSERT OR REPLACE INTO old VALUES (?, ?, ?)",
            ((_identity(row), row["verdict"], row["seconds"]) for row in before),
        )
        for row in after:
            old = index.execute("SELECT verdict, seconds FROM old WHERE question = ?", (_identity(row),)).fetchone()
            if old is None:
                continue
            verdict, seconds = old
            ratios.append((seconds + 1e-3) / (row["seconds"] + 1e-3))
            was, now = was + seconds, now + row["seconds"]
            if verdict != row["verdict"]:
                changed += 1
                contradictions += {verdict, row["verdict"]} == {"robust", "adversarial"}
                if len(moved) < kept:
                    query = f"{group_name(row)}, {row['item']}"
                    moved.append({"query": query, "before": verdict, "after": row["verdict"]})
    return {
        "common": len(ratios),
        "changed": changed,
        "verdicts": moved,
        "contradictions": contradictions,
        "median_speedup": sorted(ratios)[len(ratios) // 2] if ratios else None,
        "faster": sum(ratio > 1.5 for ratio in ratios),
        "slower": sum(ratio < 1 / 1.5 for ratio in ratios),
        "seconds": [was, now],
    }


def _identity(row: Row) -> bytes:
    """Digest of what was asked, whatever the limits and the version."""
    names = ("kind", "model_sha256", "data", "item", "norm", "eps")
    about = (*(row[name] for name in names), str(_asked(row["options"])))
    return hashlib.blake2b(repr(about).encode(), digest_size=16).digest()

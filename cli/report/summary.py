"""A store's answers as the numbers that a report shows; rows are dictionaries of the store's columns."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import median
from typing import Any

Row = dict[str, Any]

VERDICTS = ("robust", "adversarial", "misclassified", "unknown")
_MESSAGES = 1000  # different messages of a kind of accident that are counted one by one
_FURTHER = ""  # the others
_FURTHER_REASONS = "other reasons, of very many"

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


def quantity(row: Row) -> str:
    """What the bracket of a row is one of: distances, margins of images or of properties; attacks prove no side of any."""
    return {"distance": "distance", "verify": "property", "attack": "attack"}.get(row["kind"], "margin")


@dataclass
class Question:
    """What is counted of the answers to one question about one model; numbers that are drawn are kept as 8 bytes each."""

    name: str
    quantity: str
    norm: str | None
    eps: float | None = None
    model: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    checked: int = 0
    seconds: array[float] = field(default_factory=lambda: array("d"))
    settled: array[float] = field(default_factory=lambda: array("d"))
    lower: array[float] = field(default_factory=lambda: array("d"))
    upper: array[float] = field(default_factory=lambda: array("d"))
    open_seconds: array[float] = field(default_factory=lambda: array("d"))
    open_gaps: array[float] = field(default_factory=lambda: array("d"))
    found: int = 0
    both_sides: int = 0

    @property
    def family(self) -> str:
        """The question without its radius: what differs in that alone is one curve."""
        return self.name if self.eps is None else self.name.replace(f", eps {self.eps:g}", "", 1)

    @property
    def accuracy(self) -> tuple[float, float]:
        """The share of the images that are proved, and the one that no counterexample is known of."""
        total = len(self.seconds)
        return self.counts["robust"] / total, 1 - (self.counts["adversarial"] + self.counts["misclassified"]) / total

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
                self.both_sides += row["upper"] is not None
            self.found += row["upper"] is not None and row["verdict"] == "unknown"


class Summary:
    """What a report says of answers, taken in one row at a time: memory grows by a few numbers a row."""

    def __init__(self, kept: int) -> None:
        """Nothing yet; of the hardest queries so many rows are kept."""
        self.count, self.total_seconds = 0, 0.0
        self.verdicts, self._engines, self._engine_seconds = Counter[str](), Counter[str](), Counter[str]()
        self.questions: dict[str, Question] = {}
        self.versions, self.first, self.last = set[str](), math.inf, -math.inf
        self._options, self._reasons = dict[str, None](), dict[str, Counter[str]]()
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
            question = self.questions[name] = Question(name, quantity(row), row["norm"], row["eps"], row["model"])
        question.add(row)
        self._options[row["options"]] = None
        self.versions.add(row["version"])
        if row["finished"] is not None:
            self.first, self.last = min(self.first, row["finished"]), max(self.last, row["finished"])
        if row["reason"]:
            reason = reason_in_words(row["reason"])
            known = reason in self._reasons or len(self._reasons) < _MESSAGES
            self._reasons.setdefault(reason if known else _FURTHER_REASONS, Counter())[name] += 1
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

    @property
    def shares(self) -> list[dict[str, Any]]:
        """Verdicts, closed brackets and wall times by model and question."""
        return [
            {
                "name": question.name,
                "quantity": question.quantity,
                "queries": len(question.seconds),
                **{verdict: question.counts[verdict] for verdict in VERDICTS},
                "closed": len(question.settled),
                "found": question.found,
                "bracket": (float(median(question.lower)), float(median(question.upper))) if question.lower else None,
                "checked": question.checked,
                "median_seconds": sorted(question.seconds)[len(question.seconds) // 2],
                "total_seconds": sum(question.seconds),
            }
            for question in self.questions.values()
        ]

    @property
    def reasons(self) -> list[tuple[str, int, str]]:
        """(reason, queries, the question that has most of them and how many), of all that are open, most frequent first."""
        result = []
        for reason, counts in sorted(self._reasons.items(), key=lambda entry: -entry[1].total()):
            name, most = counts.most_common(1)[0]
            result.append((reason, counts.total(), name if most == counts.total() else f"{name} ({most}), and others"))
        return result

    @property
    def answer(self) -> str:
        """How many queries are settled how, and why the others are not: one sentence, or two."""
        asked = self.questions.values()
        verdicts, attacks = Counter[str](), Counter[str]()
        for question in asked:
            if question.quantity != "distance":
                (attacks if question.quantity == "attack" else verdicts).update(question.counts)
        distances = [question for question in asked if question.quantity == "distance"]
        parts = []
        if verdicts.total():
            parts.append(f"of {verdicts.total()} verdicts {_said(verdicts, _SAID)}")
        if distances:
            total = sum(len(question.seconds) for question in distances)
            closed = sum(len(question.settled) for question in distances)
            both = sum(question.both_sides for question in distances)
            said = f"{closed} {'is' if closed == 1 else 'are'} closed to the gap that was asked for"
            said += f", {both} open with both sides known" if both else ""
            said += f", {total - closed - both} open without an adversarial example" if closed + both < total else ""
            parts.append(f"of {total} distances {said}")
        if attacks.total():
            parts.append(f"of {attacks.total()} attacks {_said(attacks, _ATTACKED)}")
        text = "; ".join(parts) + "."
        why = self.reasons
        if why:
            reason, count, _ = why[0]
            text += f" Most frequent reason for what is open: {reason} ({count} of {sum(each for _, each, _ in why)})."
        return text[0].upper() + text[1:]

    @property
    def options_in_words(self) -> dict[str, str]:
        """Every option that limited the searches, with its values, in the order of their names."""
        found: dict[str, dict[str, None]] = {}
        for text in self._options:
            for name, value in json.loads(text).items():
                found.setdefault(name.replace("_", " "), {})[_option(value) or "all"] = None
        return {name: " or ".join(values) for name, values in sorted(found.items())}


def _option(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_DETAIL = re.compile(r": \d+ of \d+ targets open.*$| comes to a margin of .*$")


def reason_in_words(reason: str) -> str:
    """Why a query is open, without what is of this query alone, so that reasons can be counted."""
    return _DETAIL.sub("", reason)


_SAID = {
    "robust": "{} {} proved robust",
    "adversarial": "{} {} fooled by a counterexample",
    "misclassified": "{} {} misclassified as they are",
    "unknown": "{} {} open",
}
_ATTACKED = {
    "adversarial": "{} found an adversarial example",
    "misclassified": "{} began at an image that is misclassified as it is",
    "unknown": "{} found nothing",
}


def _said(counts: Counter[str], words: dict[str, str]) -> str:
    return ", ".join(words[v].format(counts[v], "is" if counts[v] == 1 else "are") for v in VERDICTS if counts[v])


def settled(row: Row) -> bool:
    """Whether a query has its answer: a distance counts when its bracket is closed to its gap."""
    if row["verdict"] == "unknown":
        return False
    if row["kind"] != "distance":
        return True
    upper = math.inf if row["upper"] is None else row["upper"]
    return settled_distance(row["lower"] or 0.0, upper, _gap(row["options"]))


def settled_distance(lower: float, upper: float, gap: float) -> bool:
    """Whether a bracket is closed to a relative gap."""
    return upper == 0 or (math.isfinite(upper) and (upper - lower) / upper <= gap * (1 + 1e-9))


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

"""A store's answers as the numbers that a report shows; rows are dictionaries of the store's columns."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

Row = dict[str, Any]

VERDICTS = ("robust", "adversarial", "misclassified", "unknown")


# Options that change what is asked, in the order in which they are shown; others change how soon it is answered.
_ASKED = ("exact_margin", "target", "margin", "valid_range", "channels", "float32")


def group_name(row: Row) -> str:
    """Model and question, as curves and tables are labelled."""
    asked = "".join(
        f", {name.replace('_', ' ')}" + ("" if value is True else f" {value}") for name, value in _asked(row["options"])
    )
    if row["kind"] == "verify":
        return f"{row['data']}{asked}"
    question = "distance" if row["kind"] == "distance" else f"eps {row['eps']:g}"
    return f"{row['model']}, norm {row['norm']}, {question}{asked}"


@lru_cache(maxsize=256)
def _asked(options: str) -> tuple[tuple[str, Any], ...]:
    """What the options of a row ask beyond norm and radius."""
    known = json.loads(options)
    return tuple((name, known[name]) for name in _ASKED if name in known)


def by_question(rows: list[Row]) -> dict[str, list[Row]]:
    """Rows by model and question, in the order of their first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(group_name(row), []).append(row)
    return groups


def shares(rows: list[Row]) -> list[dict[str, Any]]:
    """Verdicts and times by model and question."""
    result = []
    for name, members in by_question(rows).items():
        counts = Counter(row["verdict"] for row in members)
        seconds = sorted(row["seconds"] for row in members)
        result.append(
            {
                "name": name,
                "queries": len(members),
                **{verdict: counts[verdict] for verdict in VERDICTS},
                "checked": sum(row["trust"] == "checked" for row in members),
                "median_seconds": seconds[len(seconds) // 2],
                "total_seconds": sum(seconds),
            }
        )
    return result


def engines(rows: list[Row]) -> list[tuple[str, int, float]]:
    """(engine, queries it settled, seconds of those), most first."""
    counts, seconds = Counter[str](), Counter[str]()
    for row in rows:
        if row["verdict"] != "unknown":
            counts[row["engine"]] += 1
            seconds[row["engine"]] += row["seconds"]
    return [(name, count, float(seconds[name])) for name, count in counts.most_common()]


def settled(row: Row) -> bool:
    """Whether a query has its answer: a distance counts when its bracket is closed to its gap."""
    if row["verdict"] == "unknown":
        return False
    if row["kind"] != "distance":
        return True
    gap = json.loads(row["options"]).get("gap", 1e-4)
    relative = relative_gap(row)
    return relative is not None and relative <= gap * (1 + 1e-9)


def relative_gap(row: Row) -> float | None:
    """(upper - lower) / upper of a distance; None for other questions."""
    if row["kind"] != "distance":
        return None
    if row["upper"] is None:
        return math.inf
    return 0.0 if row["upper"] == 0 else (row["upper"] - (row["lower"] or 0.0)) / row["upper"]


def hardest(rows: list[Row], count: int) -> list[Row]:
    """Open queries first, then the slowest."""
    return sorted(rows, key=lambda row: (settled(row), -row["seconds"]))[:count]


def accidents_in_words(accidents: Iterable[tuple[str, str]]) -> list[str]:
    """Accidents, each a kind and a message, as one line a kind, with the most frequent message."""
    messages: dict[str, Counter[str]] = {}
    for kind, message in accidents:
        messages.setdefault(kind, Counter())[message] += 1
    lines = []
    for kind, counts in sorted(messages.items()):
        count, others = counts.total(), len(counts) - 1
        text = f"{count} accident{'s' if count > 1 else ''}, {kind}: {counts.most_common(1)[0][0]}"
        lines.append(text + (f" (and {others} other message{'s' if others > 1 else ''})" if others else ""))
    return lines


def changes(before: list[Row], after: list[Row]) -> dict[str, Any]:
    """Two runs of the same questions: verdicts that changed, and what got faster or slower."""

    def identity(row: Row) -> tuple[Any, ...]:
        names = ("kind", "model_sha256", "data", "item", "norm", "eps")
        return *(row[name] for name in names), str(_asked(row["options"]))

    old = {identity(row): row for row in before}
    pairs = [(old[identity(row)], row) for row in after if identity(row) in old]
    moved = [(a, b) for a, b in pairs if a["verdict"] != b["verdict"]]
    ratios = sorted((a["seconds"] + 1e-3) / (b["seconds"] + 1e-3) for a, b in pairs)
    return {
        "common": len(pairs),
        "verdicts": [
            {"query": f"{group_name(b)}, {b['item']}", "before": a["verdict"], "after": b["verdict"]} for a, b in moved
        ],
        "contradictions": sum({a["verdict"], b["verdict"]} == {"robust", "adversarial"} for a, b in moved),
        "median_speedup": ratios[len(ratios) // 2] if ratios else None,
        "faster": sum(ratio > 1.5 for ratio in ratios),
        "slower": sum(ratio < 1 / 1.5 for ratio in ratios),
        "seconds": [sum(a["seconds"] for a, _ in pairs), sum(b["seconds"] for _, b in pairs)],
    }

"""A store's answers as the numbers that a report shows; rows are dictionaries of the store's columns."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from statistics import median
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


def quantity(row: Row) -> str:
    """What the bracket of a row is one of: distances, margins of images, or margins of properties."""
    return {"distance": "distance", "verify": "property"}.get(row["kind"], "margin")


def shares(rows: list[Row]) -> list[dict[str, Any]]:
    """Verdicts, closed brackets and wall times by model and question."""
    result = []
    for name, members in by_question(rows).items():
        counts = Counter(row["verdict"] for row in members)
        seconds = sorted(row["seconds"] for row in members)
        found = [row for row in members if row["upper"] is not None and row["verdict"] == "unknown"]
        result.append(
            {
                "name": name,
                "quantity": quantity(members[0]),
                "queries": len(members),
                **{verdict: counts[verdict] for verdict in VERDICTS},
                "closed": sum(settled(row) for row in members),
                "found": len(found) if quantity(members[0]) == "distance" else 0,
                "bracket": _median_bracket(members) if quantity(members[0]) == "distance" else None,
                "checked": sum(row["trust"] == "checked" for row in members),
                "median_seconds": seconds[len(seconds) // 2],
                "total_seconds": sum(seconds),
            }
        )
    return result


def _median_bracket(rows: list[Row]) -> tuple[float, float]:
    """Range of the median distance: the medians of both sides."""
    lower = [row["lower"] or 0.0 for row in rows]
    upper = [math.inf if row["upper"] is None else row["upper"] for row in rows]
    return float(median(lower)), float(median(upper))


_DETAIL = re.compile(r": \d+ of \d+ targets open.*$| comes to a margin of .*$")


def reason_in_words(reason: str) -> str:
    """Why a query is open, without what is of this query alone, so that reasons can be counted."""
    return _DETAIL.sub("", reason)


def reasons(rows: list[Row]) -> list[tuple[str, int, str]]:
    """(reason, queries, the question that has most of them and how many), of all that are open, most frequent first."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        if row["reason"]:
            found.setdefault(reason_in_words(row["reason"]), Counter())[group_name(row)] += 1
    result = []
    for reason, counts in sorted(found.items(), key=lambda entry: -entry[1].total()):
        name, most = counts.most_common(1)[0]
        result.append((reason, counts.total(), name if most == counts.total() else f"{name} ({most}), and others"))
    return result


def answer(rows: list[Row]) -> str:
    """How many queries are settled how, and why the others are not: one sentence, or two."""
    distances = [row for row in rows if row["kind"] == "distance"]
    verdicts = Counter(row["verdict"] for row in rows if row["kind"] != "distance")
    parts = []
    if verdicts:
        said = ", ".join(
            _SAID[v].format(verdicts[v], "is" if verdicts[v] == 1 else "are") for v in VERDICTS if verdicts[v]
        )
        parts.append(f"of {verdicts.total()} verdicts {said}")
    if distances:
        closed = sum(settled(row) for row in distances)
        both = sum(row["upper"] is not None and not settled(row) for row in distances)
        said = f"{closed} {'is' if closed == 1 else 'are'} closed to the gap that was asked for"
        said += f", {both} open with both sides known" if both else ""
        said += (
            f", {len(distances) - closed - both} open without an adversarial example"
            if closed + both < len(distances)
            else ""
        )
        parts.append(f"of {len(distances)} distances {said}")
    text = "; ".join(parts) + "."
    why = reasons(rows)
    if why:
        reason, count, _ = why[0]
        text += f" Most frequent reason for what is open: {reason} ({count} of {sum(each for _, each, _ in why)})."
    return text[0].upper() + text[1:]


_SAID = {
    "robust": "{} {} proved robust",
    "adversarial": "{} {} fooled by a counterexample",
    "misclassified": "{} {} misclassified as they are",
    "unknown": "{} {} open",
}


def options_in_words(rows: list[Row]) -> dict[str, str]:
    """Every option that limited the searches, with its values, in the order of their names."""
    found: dict[str, dict[str, None]] = {}
    for text in dict.fromkeys(row["options"] for row in rows):
        for name, value in json.loads(text).items():
            words = (
                ", ".join(map(str, value))
                if isinstance(value, list)
                else f"{value:g}"
                if isinstance(value, float)
                else str(value)
            )
            found.setdefault(name.replace("_", " "), {})[words or "all"] = None
    return {name: " or ".join(values) for name, values in sorted(found.items())}


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
    upper = math.inf if row["upper"] is None else row["upper"]
    return settled_distance(row["lower"] or 0.0, upper, json.loads(row["options"]).get("gap", 1e-4))


def settled_distance(lower: float, upper: float, gap: float) -> bool:
    """Whether a bracket is closed to a relative gap."""
    return upper == 0 or (math.isfinite(upper) and (upper - lower) / upper <= gap * (1 + 1e-9))


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

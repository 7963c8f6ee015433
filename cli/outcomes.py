"""How the answers of `certify` and `distance` are shown: a table, a line below it, and why what is open is open."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from .table import Column, number, of, share

if TYPE_CHECKING:
    from rich.text import Text

    from advverify.verifier.outcome import Outcome

_STYLE = {"robust": "green", "adversarial": "red", "misclassified": "magenta", "unknown": "yellow"}
_SPARE = ("label", "seconds", "trust", "engine", "gap")  # columns that a narrow screen does without, in this order


def outcome_table(outcomes: Sequence[Outcome], is_min_distortion: bool) -> tuple[list[Column], list[list[str | Text]]]:
    """Columns and one row an image, for `table.show`."""
    from rich.text import Text

    sides = ("lower", "upper", "gap") if is_min_distortion else ("margin >=", "margin <=")
    names = ("image", "label", "verdict", *sides, "trust", "engine", "seconds")
    columns = [
        Column(name, name in ("verdict", "trust", "engine"), spare=_SPARE.index(name) + 1 if name in _SPARE else 0)
        for name in names
    ]
    rows: list[list[str | Text]] = []
    for outcome in outcomes:
        verdict, known = outcome.verdict.value, outcome.bracket
        cells: list[str | Text] = [str(outcome.labels.get("index", "")), str(outcome.labels.get("label", ""))]
        cells.append(Text(verdict, _STYLE[verdict]))
        if is_min_distortion or verdict != "misclassified":
            cells += [number(known.lower), number(known.upper)]
        else:
            cells += ["-", "-"]
        if is_min_distortion:
            cells.append(share(known.relative_gap, 2))
        rows.append([*cells, outcome.trust.value, outcome.engine, _seconds(outcome.seconds)])
    return columns, rows


def summary(outcomes: Sequence[Outcome], distances: bool, gap: float | None = None) -> str:
    """One line: verdicts, accuracies or distances as far as they are known, and seconds.

    Accuracies count images of every kind, misclassified ones included: attacked is what no adversarial example is known of,
    certified what is proved. Distances of misclassified images are 0, and count as such.

    Args:
        outcomes: of any number of images.
        distances: whether their brackets are of distances; else they are of margins.
        gap: relative gap at which a bracket counts as closed; None says nothing of it.
    """
    total = len(outcomes)
    if not total:
        return "no images"
    counts = Counter(outcome.verdict.value for outcome in outcomes)
    words = ", ".join(f"{counts[v]} {v}" for v in ("robust", "adversarial", "misclassified", "unknown") if counts[v])
    parts = [f"{total} image{'s' if total != 1 else ''}: {words}"]
    if gap is not None:
        parts += _closed(outcomes, distances, gap)
    if distances:
        lower, upper = ([getattr(outcome, side) for outcome in outcomes] for side in ("lower", "upper"))
        means = [
            f"{name} distance {_range(of(lower), of(upper))}" for name, of in (("mean", _mean), ("median", median))
        ]
        parts.append(", ".join(means))
    else:
        right = total - counts["misclassified"]
        shares = (("clean", right), ("attacked", right - counts["adversarial"]), ("certified", counts["robust"]))
        parts.append(", ".join(f"{name} accuracy {of(count, total)}" for name, count in shares))
    seconds = [outcome.seconds for outcome in outcomes]
    times = f"{sum(seconds):.1f} s" if total == 1 else f"{sum(seconds):.1f} s, median {_seconds(median(seconds))} s"
    return "; ".join([*parts, times])


def _closed(outcomes: Sequence[Outcome], distances: bool, gap: float) -> list[str]:
    """How many brackets are closed, where that is what was asked for."""
    if distances:
        closed = sum(outcome.bracket.relative_gap <= gap for outcome in outcomes)
        return [f"{closed} of {len(outcomes)} bracket{'' if len(outcomes) == 1 else 's'} closed to {gap:g}"]
    margins = [outcome for outcome in outcomes if outcome.labels.get("objective") == "max_margin"]
    margins = [outcome for outcome in margins if outcome.verdict.value != "misclassified"]
    closed = sum(outcome.bracket.gap <= gap * max(abs(outcome.bracket.upper), 1e-6) for outcome in margins)
    return [f"{closed} of {len(margins)} margin{'' if len(margins) == 1 else 's'} closed to {gap:g}"] if margins else []


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _range(low: float, high: float) -> str:
    """One number where both sides look alike."""
    if not math.isfinite(high):
        return f">= {number(low, 4)}"
    sides = dict.fromkeys((number(low, 4), number(high, 4)))
    return " to ".join(sides)


def reasons(outcomes: Sequence[Outcome], proofs: bool = False) -> list[str]:
    """Why each unknown is unknown; and where proofs were asked for, why there are none."""
    lines = [f"image {o.labels.get('index')}: {o.reason}" for o in outcomes if o.reason]
    return lines + (_unproved(outcomes) if proofs else [])


def failed_proofs(outcomes: Sequence[Outcome]) -> list[str]:
    """Why there is no proof, where writing or finding one came to an error, as on a full disk."""
    from advverify.verifier.proof.attach import FAILED

    found = (str(outcome.statistics.get("no_proof", "")) for outcome in outcomes)
    return sorted({why for why in found if why.startswith(FAILED)})


def _unproved(outcomes: Sequence[Outcome]) -> list[str]:
    from advverify.verifier.proof.attach import NOTHING

    images: dict[str, list[str]] = {}
    for outcome in outcomes:
        why = outcome.statistics.get("no_proof", NOTHING)
        if why != NOTHING:
            images.setdefault(why, []).append(str(outcome.labels.get("index")))
    return [
        f"no proof for {'image' if len(at) == 1 else 'images'} {', '.join(at)}: {why}" for why, at in images.items()
    ]


def _seconds(value: float) -> str:
    """Hundredths, or thousandths of what is short."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"

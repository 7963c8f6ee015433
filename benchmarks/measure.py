"""What benchmarks share: outcomes in a row, their summary, Markdown tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from advverify.verifier.outcome import Outcome, Verdict


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def closed(outcome: Outcome, gap: float) -> bool:
    """Whether a distance's bracket is within a relative gap (or there is nothing to be found)."""
    bracket = outcome.bracket
    if outcome.verdict in (Verdict.MISCLASSIFIED, Verdict.ROBUST):
        return True
    return bracket.upper < float("inf") and bracket.gap <= gap * bracket.upper


def median(values: Sequence[float]) -> str:
    """Two decimals."""
    return f"{statistics.median(values):.2f}" if values else "-"

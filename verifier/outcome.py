"""What comes out of a query: one record that tables, files, stores and reports all read.

`Outcome` serialises to one JSON line; `schema` counts the versions of that line.
"""

from __future__ import annotations

import html
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np

from .mip_record import OWN_TREES, MipRecord

SCHEMA = 1
ENGINES_RUN = "engines_run"  # the statistic that names the engines which were given the query, in order
# What reading a line back may end in where it is no outcome: JSON that ends nowhere and numbers of 400 digits included.
UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class Verdict(StrEnum):
    """The four answers; each is its word as well: `outcome.verdict == "robust"`."""

    ROBUST = "robust"
    ADVERSARIAL = "adversarial"
    MISCLASSIFIED = "misclassified"
    UNKNOWN = "unknown"


class Trust(StrEnum):
    """Who vouches for the verdict; each is its word as well.

    CHECKED: anyone can check it - the counterexample was re-run through the ONNX file, or a proof was accepted.
    SOLVER: the engine named in `engine` says so, in floating-point arithmetic within its tolerances.
    """

    CHECKED = "checked"
    SOLVER = "solver"


@dataclass(frozen=True)
class TraceEvent:
    """Seconds since the start, both sides of the bracket, and the engine that moved one of them."""

    seconds: float
    lower: float
    upper: float
    engine: str


@dataclass(frozen=True, eq=False)
class Bracket:
    """lower <= exact value <= upper; `witness` is the input that proves the upper side (flat), if there is one."""

    lower: float
    upper: float
    witness: np.ndarray | None = None

    @property
    def gap(self) -> float:
        """upper - lower."""
        return 0.0 if self.lower == self.upper else self.upper - self.lower

    @property
    def relative_gap(self) -> float:
        """gap / upper for distances; inf while nothing is known."""
        if self.gap == 0.0:
            return 0.0
        return self.gap / abs(self.upper) if math.isfinite(self.upper) and self.upper != 0 else math.inf


@dataclass(frozen=True, eq=False)
class Outcome:
    """The answer to one query.

    Attributes:
        verdict: see `Verdict`.
        bracket: margins for certification (robust when lower > 0), distances for minimal distortion.
        trust: see `Trust`.
        engine: the engine that settled it.
        seconds: wall time.
        trace: every time a side of the bracket moved.
        reason: why an unknown is unknown; empty otherwise.
        labels: model, data, index, label, prediction, norm, eps, target and so on, for the JSON line.
        statistics: counts of the engines (unstable ReLUs, nodes, solves), and which of them were run.
        proof: file of a proof of the verdict, or of a distance's lower side, that the checker accepted.
        mips: records of the mixed-integer programs that were solved on the way, in order.
        shape: of the image as it was given, for `adversarial`; empty where nobody kept it. Not part of the JSON line.
    """

    verdict: Verdict
    bracket: Bracket
    trust: Trust
    engine: str
    seconds: float
    trace: tuple[TraceEvent, ...] = ()
    reason: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)
    proof: str | None = None
    mips: tuple[MipRecord, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def lower(self) -> float:
        """The proved side: of the distance, or of the margin."""
        return self.bracket.lower

    @property
    def upper(self) -> float:
        """The side that `adversarial` proves; inf where nothing was found."""
        return self.bracket.upper

    @property
    def gap(self) -> float:
        """upper - lower."""
        return self.bracket.gap

    @property
    def adversarial(self) -> np.ndarray | None:
        """The adversarial example in the shape of the image, float64 in the model's units; None where none is known.

        Of a misclassified image it is the image itself.
        """
        witness = self.bracket.witness
        return witness.reshape(self.shape) if witness is not None and self.shape else witness

    @property
    def is_distance(self) -> bool:
        """Whether the bracket is one of distances; else it is one of margins."""
        return self.labels.get("objective") == "min_distortion"

    def is_settled(self, gap: float) -> bool:
        """Whether more time could add nothing: there is a verdict, and a bracket that was to be closed is closed to `gap`."""
        if self.verdict in (Verdict.UNKNOWN, Verdict.MISCLASSIFIED):
            return self.verdict is Verdict.MISCLASSIFIED
        objective = self.labels.get("objective")
        if objective == "max_margin" or (objective == "min_distortion" and self.verdict is Verdict.ADVERSARIAL):
            return self.bracket.relative_gap <= gap * (1 + 1e-9)
        return True

    def row(self) -> dict[str, Any]:
        """One row of a table: plain values by name."""
        kept = {name: self.labels[name] for name in ("label", "prediction", "norm", "eps") if name in self.labels}
        return {
            **kept,
            "verdict": self.verdict.value,
            "lower": self.lower,
            "upper": self.upper,
            "gap": self.gap,
            "trust": self.trust.value,
            "engine": self.engine,
            "seconds": self.seconds,
            "proof": self.proof,
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        """Return the verdict, what is known of the bracket, and who says so."""
        name = "distance" if self.is_distance else "margin"
        low = f"{self.lower:.6g} <= " if math.isfinite(self.lower) else ""
        if 0 < self.lower < sys.float_info.min:  # the sign alone is known
            low = "0 < "
        high = f" <= {self.upper:.6g}" if math.isfinite(self.upper) else ""
        known = f", {low}{name}{high}" if low or high else ""
        by = f", {self.trust.value} ({self.engine})" if self.engine else ""
        why = f", {self.reason}" if self.reason else ""
        return f"<Outcome {self.verdict.value}{known}{by}, {self.seconds:.2f} s{why}>"

    def _repr_html_(self) -> str:
        """Return a table of one row, for notebooks."""
        return html_table([self.row()])

    @property
    def engines_run(self) -> tuple[str, ...]:
        """Names of the engines that were given the query, in order; none of an image that is misclassified itself."""
        names = str(self.statistics.get(ENGINES_RUN, ""))
        return tuple(names.split(", ")) if names else ()

    @property
    def solvers_asked(self) -> tuple[str, ...]:
        """Names of the MIP solvers that were handed a program; none where bounds and our own trees came to an end first."""
        return tuple(dict.fromkeys(record.solver for record in self.mips if record.solver not in OWN_TREES))

    def labelled(self, **labels: Any) -> Self:
        """The same outcome with more labels."""
        return replace(self, labels={**self.labels, **labels})

    def counted(self, **statistics: Any) -> Self:
        """The same outcome with more statistics."""
        return replace(self, statistics={**self.statistics, **statistics})

    def to_json(self) -> str:
        """One line of JSON, without NaN or infinity (they are written as null)."""
        witness = None if self.bracket.witness is None else [float(v) for v in self.bracket.witness]
        record = {
            "schema": SCHEMA,
            **self.labels,
            "verdict": self.verdict.value,
            "lower": self.bracket.lower,
            "upper": self.bracket.upper,
            "trust": self.trust.value,
            "engine": self.engine,
            "seconds": round(self.seconds, 4),
            "proof": self.proof,
            "witness": witness,
            "reason": self.reason,
            "statistics": self.statistics,
            "trace": [[round(e.seconds, 4), e.lower, e.upper, e.engine] for e in self.trace],
            "mips": [record.to_dict() for record in self.mips],
        }
        return json.dumps(finite(record), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """Read a line back.

        Raises:
            UNREADABLE: one of these errors, where it is not a line of this schema.
        """
        return cls.from_dict(json.loads(line))

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Self:
        """Read back what `to_json` wrote, after JSON was taken off it.

        Raises:
            UNREADABLE: one of these errors, where it is not of this schema, or no search can have ended so.
        """
        if record.get("schema") != SCHEMA:
            raise ValueError(f"written with schema {record.get('schema')}, this version reads {SCHEMA}")
        own = {"schema", "verdict", "lower", "upper", "trust", "engine", "seconds", "proof", "witness", "reason"}
        own |= {"statistics", "trace", "mips"}

        def number(value: float | None, missing: float) -> float:
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ValueError(f"{value!r} is no number")
            return missing if value is None else float(value)

        # null stands for both infinities: lower sides never fall, and robust ones are above 0
        verdict = Verdict(record["verdict"])
        witness = None if record["witness"] is None else np.array(record["witness"])
        lower = number(record["lower"], math.inf if verdict is Verdict.ROBUST else -math.inf)
        trace: list[TraceEvent] = []
        for k, event in enumerate(record["trace"], start=1):
            if not isinstance(event, list | tuple) or len(event) != 4:
                raise ValueError("an entry of its trace is not [seconds, lower, upper, engine]")
            seconds, low, high, engine = event
            last = k == len(record["trace"])
            missing = math.inf if lower == math.inf and (last or (trace and trace[-1].lower > -math.inf)) else -math.inf
            trace.append(
                TraceEvent(number(seconds, math.nan), number(low, missing), number(high, math.inf), str(engine))
            )
        bracket = Bracket(lower, number(record["upper"], math.inf), witness)
        seconds = number(record["seconds"], math.nan)
        for moment, low, high in [(seconds, lower, bracket.upper), *((e.seconds, e.lower, e.upper) for e in trace)]:
            if not 0 <= moment < math.inf:
                raise ValueError(f"{moment:g} s is no time from 0 on")
            if high < low < math.inf:
                raise ValueError(f"at {moment:g} s its lower side, {low:g}, is above its upper side, {high:g}")
        return cls(
            verdict,
            bracket,
            Trust(record["trust"]),
            record["engine"],
            seconds,
            tuple(trace),
            record["reason"],
            {k: v for k, v in record.items() if k not in own},
            record["statistics"],
            record["proof"],
            tuple(MipRecord.from_dict(each) for each in record.get("mips", [])),
        )


def html_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as an HTML table; columns that are empty in all of them are left out, numbers get six digits and stand to the right."""
    names = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)] if rows else []
    side = {
        name: "right" if all(isinstance(row[name], float | int | None) for row in rows) else "left" for name in names
    }

    def cells(tag: str, texts: Sequence[str]) -> str:
        pairs = zip(names, texts, strict=True)
        found = "".join(
            f'<{tag} style="text-align: {side[name]}; padding: 0 0.5em">{html.escape(text)}</{tag}>'
            for name, text in pairs
        )
        return f"<tr>{found}</tr>"

    body = "".join(
        cells("td", [_cell(row[name], 3 if name in ("seconds", "gap") else 6) for name in names]) for row in rows
    )
    head = cells("th", names)
    return f'<div style="overflow-x: auto"><table><thead>{head}</thead><tbody>{body}</tbody></table></div>'


def _cell(value: Any, digits: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return "> 0" if 0 < value < sys.float_info.min else f"{value:.{digits}g}"  # the sign alone is known
    return str(value)


def finite(value: Any) -> Any:
    """The same with None for NaN and infinities, which JSON does not have."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return value

"""Runs side by side: answers grouped into runs, and the numbers of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from sys import intern
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..mip_record import RELAXATION, ROLES, SOLVE, MipRecord
from ..outcome import Verdict
from .answers import VERDICT, Answer, Source
from .solve import Effort, Solve
from .spool import Spool
from .statistics import (
    Profile,
    penalised_mean,
    performance_profile,
    quartiles,
    quartiles_by_step,
    shares_below,
    shifted_geometric_mean,
)
from .trajectory import Values, all_gaps, gap

LEVELS = (0.01, 0.05, 0.1)  # of gaps at the limit
_GRID = 96  # moments at which the bounds of a set are looked at
_OF_MIPS: Mapping[str, tuple[Collection[str], Callable[[MipRecord], str]]] = {  # of which roles, and what they say
    "solver": ((SOLVE,), lambda record: record.solver),
    "solver-version": ((SOLVE,), lambda record: f"{record.solver} {record.version}".strip()),
    "formulation": ((SOLVE, RELAXATION), lambda record: record.formulation),
}
_CHUNK, _STEPS = 1_000, 200_000  # queries whose gaps are computed together, at most, and steps of theirs


@dataclass(frozen=True, eq=False)
class Run:
    """The numbers of one run; shares in [0, 1], times and integrals in seconds, gaps as of `trajectory.gap`.

    Attributes:
        name: as tables show it.
        queries: how many.
        closed: share answered.
        below: shares with a gap of at most 1, 5 and 10 % at the limit.
        gaps: (queries,) gaps at the limit.
        mean_seconds: shifted geometric mean of the times, the limit for what is open.
        par2: mean of the times, twice the limit for what is open.
        primal_integral: mean over distances and margins; None where there are none.
        dual_integral: likewise.
        times: (m,) moments of the curves.
        primal: (3, m) quartiles of the primal gaps over time, of distances and margins; None where there are none.
        dual: (3, m) likewise of the dual gaps.
        mips: how many MIPs have a bound of their first LP.
        root: quartiles over these of the root gap closed by step, of the steps that one of them took.
        effort: of all programs by role.
        without: queries that left no record of a program, by the engine that settled them; "" for those that are open.
    """

    name: str
    queries: int
    closed: float
    below: Sequence[float]
    gaps: Values
    mean_seconds: float
    par2: float
    primal_integral: float | None
    dual_integral: float | None
    times: Values
    primal: Values | None
    dual: Values | None
    mips: int
    root: Mapping[str, Values]
    effort: Mapping[str, Effort]
    without: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a gap report says.

    Attributes:
        runs: in the order of their first answers.
        limit: seconds at which gaps are taken.
        shift: seconds, of the shifted geometric means.
        questions: how many different ones.
        compared: how many of them the numbers of the runs are over: those that all were asked, or of each run its own where there
            are none.
        profile: of the questions that all runs were asked; None where there are none.
        hardest: (run, solve, gap at the limit), one a question: open ones first, widest first, then the slowest.
        solves: by run and question.
        misclassified: answers that needed no search and are left out.
        notes: what else was left out, and why; and how far runs can be compared.
    """

    runs: list[Run]
    limit: float
    shift: float
    questions: int
    compared: int
    profile: Profile | None
    hardest: list[tuple[str, Solve, float]]
    solves: dict[str, dict[bytes, Solve]] = field(repr=False)
    misclassified: int
    notes: list[str]


def compare(
    sources: Sequence[Source],
    by: Sequence[str] = (),
    limit: float | None = None,
    shift: float = 1.0,
    hardest: int = 20,
) -> Comparison:
    """Read answers and compare the runs that they are of.

    Within a run the last answer to a question counts. The best value known of a question, over all runs, is what primal and
    dual gaps are measured against.

    Args:
        sources: files and stores, read a line at a time; memory holds short traces and numbers, a temporary file long traces.
        by: what names a run: "file"; "solver", "solver-version" and "formulation", as the lines say or else the records of their
            MIPs; or any label of the lines. "file" where nothing is given.
        limit: seconds at which gaps are taken and times end; the largest time limit of the answers where None, or where
            they do not say, the longest time.
        shift: seconds, of the shifted geometric means.
        hardest: how many hard questions are wanted.

    Raises:
        InvalidInput: a source that cannot be read, has no traces, or lacks the label.
    """
    grouped, notes, misclassified = _grouped(sources, tuple(by) or ("file",))
    everything = [solve for solves in grouped.values() for solve in solves.values()]
    if limit is not None:
        until, cut = limit, limit
    else:
        until = max((solve.timeout for solve in everything if solve.timeout is not None), default=0.0)
        until, cut = until or max(solve.seconds for solve in everything) or 1.0, math.inf
    best = _best(everything)
    times = np.geomspace(min(1e-2, until / 10), until, _GRID)
    common = set.intersection(*(set(solves) for solves in grouped.values()))
    runs = [
        _numbers(name, [s for q, s in solves.items() if q in common or not common], best, times, cut, shift)
        for name, solves in grouped.items()
    ]
    notes += _comparability(len(common), len(best), len(runs))
    if shift == 0 and any(run.mean_seconds == 0 for run in runs):
        notes.append("a time of 0 s makes a geometric mean 0 that is not shifted; give a --shift above 0")
    profile = None
    if common:
        seconds = [[_closed(solves[q], cut) for q in sorted(common)] for solves in grouped.values()]
        profile = performance_profile(seconds)
    ranked = _hardest(grouped, cut, hardest)
    compared = len(common) or len(best)
    return Comparison(runs, until, shift, len(best), compared, profile, ranked, grouped, misclassified, notes)


def _comparability(common: int, questions: int, runs: int) -> list[str]:
    """What is to be said where runs were asked different questions."""
    if runs < 2 or common == questions:
        return []
    if not common:
        return ["no question was asked in every run: their numbers are of different questions, and do not compare"]
    return [f"{common} of {questions} questions were asked in every run; the runs' numbers are over these alone"]


def _grouped(sources: Sequence[Source], by: tuple[str, ...]) -> tuple[dict[str, dict[bytes, Solve]], list[str], int]:
    """The last answers to each question by run, notes, and how many images were misclassified."""
    grouped: dict[str, dict[bytes, Solve]] = {}
    found, labels = dict.fromkeys(by, False), dict[str, None]()
    replaced, misclassified, spool = 0, 0, Spool()
    for position, source in enumerate(sources):
        searched = traced = 0
        for answer in source:
            if answer.outcome.verdict is Verdict.MISCLASSIFIED:
                misclassified += 1
                continue
            try:
                solve = Solve.of(answer, position, spool)
            except (ValueError, TypeError, OverflowError) as error:
                raise InvalidInput(
                    f"{source.path}: {answer.where} makes no sense ({error}); take it out, or ask it again"
                ) from error
            searched, traced = searched + 1, traced + bool(answer.outcome.trace)
            values = [_value(answer, name) for name in by]
            for name, value in zip(by, values, strict=True):
                found[name] |= value is not None
            labels |= dict.fromkeys(answer.labels)
            run = intern(
                ", ".join(_absent(name) if value is None else value for name, value in zip(by, values, strict=True))
            )
            solves = grouped.setdefault(run, {})
            replaced += solve.question in solves
            solves[solve.question] = solve
        _check_traces(source, searched, traced)
    for name, there in found.items():
        if not there:
            raise InvalidInput(
                f"--by {name}: no answer has it; choose {', '.join(('file', *_OF_MIPS))} or one of "
                f"{', '.join(name for name in labels if name not in _OF_MIPS)}"
            )
    notes = [note for source in sources for note in source.notes]
    if replaced:
        notes.append(
            f"{replaced} earlier answers to a question asked again in the same run are left out; more of --by (file, engines, ...) tells them apart"
        )
    return grouped, notes, misclassified


def _check_traces(source: Source, searched: int, traced: int) -> None:
    if not searched:
        what = "no answers of a search" if source.is_store else "misclassified images alone"
        raise InvalidInput(
            f"{source.path}: holds {what} yet; ask `distance --out` or `batch run` for some that take one"
        )
    if not traced:
        raise InvalidInput(
            f"{source.path}: none of its {searched} answers has a trace; ask them again with this version of advverify"
        )


def _value(answer: Answer, name: str) -> str | None:
    """What names an answer's run."""
    if name == "file":
        return answer.source
    if name in _OF_MIPS and name not in answer.labels:
        roles, said = _OF_MIPS[name]
        return "+".join(sorted({said(record) for record in answer.outcome.mips if record.role in roles})) or None
    if name == "engines" and answer.labels.get(name) == []:
        return "all engines"
    value: Any = answer.labels.get(name)
    if value is None:
        return None
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    return str(value) if isinstance(value, str) else f"{name} {value}"


def _absent(name: str) -> str:
    return "no MIP" if name in _OF_MIPS else f"no {name}"


def _best(solves: Iterable[Solve]) -> dict[bytes, float]:
    """The best value known of each question: that of the best point, or where there is none the highest bound."""
    upper, lower = dict[bytes, float](), dict[bytes, float]()
    for solve in solves:
        low, high = solve.end()
        upper[solve.question] = min(upper.get(solve.question, math.inf), high)
        lower[solve.question] = max(lower.get(solve.question, -math.inf), low)
    return {question: high if math.isfinite(high) else lower[question] for question, high in upper.items()}


def _closed(solve: Solve, cut: float) -> float:
    return solve.closed if solve.closed <= cut else math.inf


def _gaps(solves: Sequence[Solve], cut: float) -> Values:
    """(n,) gaps between both sides at a time: 0 where the question is answered by then, 1 where a verdict is not."""
    lower, upper = np.array([solve.end(cut) for solve in solves]).T
    closed = np.isfinite([_closed(solve, cut) for solve in solves])
    verdict = np.array([solve.kind == VERDICT for solve in solves])
    return np.where(closed, 0.0, np.where(verdict, 1.0, gap(lower, upper)))


def _numbers(
    name: str, solves: list[Solve], best: Mapping[bytes, float], times: Values, cut: float, shift: float
) -> Run:
    """The numbers of one run; `times` ends at the limit, `cut` is infinite where none was given."""
    limit = float(times[-1])
    closed, gaps = np.array([_closed(solve, cut) for solve in solves]), _gaps(solves, cut)
    valued = [solve for solve in solves if solve.kind != VERDICT]
    curves, areas = np.empty((len(valued), 2, len(times)), dtype=np.float32), np.empty((len(valued), 2))
    begin = 0
    for part in _chunks(valued):
        trajectories = [solve.trajectory.until(cut) for solve in part]
        sides = all_gaps(trajectories, [best[solve.question] for solve in part], [solve.closed for solve in part])
        for k, (trajectory, side) in enumerate(zip(trajectories, sides, strict=True), start=begin):
            areas[k] = trajectory.integral(side, limit)
            curves[k] = trajectory.sample(side, times)
        begin += len(part)
    bands: list[Values | None] = [None, None]
    if valued:  # a column at a time: quartiles copy what they look at
        bands = [np.stack([quartiles(column) for column in side.T], axis=1) for side in curves.transpose(1, 0, 2)]
    roots = [shares for solve in solves for shares in solve.roots]
    efforts = {role: Effort() for role in ROLES}
    for solve in solves:
        for role, effort in solve.effort.items():
            efforts[role] = efforts[role].plus(*effort)
    without = [k for k, solve in enumerate(solves) if not solve.effort]
    return Run(
        name,
        len(solves),
        float(np.isfinite(closed).mean()),
        shares_below(gaps, LEVELS),
        gaps,
        shifted_geometric_mean(np.where(np.isfinite(closed), closed, limit), shift),
        penalised_mean(closed, limit),
        float(areas[:, 0].mean()) if valued else None,
        float(areas[:, 1].mean()) if valued else None,
        times,
        bands[0],
        bands[1],
        len(roots),
        quartiles_by_step(roots),
        efforts,
        Counter(solves[k].engine if math.isfinite(closed[k]) else "" for k in without),
    )


def _chunks(solves: Sequence[Solve]) -> Iterator[list[Solve]]:
    """Solves in order, so many at a time as memory has room for."""
    part, steps = list[Solve](), 0
    for solve in solves:
        if part and (len(part) >= _CHUNK or steps + solve.kept.steps > _STEPS):
            yield part
            part, steps = [], 0
        part.append(solve)
        steps += solve.kept.steps
    if part:
        yield part


def _hardest(grouped: Mapping[str, Mapping[bytes, Solve]], cut: float, count: int) -> list[tuple[str, Solve, float]]:
    """The hardest questions, each with the run that did worst on it."""
    worst = dict[bytes, tuple[float, float, str, Solve]]()
    for run, solves in grouped.items():
        for solve, left in zip(solves.values(), _gaps(list(solves.values()), cut), strict=True):
            entry = (float(left), min(solve.seconds, cut), run, solve)
            if solve.question not in worst or entry[:2] > worst[solve.question][:2]:
                worst[solve.question] = entry
    ranked = sorted(worst.values(), key=lambda entry: (-entry[0], -entry[1]))
    return [(run, solve, left) for left, _, run, solve in ranked[:count]]

"""The chapter about gaps: figures and tables of a comparison of runs, for the page of `gap` and for that of `report`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import LEVELS, Comparison
from advverify.verifier.convergence.solve import Solve
from advverify.verifier.convergence.statistics import ordered
from advverify.verifier.mip_record import CONFIRMATION, RELAXATION, SOLVE

from . import gap_figures
from .gap_words import answer, hardest_title, in_words, without_program, without_root

_DRAWN = 4  # of the hardest questions, their bounds over time


def chapter(
    comparison: Comparison, sources: Sequence[Source], folder: Path, asked: Sequence[bytes] = ()
) -> dict[str, Any]:
    """What the template of the chapter shows.

    Args:
        comparison: of the runs.
        sources: where they were read from.
        folder: the SVG files are written there.
        asked: questions whose bounds are drawn; the hardest ones where there are none.
    """
    runs = comparison.runs
    curves = [
        gap_figures.convergence(run, folder / f"convergence-{k}.svg")
        for k, run in enumerate(runs)
        if run.primal is not None
    ]
    with_mips = [run for run in runs if run.mips]
    steps = ordered(step for run in with_mips for step in run.root)
    drawn = list(asked) or [solve.question for _, solve, _ in comparison.hardest[:_DRAWN]]
    return {
        "comparison": comparison,
        "answer": answer(comparison),
        "levels": LEVELS,
        "curves": curves,
        "distribution": gap_figures.distribution(comparison, folder / "gap-at-limit.svg"),
        "profile": gap_figures.profile(comparison, folder / "profile.svg")
        if len(runs) > 1 and comparison.profile is not None
        else None,
        "within": []
        if comparison.profile is None or len(runs) < 2
        else [comparison.profile.within(factor).tolist() for factor in (1.0, 2.0, 10.0)],
        "root": gap_figures.root_gap(comparison, folder / "root-gap.svg") if with_mips else None,
        "steps": [step for step in steps if step != "lp"],
        "with_mips": with_mips,
        "several_mips": any(run.mips > 1 for run in runs),
        "without_root": [line for line in map(without_root, runs) if line],
        "hardest_title": hardest_title(comparison),
        "efforts": [(run, run.effort[SOLVE], run.effort[CONFIRMATION], run.effort[RELAXATION].programs) for run in runs]
        if any(effort.programs for run in runs for effort in run.effort.values())
        else [],
        "without": [without_program(run) for run in runs if run.without],
        "bounds": [
            _bounds(comparison, sources, question, folder / f"bounds-{k}.svg") for k, question in enumerate(drawn)
        ],
        "hardest": [
            {
                "run": run,
                "solve": solve,
                "target": None if solve.hardest is None else in_words(solve.hardest),
                "gap": left,
                "lower": _known(solve, 0),
                "upper": _known(solve, 1),
            }
            for run, solve, left in comparison.hardest
        ],
    }


def _bounds(comparison: Comparison, sources: Sequence[Source], question: bytes, path: Path) -> tuple[Path, str]:
    """The figure of a question, and its name."""
    solves = [(run, solves[question]) for run, solves in comparison.solves.items() if question in solves]
    first = solves[0][1]
    mips = [record for record in sources[first.source].outcome(first.place).mips if record.role == SOLVE]
    runs = [(run, solve.trajectory) for run, solve in solves]
    quantity = "distance" if first.kind == "distance" else "margin"
    return gap_figures.bounds_over_time(runs, mips, path, first.name, quantity), first.name


def _known(solve: Solve, side: int) -> float | None:
    value = solve.end()[side]
    return value if math.isfinite(value) else None

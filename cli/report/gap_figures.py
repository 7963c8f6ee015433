"""Figures of `advverify gap`, as SVG files. Colour says which side of the bracket a curve is of; runs differ in their dashes and markers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from advverify.verifier.convergence.runs import LEVELS, Comparison, Run
from advverify.verifier.convergence.statistics import SHORTEST, ordered
from advverify.verifier.convergence.trajectory import Trajectory, Values
from advverify.verifier.mip_record import MipRecord

from .figures import DUAL, PRIMAL, drawing, panels, pyplot, short, style

_STEP_NAMES = {"lp": "first LP", "tightened": "tightened", "cuts": "cuts", "solver": "solver's\nroot", "tree": "tree"}


def _plain(value: float, _: object = None) -> str:
    return f"{value:g}"


def _mark_logarithms(axis: Any) -> None:
    """Numbers along a logarithmic axis whose limits are set, several of them also within a decade."""
    low, high = axis.get_xlim()
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 3 else (1.0, 2.0, 5.0) if decades > 1 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axis.xaxis.set_major_locator(pyplot().LogLocator(subs=subs))
    axis.xaxis.set_major_formatter(_plain)
    axis.xaxis.set_minor_formatter(pyplot().NullFormatter())


def _percent(value: float, _: object = None) -> str:
    return f"{100 * abs(value):g} %"


def bounds_over_time(
    solves: Sequence[tuple[str, Trajectory]],
    mips: Sequence[MipRecord],
    path: Path,
    title: str = "",
    quantity: str = "distance",
) -> Path:
    """Both sides of one question's bracket over time, as each run had them, and what the first run's MIPs claimed.

    Args:
        solves: (run, bracket over time), all of one question.
        mips: records of the first of them.
        path: of the SVG file.
        title: of the figure.
        quantity: what the bracket is one of.
    """
    with drawing(path, columns=2 if len(solves) == 1 and not mips else 1) as axis:
        begin, values = math.inf, list[float]()
        for colour, name in ((PRIMAL, "primal bound"), (DUAL, "dual bound")):
            axis.plot([], [], color=colour, label=name)
        for position, (run, steps) in enumerate(solves):
            if len(solves) > 1:
                axis.plot([], [], label=short(run), **style(position))
            for side, colour in ((steps.upper, PRIMAL), (steps.lower, DUAL)):
                times, heights = _steps(steps.times, side)
                if len(times):
                    axis.plot(times, heights, drawstyle="steps-post", **style(position, colour))
                    begin = min(begin, float(times[times > 0].min(initial=math.inf)))
                    values += heights.tolist()
        claimed = 0
        for record in mips:
            moments = np.array([[record.began + t, dual] for t, _, dual in record.trace]).reshape(-1, 2)
            times, heights = _steps(moments[:, 0], moments[:, 1])
            if len(
                times
            ):  # each claim stands until the next one, the last until the end; upright lines would hide them
                ends = np.append(times[1:], max(times[-1], record.began + record.seconds))
                label = None if claimed else "dual bounds of its MIPs, as claimed; dots: last ones"
                axis.hlines(heights, times, ends, color=DUAL, linewidth=1, label=label)
                axis.plot(ends[-1:], heights[-1:], color=DUAL, marker="o", markersize=3, linestyle="")
                claimed += 1
        axis.set(xscale="log", xlabel="seconds", ylabel=quantity)
        if math.isfinite(begin):
            axis.set_xlim(left=max(begin, SHORTEST))
        _mark_logarithms(axis)
        if values:
            low, high = min(values), max(values)
            room = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
            axis.set_ylim(low - room, high + room)
        if title:
            axis.set_title(short(title, 60), loc="left")
    return path


def _steps(times: Values, values: Values) -> tuple[Values, Values]:
    """The part of a side that is known."""
    known = np.isfinite(values)
    return times[known], values[known]


def convergence(run: Run, path: Path) -> Path:
    """Median and quartiles over a run's queries of how far both sides are from the best value known."""
    with drawing(path) as axis:
        _draw_convergence(axis, run)
    return path


def convergences(runs: Sequence[Run], path: Path) -> Path:
    """The same of several runs beside each other, over the same times."""
    with panels(path, len(runs), columns=2 if len(runs) > 1 else 1) as axes:
        for axis, run in zip(axes, runs, strict=True):
            _draw_convergence(axis, run)
        for axis in axes[1:]:
            axis.set_ylabel("")
    return path


def _draw_convergence(axis: Any, run: Run) -> None:
    """Primal gaps above the line, dual gaps below it."""
    assert run.primal is not None and run.dual is not None
    for (low, middle, high), sign, colour, name in (
        (run.primal, 1, PRIMAL, "primal"),
        (run.dual, -1, DUAL, "dual"),
    ):
        axis.fill_between(run.times, sign * low, sign * high, step="post", color=colour, alpha=0.22, linewidth=0)
        label = f"{name} bound: median and quartiles"
        axis.plot(run.times, sign * middle, drawstyle="steps-post", color=colour, label=label)
    axis.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axis.set(xscale="log", xlabel="seconds", ylabel="gap to the best value known", ylim=(-1.15, 1.15))
    axis.set_yscale("symlog", linthresh=1e-3, linscale=0.6)
    marks = (1.0, 0.1, 0.01, 1e-3)
    axis.set_yticks([*marks, 0.0, *(-mark for mark in marks)])
    axis.yaxis.set_major_formatter(_percent)
    axis.yaxis.set_minor_locator(pyplot().NullLocator())
    axis.set_xlim(run.times[0], run.times[-1])
    _mark_logarithms(axis)
    axis.set_title(f"{short(run.name, 44)}", loc="left")


def distribution(comparison: Comparison, path: Path) -> Path:
    """Share of the queries of each run whose gap at the limit is at most so large."""
    with drawing(path) as axis:
        least = 1e-4
        for position, run in enumerate(comparison.runs):
            gaps = np.sort(np.maximum(run.gaps, least / 2))
            shares = np.arange(1, len(gaps) + 1) / len(gaps)
            across = np.concatenate([[least / 2], gaps, [1.0]])
            heights = np.concatenate([[0.0], shares, [1.0]])
            label = short(run.name) if len(comparison.runs) > 1 else None  # one run needs no name
            axis.plot(across, 100 * heights, drawstyle="steps-post", label=label, **style(position))
        for level in LEVELS:
            axis.axvline(level, color="#999999", linewidth=0.8, linestyle=":")
        axis.set(
            xscale="log",
            xlim=(least, 1.0),
            ylim=(0, 103),
            xlabel="gap at the limit",
            ylabel="queries with at most that gap, %",
        )
        axis.set_xticks([1e-4, 1e-3, *LEVELS, 1.0], ["≤ 0.01 %", "0.1 %", "1 %", "5 %", "", "100 %"])
        axis.xaxis.set_minor_locator(pyplot().NullLocator())
    return path


def profile(comparison: Comparison, path: Path) -> Path:
    """Performance profile: the share that each run answers within a factor of the fastest."""
    found = comparison.profile
    assert found is not None
    with drawing(path) as axis:
        last = max(float(found.factors[-1]) * 1.1, 2.0)
        for position, run in enumerate(comparison.runs):
            across, heights = np.append(found.factors, last), np.append(found.shares[position], found.solved[position])
            axis.plot(across, 100 * heights, drawstyle="steps-post", label=short(run.name), **style(position))
        axis.set(
            xscale="log",
            xlim=(1, last),
            ylim=(0, 103),
            xlabel="factor of the fastest run's time",
            ylabel="queries answered, %",
        )
        _mark_logarithms(axis)
    return path


def root_gap(comparison: Comparison, path: Path) -> Path:
    """Share of the root gap of the MIPs that is closed after each step; quartiles as bars."""
    runs = [run for run in comparison.runs if run.mips]
    steps = ordered(step for run in runs for step in run.root)
    with drawing(path) as axis:
        for position, run in enumerate(runs):
            places = np.arange(len(steps)) + (position - (len(runs) - 1) / 2) * min(0.12, 0.5 / len(runs))
            taken = [k for k, step in enumerate(steps) if step in run.root]  # a step that no MIP took is no point
            places = places[taken]
            low, middle, high = 100 * np.array([run.root[steps[k]] for k in taken]).T
            label = (
                f"{short(run.name)}: median of {run.mips} MIP{'' if run.mips == 1 else 's'}, quartiles"
                if len(runs) > 1
                else None
            )
            look = style(position, DUAL) | {"marker": "o", "markevery": 1}
            axis.plot(places, middle, label=label, **look)
            axis.vlines(places, low, high, color=DUAL, linewidth=3, alpha=0.3)
        axis.set(ylim=(-3, 103), ylabel="root gap closed, %")
        axis.set_xticks(range(len(steps)), [_STEP_NAMES.get(step, short(step, 12)) for step in steps])
    return path

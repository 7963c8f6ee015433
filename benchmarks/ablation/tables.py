"""Tables of kept rows: formulations with one solver, and formulations x solvers, of the questions that all of them were asked."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from advverify.verifier.convergence.statistics import shifted_geometric_mean

from ..measure import table
from .variants import BASE, GAP, TOO_LARGE, VARIANTS

Row = dict[str, Any]
_SHIFT = 1.0  # second
_SAME = 5 * GAP  # two optima within their tolerances may differ by no more
_ABOUT = ("network", "sha256", "data", "asked", "limit", "threads", "seed")


def tables(rows: Iterable[Row]) -> str:
    """Everything that the rows say, network by network."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in _ABOUT), []).append(row)
    return "\n\n".join(_network(group) for group in groups.values()) or "no rows yet"


def _network(rows: list[Row]) -> str:
    """The tables of one network under the same limits."""
    solvers = list(dict.fromkeys(row["solver"] for row in rows))
    first, best = rows[0], best_known(rows)
    asked = "the class of the lowest relaxation" if first["asked"] == "lowest" else "all classes in one program"
    threads = f"{first['threads']} thread{'' if first['threads'] == 1 else 's'}"
    title = (
        f"{first['network']}, {asked}, linf, {first['limit']:g} s, {threads};\n"
        f"mean s: geometric, shifted by {_SHIFT:g} s, open ones at the limit"
    )
    parts = [title]
    for solver in solvers:
        own = [row for row in rows if row["solver"] == solver]
        versions = sorted({row["version"] for row in own if row["version"]})
        parts.append(f"{solver} {', '.join(versions)}".rstrip() + "\n\n" + _formulations(own, best))
    if len(solvers) > 1:
        parts.append(_crossed(rows, solvers))
    large = {(row["variant"], row["index"]) for row in rows if row["status"] == TOO_LARGE}
    for name in _ordered(variant for variant, _ in large):
        count = sum(variant == name for variant, _ in large)
        parts.append(f"{name}: {count} programs were too large to be handed over (--nonzeros); they count as open.")
    found = contradictions(rows)
    parts.append("\n".join(found) if found else "No two answers contradict each other.")
    return "\n\n".join(parts)


def best_known(rows: Iterable[Row]) -> dict[int, float]:
    """By image the least distance that any point of any row attains; the ball's radius where none has a point."""
    best: dict[int, float] = {}
    for row in rows:
        value = row["radius"] if row["objective"] is None else min(row["objective"], row["radius"])
        best[row["index"]] = min(best.get(row["index"], row["radius"]), value)
    return best


def _in_common(rows: Sequence[Row], by: Sequence[str]) -> dict[tuple[Any, ...], dict[int, Row]]:
    """Rows by what is compared and by image, of those images that all of them have."""
    found: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in rows:
        found.setdefault(tuple(row[name] for name in by), {})[row["index"]] = row
    images = set.intersection(*(set(each) for each in found.values()))
    return {key: {index: each[index] for index in sorted(images)} for key, each in found.items()}


def _ordered(names: Iterable[str]) -> list[str]:
    """Variants in the order of their table."""
    there = set(names)
    return [name for name in VARIANTS if name in there]


def _mean(rows: Iterable[Row]) -> float:
    return shifted_geometric_mean([row["seconds"] for row in rows], _SHIFT)


def _formulations(rows: Sequence[Row], best: dict[int, float]) -> str:
    """One row a variant, of one solver."""
    found = {key[0]: each for key, each in _in_common(rows, ["variant"]).items()}
    count = len(next(iter(found.values())))
    if not count:
        return "no image has a row of every formulation yet"
    base = _mean(found[BASE].values()) if BASE in found else None
    lines = []
    for name in _ordered(found):
        of = list(found[name].values())
        shares = [_share(row, best[row["index"]]) for row in of]
        known = [share for share in shares if share is not None]
        mean = _mean(of)
        lines.append(
            [
                name,
                f"{sum(row['solved'] for row in of)}/{count}",
                f"{mean:.2f}",
                "-" if base is None else f"{mean / max(base, 1e-3):.2f}",
                f"{statistics.median(row['prepared'] for row in of):.2f}",
                f"{100 * statistics.median(known):.1f} %" if known else "-",
                f"{statistics.median(row['binaries'] for row in of):.0f}",
                f"{statistics.median(row['largest_m'] for row in of):.3g}",
            ]
        )
    header = ["formulation", "solved", "mean s", f"to {BASE}", "before s", "root LP", "binaries", "M"]
    return table(header, lines)


def _share(row: Row, best: float) -> float | None:
    """The root's LP bound as a share of the best distance known; None where the LP was not solved in time."""
    if row["lp_infeasible"]:
        return 1.0
    return None if row["lp"] is None else min(max(row["lp"], 0.0) / best, 1.0)


def _crossed(rows: Sequence[Row], solvers: Sequence[str]) -> str:
    """Formulations x solvers: solved, and the shifted geometric mean."""
    found = _in_common(rows, ["variant", "solver"])
    count = len(next(iter(found.values())))
    if not count:
        return "no image has a row of every formulation and solver yet"
    lines = []
    for name in _ordered(key[0] for key in found):
        cells = []
        for solver in solvers:
            of = list(found.get((name, solver), {}).values())
            cells.append(f"{sum(row['solved'] for row in of)}, {_mean(of):.2f}" if of else "-")
        lines.append([name, *cells])
    header = [f"solved of {count}, mean s", *solvers]
    return table(header, lines)


def contradictions(rows: Iterable[Row]) -> list[str]:
    """Pairs of answers to one question that cannot both be right, the tolerances of both granted."""
    answers: dict[int, list[Row]] = {}
    for row in rows:
        answers.setdefault(row["index"], []).append(row)
    found = []
    for index, of in answers.items():
        for row in of:
            if not row["solved"]:
                continue
            value = row["radius"] if row["infeasible"] else row["objective"]
            lower = [
                other for other in of if other["objective"] is not None and other["objective"] < value * (1 - _SAME)
            ]
            if lower:
                other = min(lower, key=lambda other: other["objective"])
                said = "no point" if row["infeasible"] else f"{value:.6f}"
                found.append(
                    f"image {index}: {row['solver']}, {row['variant']} says {said}, but "
                    f"{other['solver']}, {other['variant']} has {other['objective']:.6f}"
                )
    return found

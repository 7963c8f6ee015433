"""The page of `advverify compare`, alone or in a folder with its figures and numbers."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advverify.models.comparison.contrast import Contrast, contrasts, headline
from advverify.models.comparison.statistics import LEVEL, median_bracket

from ..places import write_text
from .figures import radius_curves, scatter
from .page import render

if TYPE_CHECKING:
    from advverify.models.comparison.compare import Comparison


def write_folder(comparison: Comparison, folder: Path, asked: Mapping[str, str]) -> Path:
    """Page, figures and numbers; returns the file of the page."""
    write_text(folder / "comparison.json", comparison.to_json() + "\n", "--out")
    path = folder / "index.html"
    write_text(path, page(comparison, folder, asked), "--out")
    return path


def write_page(comparison: Comparison, path: Path, asked: Mapping[str, str]) -> Path:
    """Write the page alone; returns its file."""
    with tempfile.TemporaryDirectory() as folder:
        write_text(path, page(comparison, Path(folder), asked), "--out")
    return path


def page(comparison: Comparison, folder: Path, asked: Mapping[str, str]) -> str:
    """The page, whose figures are written to a folder.

    Args:
        comparison: what is shown.
        folder: for `curves.svg` and `scatter.svg`.
        asked: options of the command, by the names that readers are shown.
    """
    several = len(comparison.networks) > 1 and not comparison.groups
    rows = comparison.rows()
    names = dict.fromkeys(n.group if comparison.groups else n.name for n in comparison.networks)
    return render(
        "compare.html",
        title=f"Certified radii, norm {comparison.norm}: {', '.join(names)}",
        comparison=comparison,
        answer=headline(comparison),
        families=_families(comparison, rows),
        networks=[{"name": row["network"], "at": row["at"]} for row in rows],
        level=LEVEL,
        rows=rows,
        grid=comparison.grid,
        certificates=any(n.certificates for n in comparison.networks),
        curves=radius_curves(comparison, folder / "curves.svg"),
        scatter=scatter(comparison, folder / "scatter.svg") if several else None,
        pairs=list(zip(comparison.pairs, comparison.adjusted, strict=True)),
        asked=asked,
    )


def _families(comparison: Comparison, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a family of seeds; a network without others of its recipe is a family of one."""
    against: dict[str, Contrast] = {contrast.name: contrast for contrast in contrasts(comparison)}
    if comparison.groups:
        return [
            {
                "name": group.name,
                "seeds": len(group.members),
                "accuracy": float(np.mean(group.accuracy)),
                "radius": group.mean_radius,
                "spread": group.spread,
                "contrast": against.get(group.name),
                "at": _means([row["at"] for row in rows if row["group"] == group.name]),
            }
            for group in comparison.groups
        ]
    return [
        {
            "name": network.name,
            "seeds": 1,
            "accuracy": network.clean,
            "radius": median_bracket(*network.box),
            "spread": None,
            "contrast": against.get(network.name),
            "at": row["at"],
        }
        for network, row in zip(comparison.networks, rows, strict=True)
    ]


def _means(seeds: list[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Of each radius the means of its shares over the seeds."""
    return [
        {name: float(np.mean([cell[name] for cell in cells])) for name in cells[0]}
        for cells in zip(*seeds, strict=True)
    ]

"""Figures of `advverify study`: what each level of each factor does to the certified radius and to the accuracy."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from .figures import COLOURS, pyplot

if TYPE_CHECKING:
    from advverify.models.sweep.effects import Effect


def effects(found: list[Effect], norm: str, path: Path) -> None:
    """A column a factor: above every run's bracket, their mean and its interval; below the accuracy."""
    plt = pyplot()
    factors = list(dict.fromkeys(e.factor for e in found))
    widths = [1 + sum(e.factor == name for e in found) for name in factors]
    figure, axes = plt.subplots(
        2,
        len(factors),
        figsize=(max(5.0, 1.2 + 0.72 * sum(widths)), 5.4),
        layout="constrained",
        sharey="row",
        squeeze=False,
        gridspec_kw={"width_ratios": widths, "height_ratios": (2.2, 1)},
    )
    for k, name in enumerate(factors):
        above, below = axes[0, k], axes[1, k]
        members = [e for e in found if e.factor == name]
        for x, e in enumerate(members):
            for j, (low, high) in enumerate(e.radii):
                place = x + 0.22 + 0.02 * j
                above.plot(
                    [place] * 2, [low, high if math.isfinite(high) else low], color=COLOURS[0], linewidth=1.5, alpha=0.6
                )
                above.plot([place], [low], "_", color=COLOURS[0], markersize=5, alpha=0.8)
            middle = (e.mean[0] + e.mean[1]) / 2 if math.isfinite(e.mean[1]) else e.mean[0]
            if all(map(math.isfinite, e.interval)):
                bars = [[middle - e.interval[0]], [e.interval[1] - middle]]
                above.errorbar([x], [middle], bars, fmt="none", ecolor=COLOURS[1], capsize=4)
            above.plot([x], [middle], "o", color=COLOURS[1], markersize=5)
            below.plot([x], [100 * e.accuracy], "s", color=COLOURS[2], markersize=5)
        labels = [e.level for e in members]
        for axis in (above, below):
            axis.set_xlim(-0.5, len(members) - 0.4)
            axis.grid(alpha=0.3, axis="y")
        above.set_xticks(range(len(members)), [""] * len(members))
        turned = max(len(label) for label in labels) > 5
        below.set_xticks(range(len(members)), labels, rotation=45 if turned else 0, ha="right" if turned else "center")
        above.set_title(name.rpartition(".")[2], fontsize=9)
    axes[0, 0].set_ylabel(f"median certified radius, norm {norm}")
    axes[0, 0].set_ylim(bottom=0)
    axes[1, 0].set_ylabel("test accuracy, %")
    figure.savefig(path, dpi=130)
    plt.close(figure)

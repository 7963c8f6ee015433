"""Figures as PNG files; on a white ground in both themes of a page, colours safe for colour-blind readers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from advverify.verifier.errors import InvalidInput, how_to_install

if TYPE_CHECKING:
    from advverify.models.comparison.compare import Comparison, Measured

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")


def require_report() -> None:
    """Refuse before anything is computed where the packages of the extra [report] are missing.

    Raises:
        InvalidInput: says what to install.
    """
    from importlib.util import find_spec

    missing = [name for name in ("matplotlib", "jinja2") if find_spec(name) is None]
    if missing:
        raise InvalidInput(f"pages and pictures need {' and '.join(missing)}: {how_to_install('report')}")


def pyplot() -> Any:
    """matplotlib without a screen, imported when a figure is drawn."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def band(axis: Any, lower: ArrayLike, upper: ArrayLike, largest: float, colour: str, label: str | None) -> None:
    """A certified-radius curve: the line is proved, the band above it ends at what attacks leave."""
    from advverify.models.comparison.statistics import certified_curve

    radii, proved, left = certified_curve(lower, upper, largest)
    axis.fill_between(radii, 100 * proved, 100 * left, color=colour, alpha=0.25, linewidth=0, step="post")
    axis.plot(radii, 100 * proved, color=colour, drawstyle="steps-post", label=label)
    axis.set(ylabel="certified images, %", ylim=(-2, 102), xlim=(0, None))


def largest_finite(values: Iterable[float]) -> float:
    """Largest finite value, 1 where there is none."""
    return max((float(v) for v in values if math.isfinite(v)), default=1.0)


def radius_curves(comparison: Comparison, path: Path) -> None:
    """Share of images robust beyond each radius: between what is proved and what an attack leaves."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7, 4.2), layout="constrained")
    groups = list(dict.fromkeys(n.group for n in comparison.networks))
    largest = largest_finite(u for n in comparison.networks for u in n.upper)
    shown: set[str] = set()
    for network in comparison.networks:
        colour = COLOURS[groups.index(network.group) % len(COLOURS)]
        label = network.name if len(groups) == len(comparison.networks) else network.group
        band(axis, network.lower, network.upper, largest, colour, None if label in shown else label)
        shown.add(label)
    axis.set(xlabel=f"radius, norm {comparison.norm}")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def scatter(comparison: Comparison, path: Path) -> None:
    """Each image's bracket on the first network against the others'."""
    plt = pyplot()
    first, others = comparison.networks[0], comparison.networks[1:]
    largest = 1.05 * largest_finite(u for n in comparison.networks for u in n.upper)
    figure, axis = plt.subplots(figsize=(5.2, 5), layout="constrained")
    axis.plot([0, largest], [0, largest], color="#888888", linewidth=1)
    across, left, right = _sides(first, largest)
    for k, network in enumerate(others):
        up, below, above = _sides(network, largest)
        colour = COLOURS[(k + 1) % len(COLOURS)]
        bars = np.array([below, above]), np.array([left, right])
        axis.errorbar(across, up, *bars, fmt="none", ecolor=colour, alpha=0.5)
        closed = (left + right + below + above) <= 2 * comparison.gap * (across + up)  # a point says where it is
        axis.plot(across[closed], up[closed], "o", markersize=3.5, color=colour, alpha=0.7, label=network.name)
    axis.set(
        xlim=(0, largest), ylim=(0, largest), xlabel=f"radius of {first.name}", ylabel="radius of the other network"
    )
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _sides(network: Measured, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of the brackets, cut off at the edge of the picture, and how far these reach below and above."""
    low, high = (np.minimum(side, largest) for side in network.box)
    half = (high - low) / 2
    return low + half, half, half

"""How figures are drawn: vectors whose black and white a page replaces by its own (`page.themed`), colours that are told apart by
colour-blind readers, legends below the axes, where they hide nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from advverify.verifier.errors import InvalidInput, how_to_install

if TYPE_CHECKING:
    from advverify.models.comparison.compare import Comparison, Measured

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999933")
PRIMAL, DUAL, PLAIN = "#D55E00", "#0072B2", "#333333"  # of what was found, of what is proved, and of whole runs
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (7, 1.5, 1.5, 1.5)))
_MARKERS = ("", "o", "s", "^", "D", "v")
_LINE = 0.18  # inches a line of a legend
_PANEL = 3.9  # inches, of each of several figures beside each other
_SIZE = (4.6, 2.7)  # inches: letters keep a readable size on pages 400 pixels wide


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
    radii, proved, left = _steps(lower, upper, largest)
    axis.fill_between(radii, 100 * proved, 100 * left, color=colour, alpha=0.25, linewidth=0, step="post")
    axis.plot(radii, 100 * proved, color=colour, drawstyle="steps-post", label=label)
    axis.set(ylabel="certified images, %", ylim=(-2, 102), xlim=(0, None))


def sides(axis: Any, lower: ArrayLike, upper: ArrayLike, largest: float, position: int) -> None:
    """The same in the colours of both sides: proved below, left by what was found above; dashes tell questions apart."""
    radii, proved, left = _steps(lower, upper, largest)
    axis.fill_between(radii, 100 * proved, 100 * left, color="#808080", alpha=0.15, linewidth=0, step="post")
    axis.plot(radii, 100 * left, drawstyle="steps-post", **style(position, PRIMAL) | {"linewidth": 1.0})
    axis.plot(radii, 100 * proved, drawstyle="steps-post", **style(position, DUAL))
    axis.set(ylim=(-2, 102), xlim=(0, None))


def _steps(lower: ArrayLike, upper: ArrayLike, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii at which a share of images changes, and both shares there."""
    from advverify.models.comparison.statistics import certified_curve

    radii, proved, left = certified_curve(lower, upper, largest)
    moved = (np.diff(proved, prepend=math.inf) != 0) | (np.diff(left, prepend=math.inf) != 0)
    moved[-1] = True
    return radii[moved], proved[moved], left[moved]  # steps alone: files stay small


def largest_finite(values: Iterable[float]) -> float:
    """Largest finite value, 1 where there is none."""
    return max((float(v) for v in values if math.isfinite(v)), default=1.0)


def short(text: str, width: int = 34) -> str:
    """A name that fits into a legend, cut in the middle, and safe from matplotlib's mathematics."""
    cut = text if len(text) <= width else f"{text[: width // 2 - 1]}…{text[-(width // 2) :]}"
    return cut.replace("$", r"\$").lstrip("_") or "-"


def style(position: int, colour: str = PLAIN) -> dict[str, Any]:
    """How the curves of a run or question look: dashes first, markers too where these are used up."""
    dashes, marker = _DASHES[position % len(_DASHES)], _MARKERS[position // len(_DASHES) % len(_MARKERS)]
    return {"linestyle": dashes, "marker": marker, "markersize": 3.5, "markevery": 0.13, "color": colour}


def radius_axis(norm: str) -> str:
    """What an axis of radii is called."""
    return f"radius, norm {norm}"


@contextmanager
def drawing(
    path: Path, columns: int = 1, size: tuple[float, float] = _SIZE, also: tuple[str, ...] = ()
) -> Iterator[Any]:
    """An axis whose figure is saved to an SVG file (see `panels`)."""
    with panels(path, 1, columns, size, also=also) as (axis,):
        yield axis


@contextmanager
def panels(
    path: Path,
    count: int,
    columns: int = 1,
    size: tuple[float, float] | None = None,
    sharey: bool = True,
    also: tuple[str, ...] = (),
) -> Iterator[list[Any]]:
    """Axes of one height beside each other, saved to an SVG file; letters are drawn, so that they look the same everywhere.

    The legend, of the first of them, gets `columns` columns below the axes, where it hides no curve, and makes the figure higher
    instead of the axes lower.

    Args:
        path: of the SVG file.
        count: of axes.
        columns: of the legend.
        size: of the figure in inches, without its legend.
        sharey: whether the axes have one scale.
        also: endings of further files, such as ".png".
    """
    plt = pyplot()
    with plt.rc_context({"svg.fonttype": "path", "svg.hashsalt": path.stem, "font.size": 9, "axes.titlesize": 9}):
        width, height = size or (_SIZE[0] if count == 1 else _PANEL * count, _SIZE[1])
        figure, grid = plt.subplots(
            1, count, figsize=(width, height), sharey=sharey, squeeze=False, layout="constrained"
        )
        figure.get_layout_engine().set(wspace=0.06 if count > 1 else 0.02)  # numbers at the ends of two axes stay apart
        axes = list(grid[0])
        for axis in axes:
            for side in ("top", "right"):
                axis.spines[side].set_visible(False)
            axis.grid(alpha=0.25)
        try:
            yield axes
            handles, labels = axes[0].get_legend_handles_labels()
            if handles:
                figure.set_figheight(height + _LINE * math.ceil(len(handles) / columns))
                place = {"loc": "outside lower center", "ncols": columns, "frameon": False, "handlelength": 3}
                figure.legend(handles, labels, **place)
            figure.savefig(path, metadata={"Date": None})
            for ending in also:
                figure.savefig(path.with_suffix(ending), dpi=150)
        finally:
            plt.close(figure)


def radius_curves(comparison: Comparison, path: Path) -> Path:
    """Share of images robust beyond each radius: between what is proved and what an attack leaves."""
    groups = list(dict.fromkeys(n.group for n in comparison.networks))
    largest = largest_finite(u for n in comparison.networks for u in n.upper)
    folded = len(groups) < len(comparison.networks)
    with drawing(path, size=(5.4, 3.2)) as axis:
        shown: set[str] = set()
        for network in comparison.networks:
            colour = COLOURS[groups.index(network.group) % len(COLOURS)]
            name = network.group if folded else network.name
            seeds = sum(n.group == network.group for n in comparison.networks)
            label = short(name, 44) + (f", {seeds} seed{'' if seeds == 1 else 's'}" if folded else "")
            band(axis, network.lower, network.upper, largest, colour, None if name in shown else label)
            shown.add(name)
        axis.set(xlabel=radius_axis(comparison.norm), ylabel=f"certified, % of {len(comparison.images)} images")
    return path


def scatter(comparison: Comparison, path: Path) -> Path:
    """Each image's bracket on the first network against the others'."""
    first, others = comparison.networks[0], comparison.networks[1:]
    largest = 1.05 * largest_finite(u for n in comparison.networks for u in n.upper)
    with drawing(path, size=(5.4, 4.4)) as axis:
        axis.plot([0, largest], [0, largest], color="#888888", linewidth=1)
        across, left, right = _sides(first, largest)
        for k, network in enumerate(others):
            up, below, above = _sides(network, largest)
            colour = COLOURS[(k + 1) % len(COLOURS)]
            bars = np.array([below, above]), np.array([left, right])
            axis.errorbar(across, up, *bars, fmt="none", ecolor=colour, alpha=0.5)
            closed = (left + right + below + above) <= 2 * comparison.gap * (across + up)  # a point says where it is
            label = short(network.name, 44)
            axis.plot(across[closed], up[closed], "o", markersize=3.5, color=colour, alpha=0.7, label=label)
        unit = radius_axis(comparison.norm)
        axis.set(xlim=(0, largest), ylim=(0, largest), aspect="equal")
        axis.set(xlabel=f"{unit}, of {short(first.name, 30)}", ylabel=f"{unit}, of the other network")
    return path


def _sides(network: Measured, largest: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middles of the brackets, cut off at the edge of the picture, and how far these reach below and above."""
    low, high = (np.minimum(side, largest) for side in network.box)
    half = (high - low) / 2
    return low + half, half, half

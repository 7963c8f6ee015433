"""Figures of a batch's outcomes; they need matplotlib, and no screen."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advverify.models.comparison.distributions import share_within
from advverify.verifier.errors import InvalidInput, how_to_install
from advverify.verifier.outcome import Verdict

from ..report.figures import COLOURS
from ..report.pictures import as_picture

if TYPE_CHECKING:
    from ..studying import Study
    from .outcomes import Outcomes

_COLOURS = {
    Verdict.ROBUST: "#009E73",
    Verdict.ADVERSARIAL: "#D55E00",
    Verdict.MISCLASSIFIED: "#CC79A7",
    Verdict.UNKNOWN: "#999999",
}


def radii(outcomes: Outcomes) -> Any:
    """The share of images that are robust beyond each radius: the line is proved, the band ends at what was found."""
    from advverify.models.comparison.statistics import certified_curve

    finite = [float(v) for v in (*outcomes.lower, *outcomes.upper) if math.isfinite(v)]
    figure = _figure(6, 4)
    axis = figure.add_subplot()
    radius, proved, left = certified_curve(outcomes.lower, outcomes.upper, max(finite, default=1.0))
    axis.fill_between(radius, 100 * proved, 100 * left, color="#0072B2", alpha=0.25, linewidth=0, step="post")
    axis.plot(radius, 100 * proved, color="#0072B2", drawstyle="steps-post")
    norm = next((outcome.labels["norm"] for outcome in outcomes if "norm" in outcome.labels), "")
    axis.set(xlabel=f"radius, norm {norm}".rstrip(), ylabel=f"robust, % of {len(outcomes)} images")
    axis.set(ylim=(-2, 102), xlim=(0, None))
    return figure


def verdicts(outcomes: Outcomes) -> Any:
    """How many images have each verdict."""
    counts = Counter(outcomes.verdicts)
    names = [verdict for verdict in Verdict if counts[verdict]]
    figure = _figure(5, 0.6 * len(names) + 1)
    axis = figure.add_subplot()
    bars = axis.barh([v.value for v in names], [counts[v] for v in names], color=[_COLOURS[v] for v in names])
    axis.bar_label(bars, padding=3)
    axis.set(xlabel=f"images, of {len(outcomes)}", xlim=(0, 1.1 * max(counts.values(), default=1)))
    axis.invert_yaxis()
    return figure


def pictures(outcomes: Outcomes, count: int) -> Any:
    """Three rows: images, their adversarial examples, and the differences, scaled to their largest entry, which is stated.

    Raises:
        InvalidInput: there is no adversarial example, or the images are no pictures.
    """
    found = [k for k, o in enumerate(outcomes) if o.adversarial is not None and o.verdict is not Verdict.MISCLASSIFIED][
        :count
    ]
    if not found:
        raise InvalidInput("no adversarial example is known of these images, so there is nothing to show")
    low, high = float(outcomes.images.min()), float(outcomes.images.max())
    figure = _figure(1.6 * len(found) + 0.4, 5.6)
    axes = figure.subplots(3, len(found), squeeze=False)
    for column, k in enumerate(found):
        outcome, image = outcomes[k], outcomes.images[k]
        assert outcome.adversarial is not None
        change = outcome.adversarial - image
        largest = float(np.abs(change).max()) or 1.0
        own = (low, max(high, low + 1e-12))
        rows = [(image, own), (outcome.adversarial, own), (change, (-largest, largest))]
        titles = [f"image {k}: {outcome.labels.get('label', '')}", "adversarial", f"difference, up to {largest:.2g}"]
        for axis, (values, limits), title in zip(axes[:, column], rows, titles, strict=True):
            shown = _picture(values)
            scaled = (shown - limits[0]) / (limits[1] - limits[0])
            colours = None if shown.ndim == 3 else ("gray" if limits == own else "RdBu_r")
            axis.imshow(scaled.clip(0, 1), cmap=colours, vmin=0, vmax=1)
            axis.set_title(title, fontsize=7)
            axis.set_axis_off()
    return figure


def distributions(study: Study) -> Any:
    """Of each network, the share of its images whose critical radius is at most so large: between what was found and what is proved."""
    figure = _figure(6.5, 4.2)
    axis = figure.add_subplot()
    sides = {name: study.brackets(name) for name in study.names}
    finite = [float(v) for pair in sides.values() for side in pair for v in side if math.isfinite(v)]
    radii = np.unique([0.0, *finite, 1.05 * max(finite, default=1.0)])
    for k, (name, (lower, upper)) in enumerate(sides.items()):
        colour, count = COLOURS[k % len(COLOURS)], len(lower)
        most, least = (100 * share_within(side, radii) for side in (lower, upper))
        axis.fill_between(radii, least, most, color=colour, alpha=0.25, linewidth=0, step="post")
        axis.plot(radii, least, color=colour, drawstyle="steps-post", label=f"{name} ({count} images)")
    axis.set(xlabel=f"critical radius, norm {study.norm}", ylabel="images with at most that radius, %")
    axis.set(ylim=(-2, 102), xlim=(0, None))
    axis.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def written(figure: Any, path: str | Path | None) -> Any:
    """The figure, written to a file where there is a path.

    Raises:
        InvalidInput: the file cannot be written.
    """
    if path is not None:
        try:
            figure.savefig(path, dpi=150)
        except (OSError, ValueError) as error:  # ValueError: an ending that is no format of pictures
            raise InvalidInput(f"{path}: cannot be written ({error})") from error
    return figure


def _figure(width: float, height: float) -> Any:
    try:
        from .shown import Shown
    except ImportError:
        raise InvalidInput(f"pictures need matplotlib: {how_to_install('report')}") from None
    return Shown(figsize=(width, height), layout="constrained")


def _picture(values: np.ndarray) -> np.ndarray:
    """(height, width), or (height, width, 3).

    Raises:
        InvalidInput: no picture.
    """
    picture = as_picture(values)
    if picture is None:
        raise InvalidInput(
            f"images of shape {list(values.shape)} are no pictures: (height, width), with 1 or 3 channels first or last"
        )
    return picture

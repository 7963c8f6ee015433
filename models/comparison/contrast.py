"""What a comparison says: how each family stands to the first one, and the one sentence that a reader came for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .permutations import MOST, least_p, ratio_interval, relabellings
from .statistics import LEVEL, Range, decision, least_sign_p, median_interval, ratios

if TYPE_CHECKING:
    from .compare import Comparison, Measured


@dataclass(frozen=True)
class Contrast:
    """A family of seeds, or a single network, against the first one of the comparison.

    Attributes:
        name: of the family or network.
        reference: name of the first.
        ratio: range of (its radius) / (the first's) over everything that the brackets allow. Of families the means of the seeds'
            median radii are divided, of single networks it is the median over the images.
        interval: confidence interval of that ratio at 1 - `LEVEL`, over seeds or images; None where these are too few or too many.
        p: range of p values, adjusted for the number of pairs where there are several; None where nothing was tested.
        least: the smallest p value that so many seeds or images can give.
        unit: "seeds" or "images": what the test takes for independent.
        test: its name.
        untested: why there is no p value; empty where there is one.
    """

    name: str
    reference: str
    ratio: Range
    interval: Range | None
    p: Range | None
    least: float
    unit: str
    test: str
    untested: str = ""

    @property
    def decision(self) -> str:
        """significant, not significant, undecided (brackets are open), or not tested."""
        return "not tested" if self.p is None else decision(self.p)

    @property
    def larger(self) -> bool:
        """Whether the middle of the ratio is at least 1."""
        low, high = self.ratio
        return (low * high if math.isfinite(high) else low) >= 1


def contrasts(comparison: Comparison) -> list[Contrast]:
    """All families (networks, where seeds are not grouped) but the first, against the first."""
    return _of_groups(comparison) if comparison.groups else _of_networks(comparison)


def _of_groups(comparison: Comparison) -> list[Contrast]:
    first, *others = comparison.groups
    found = []
    for group in others:
        n, m = len(group.members), len(first.members)
        ratio = _divided(group.mean_radius, first.mean_radius)
        enumerable = relabellings(n, m) <= MOST
        interval = ratio_interval(group.radius, first.radius, LEVEL) if enumerable else None
        untested = group.untested or ("" if group.p_value else "one seed says nothing about a family")
        test = "permutation test of the seeds' median radii"
        least = least_p(n, m)
        found.append(Contrast(group.name, first.name, ratio, interval, group.p_value, least, "seeds", test, untested))
    return found


def _of_networks(comparison: Comparison) -> list[Contrast]:
    if len(comparison.networks) < 2:
        return []
    first, *others = comparison.networks
    tested = {
        (pair.first, pair.second): (pair.ratio, adjusted)
        for pair, adjusted in zip(comparison.pairs, comparison.adjusted, strict=True)
    }
    several = len(comparison.pairs) > 1
    test = "signed-rank test over the images" + (" (Holm)" if several else "")
    found = []
    for network in others:
        ratio, p = tested[network.name, first.name]
        interval = _over_images(network, first)
        least = min(1.0, least_sign_p(len(network.outcomes)) * len(comparison.pairs))
        found.append(Contrast(network.name, first.name, ratio, interval, p, least, "images", test))
    return found


def _over_images(network: Measured, first: Measured) -> Range | None:
    (low, high), (first_low, first_high) = network.box, first.box
    return median_interval(ratios(low, first_high), ratios(high, first_low))


def _divided(a: Range, b: Range) -> Range:
    """Range of a / b of radii; nothing is known where both may be without end, or nothing."""

    def quotient(x: float, y: float, unknown: float) -> float:
        if (x == 0 and y == 0) or (math.isinf(x) and math.isinf(y)):
            return unknown
        return math.inf if y == 0 else x / y

    return quotient(a[0], b[1], 0.0), quotient(a[1], b[0], math.inf)


def _inverse(side: Range) -> Range:
    return _divided((1.0, 1.0), side)


@dataclass(frozen=True)
class Headline:
    """What was found, in a sentence; what it rests on; and whether the answer is decided."""

    sentence: str
    detail: str
    decided: bool


def headline(comparison: Comparison) -> Headline | None:
    """Who is more robust, by what factor, on how many seeds and images, and whether that is decided; None for one network.

    Of several the largest radius is compared with the first; where the first is the largest, the next one is compared with it.
    """
    found = contrasts(comparison)
    if not found:
        return None
    best = max(found, key=lambda contrast: (contrast.ratio[0], contrast.ratio[1]))
    more, less = (best.name, best.reference) if best.larger else (best.reference, best.name)
    ratio = best.ratio if best.larger else _inverse(best.ratio)
    interval = best.interval if best.larger or best.interval is None else _inverse(best.interval)
    factor = f"{_factor(ratio)} times as large"
    spread = "" if interval is None else f" ({100 * (1 - LEVEL):.0f} % interval over {best.unit} {_range(interval)})"
    if best.p is not None and best.decision == "significant":
        sentence = f"{more} is more robust than {less}: its radii are {factor}{spread}."
    elif best.decision == "not significant":
        sentence = f"Neither is shown to be more robust: radii of {more} are {factor} as those of {less}{spread}."
    elif best.decision == "undecided":
        sentence = f"Not decided yet: radii of {more} are {factor} as those of {less}{spread}, but brackets are open."
    else:
        sentence = f"Radii of {more} are {factor} as those of {less}{spread}; no test was made: {best.untested}."
    return Headline(sentence, _detail(comparison, best), best.decision in ("significant", "not significant"))


def _detail(comparison: Comparison, best: Contrast) -> str:
    """On what, and how sure."""
    images = (
        f"{len(comparison.images)} of {comparison.asked} images of {comparison.data}, norm {comparison.norm}, which all networks "
        "classify rightly"
    )
    if best.unit == "seeds":
        sizes = {group.name: len(group.members) for group in comparison.groups}
        on = f"{sizes[best.name]} against {sizes[best.reference]} seeds on {images}"
    else:
        on = f"One network each on {images}: it says nothing about other seeds"
    if best.p is None:
        return f"{on}."
    low, high = best.p
    value = f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} … {high:.2g}"
    words = {"significant": "decided", "not significant": "not significant", "undecided": "undecided"}[best.decision]
    smallest = f"the smallest that so many {best.unit} can give is {best.least:.2g}"
    never = " - too few to decide anything" if best.least > LEVEL else ""
    return f"{on}. {words.capitalize()} at {LEVEL:g}: p = {value} by the {best.test}; {smallest}{never}."


def _factor(ratio: Range) -> str:
    low, high = (f"{side:.3g}" for side in ratio)
    if low == high:
        return low
    return f"at least {low}" if math.isinf(ratio[1]) else f"{low} … {high}"


def _range(interval: Range) -> str:
    return f"{interval[0]:.3g} … {'∞' if math.isinf(interval[1]) else f'{interval[1]:.3g}'}"

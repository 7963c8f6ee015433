"""The comparison itself: from the outcomes of distance queries and attacks to tables, tests and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from advverify.verifier.outcome import Outcome, finite, html_table

from . import statistics as st
from .attacks import Attacked
from .permutations import MOST, permutation_test, relabellings
from .sanity import Evaluation, lint, lint_bounds, lint_open, lint_undecided


@dataclass(frozen=True)
class Measured:
    """One network on the images that all networks classify rightly.

    Attributes:
        name: as the user wrote it.
        group: networks that differ in nothing but their seed share it.
        clean: accuracy on the whole test set.
        clean_images: accuracy on the images that were asked for.
        relus: number of ReLUs.
        outcomes: of the distance queries, one an image.
        attacked: robustness under attacks, on the same images.
        certificates: Lipschitz certificates of the images, where the data card holds constants and the norm is 2.
        test_images: how many the whole test set has; 0 where that is not known.
    """

    name: str
    group: str
    clean: float
    clean_images: float
    relus: int
    outcomes: tuple[Outcome, ...]
    attacked: tuple[Attacked, ...]
    certificates: tuple[float, ...] = ()
    test_images: int = 0

    @property
    def lower(self) -> np.ndarray:
        """Proved radii, (images,); 0 where nothing is proved."""
        return np.array([o.bracket.lower if o.bracket.lower > 0 else 0.0 for o in self.outcomes])

    @property
    def upper(self) -> np.ndarray:
        """Distances of adversarial examples, (images,); inf where none is known."""
        return np.array([math.inf if math.isnan(o.bracket.upper) else o.bracket.upper for o in self.outcomes])

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Where the radii may be: both sides, and all between them where they contradict each other (a finding)."""
        return np.minimum(self.lower, self.upper), np.maximum(self.lower, self.upper)

    def closed(self, gap: float) -> int:
        """On how many images the bracket is closed to a relative gap."""
        return sum(o.bracket.relative_gap <= gap * (1 + 1e-9) for o in self.outcomes)

    def robust(self, attack: str, eps: float) -> float:
        """Share that stays right under an attack, nan where it was not run."""
        return next((a.accuracy for a in self.attacked if a.attack == attack and a.eps == eps), math.nan)

    def statistic(self, name: str) -> float:
        """Median of a statistic of the queries, nan where no query has it."""
        values = [float(o.statistics[name]) for o in self.outcomes if name in o.statistics]
        return float(np.median(values)) if values else math.nan


@dataclass(frozen=True)
class Group:
    """Networks of one recipe and several seeds; the seed is the unit of what is claimed of the recipe.

    Attributes:
        name: of the recipe.
        members: names of the networks.
        accuracy: of each member.
        radius: each member's range of the median radius.
        p_value: range of the permutation test against the first group; None where there is none.
        untested: why there is none; empty where nothing is to be tested.
    """

    name: str
    members: tuple[str, ...]
    accuracy: tuple[float, ...]
    radius: tuple[st.Range, ...]
    p_value: st.Range | None = None
    untested: str = ""

    @property
    def mean_radius(self) -> st.Range:
        """Range of the mean of the members' median radii."""
        return st.mean_bracket(self.radius)

    @property
    def spread(self) -> st.Range:
        """From the least that a member's median radius can be to the largest."""
        return min(low for low, _ in self.radius), max(high for _, high in self.radius)

    @property
    def decision(self) -> str | None:
        """What the p values of the range say."""
        return None if self.p_value is None else st.decision(self.p_value)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Everything that the table, the page and the JSON file show."""

    norm: str
    data: str
    images: tuple[int, ...]
    asked: int
    gap: float
    grid: tuple[float, ...]
    networks: tuple[Measured, ...]
    pairs: tuple[st.Paired, ...] = ()
    groups: tuple[Group, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def adjusted(self) -> list[st.Range]:
        """Wilcoxon's p values of the pairs, adjusted for the number of pairs."""
        return st.holm_ranges([pair.wilcoxon for pair in self.pairs])

    def __repr__(self) -> str:
        """Return the networks and the ranges of their median radii."""
        radii = ", ".join(
            f"{row['network']} {row['median_radius'][0]:.4g} to {row['median_radius'][1]:.4g}" for row in self.rows()
        )
        return f"<Comparison on {len(self.images)} images of {self.data}, norm {self.norm}: median radii {radii}>"

    def _repr_html_(self) -> str:
        """Return the table of the networks, for notebooks."""
        names = ("network", "clean_accuracy", "closed_images", "of", "relus", "median_seconds")
        rows = [
            {**{name: row[name] for name in names}, "median radius": "{:.4g} to {:.4g}".format(*row["median_radius"])}
            for row in self.rows()
        ]
        return html_table(rows)

    def rows(self) -> list[dict[str, Any]]:
        """One record a network; shares and medians are of the images that all networks classify rightly (`of`)."""
        rows = []
        for network in self.networks:
            low, high = st.median_bracket(*network.box)
            count, closed = len(network.outcomes), network.closed(self.gap)
            seconds = [o.seconds for o in network.outcomes]
            row = {
                "network": network.name,
                "group": network.group,
                "clean_accuracy": network.clean,
                "clean_accuracy_images": network.clean_images,
                "test_images": network.test_images,
                "relus": network.relus,
                "unstable_relus": network.statistic("unstable_relus"),
                "median_radius": [low, high],
                "of": count,
                "closed": closed / count if count else math.nan,
                "closed_images": closed,
                "median_seconds": float(np.median(seconds)) if seconds else math.nan,
                "total_seconds": float(np.sum(seconds)),
                "at": [
                    {
                        "eps": eps,
                        "pgd_accuracy": network.robust("pgd", eps),
                        "certified_accuracy": st.share_above(network.lower, eps),
                        "attacked_accuracy": st.share_above(network.upper, eps),
                    }
                    for eps in self.grid
                ],
            }
            if network.certificates:
                row["median_lipschitz_certificate"] = float(np.median(network.certificates))
            rows.append(row)
        return rows

    def to_json(self, indent: int | None = 1) -> str:
        """The tables, tests and brackets; numbers that are not known are null, and so is an upper side without end.

        Args:
            indent: spaces a level; None for one line.
        """
        from .contrast import contrasts, headline

        pairs = zip(self.pairs, self.adjusted, strict=True)
        found = headline(self)
        record = {
            "schema": 2,
            "norm": self.norm,
            "data": self.data,
            "images": self.images,
            "images_asked": self.asked,
            "gap": self.gap,
            "networks": self.rows(),
            "brackets": {n.name: list(zip(n.lower.tolist(), n.upper.tolist(), strict=True)) for n in self.networks},
            "certificates": {n.name: n.certificates for n in self.networks if n.certificates},
            "level": st.LEVEL,
            "pairs": [
                {
                    **asdict(pair),
                    "sign_decision": st.decision(pair.sign),
                    "wilcoxon_adjusted": adjusted,
                    "wilcoxon_decision": st.decision(adjusted),
                }
                for pair, adjusted in pairs
            ],
            "groups": [
                {**asdict(group), "mean_radius": group.mean_radius, "decision": group.decision} for group in self.groups
            ],
            "headline": None if found is None else asdict(found),
            "contrasts": [{**asdict(each), "decision": each.decision} for each in contrasts(self)],
            "sanity": self.findings,
        }
        return json.dumps(finite(record), indent=indent, allow_nan=False)


def compare(
    networks: Sequence[Measured],
    norm: str,
    data: str,
    images: Sequence[int],
    asked: int,
    gap: float,
    grid: Sequence[float],
) -> Comparison:
    """Tests between all pairs of networks (or of groups, where seeds are grouped), and the sanity checks."""
    groups = _groups(networks)
    single = len(groups) == len(networks)
    pairs = []
    if single:
        for i, a in enumerate(networks):
            pairs += [st.paired(b.name, a.name, b.box, a.box) for b in networks[i + 1 :]]
    result = Comparison(
        norm,
        data,
        tuple(images),
        asked,
        gap,
        tuple(grid),
        tuple(networks),
        tuple(pairs),
        () if single else tuple(groups),
    )
    return replace(result, findings=(*_findings(networks, norm, images), *_undecided(result)))


def _groups(networks: Sequence[Measured]) -> list[Group]:
    """By recipe; tests are against the first group."""
    result: list[Group] = []
    for name in dict.fromkeys(n.group for n in networks):
        members = [n for n in networks if n.group == name]
        radius = tuple(st.median_bracket(*n.box) for n in members)
        p_value, untested = None, ""
        if result and len(members) > 1 and len(result[0].members) > 1:
            count = relabellings(len(members), len(result[0].members))
            if count <= MOST:
                p_value = permutation_test(radius, result[0].radius)
            else:
                untested = f"{count} relabellings are more than the {MOST} that are enumerated"
        names, accuracy = tuple(n.name for n in members), tuple(n.clean for n in members)
        result.append(Group(name, names, accuracy, radius, p_value, untested))
    return result


def _undecided(result: Comparison) -> list[str]:
    """What open brackets leave open, and tests that were not made."""
    counts = [(n.name, len(n.outcomes) - n.closed(result.gap), len(n.outcomes)) for n in result.networks]
    found = lint_open(counts, result.gap)
    for pair, adjusted in zip(result.pairs, result.adjusted, strict=True):
        what = f"{pair.first} against {pair.second}"
        found += lint_undecided(what, {"sign test": pair.sign, "Wilcoxon (Holm)": adjusted})
    for group in result.groups:
        what = f"{group.name} against {result.groups[0].name}"
        if group.p_value is not None:
            found += lint_undecided(what, {"permutation test": group.p_value})
        if group.untested:
            found.append(f"{what}: not tested: {group.untested}")
    return found


def _findings(networks: Sequence[Measured], norm: str, images: Sequence[int]) -> list[str]:
    evaluations = [
        Evaluation(n.name, a.attack, norm, a.eps, a.accuracy, 1.0, len(a.robust)) for n in networks for a in n.attacked
    ]
    found = lint(evaluations) if images else []
    for network in networks:
        for k, image in enumerate(images):
            fooled = [a.eps for a in network.attacked if not a.robust[k]]
            certificate = network.certificates[k] if network.certificates else None
            found += lint_bounds(
                network.name, image, float(network.lower[k]), float(network.upper[k]), fooled, certificate
            )
    return found

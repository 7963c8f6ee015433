"""The comparison itself: from the outcomes of distance queries and attacks to tables, tests and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from advverify.verifier.outcome import Outcome, finite

from . import statistics as st
from .attacks import Attacked
from .sanity import Evaluation, lint, lint_bounds


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
    """

    name: str
    group: str
    clean: float
    clean_images: float
    relus: int
    outcomes: tuple[Outcome, ...]
    attacked: tuple[Attacked, ...]
    certificates: tuple[float, ...] = ()

    @property
    def lower(self) -> np.ndarray:
        """Proved radii, (images,)."""
        return np.array([max(0.0, o.bracket.lower) for o in self.outcomes])

    @property
    def upper(self) -> np.ndarray:
        """Distances of adversarial examples, (images,); inf where none is known."""
        return np.array([o.bracket.upper for o in self.outcomes])

    def robust(self, attack: str, eps: float) -> float:
        """Share that stays right under an attack, nan where it was not run."""
        return next((a.accuracy for a in self.attacked if a.attack == attack and a.eps == eps), math.nan)

    def statistic(self, name: str) -> float:
        """Median of a statistic of the queries, nan where no query has it."""
        values = [float(o.statistics[name]) for o in self.outcomes if name in o.statistics]
        return float(np.median(values)) if values else math.nan


@dataclass(frozen=True)
class Group:
    """Networks of one recipe and several seeds; the seed is the unit of what is claimed of the recipe."""

    name: str
    members: tuple[str, ...]
    accuracy: tuple[float, ...]
    radius: tuple[float, ...]
    p_value: float | None = None


@dataclass(frozen=True)
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

    def rows(self) -> list[dict[str, Any]]:
        """One record a network."""
        rows = []
        for network in self.networks:
            low, high = st.median_bracket(network.lower, network.upper)
            closed = [o.bracket.relative_gap <= self.gap * (1 + 1e-9) for o in network.outcomes]
            seconds = [o.seconds for o in network.outcomes]
            row = {
                "network": network.name,
                "group": network.group,
                "clean_accuracy": network.clean,
                "clean_accuracy_images": network.clean_images,
                "relus": network.relus,
                "unstable_relus": network.statistic("unstable_relus"),
                "median_radius": [low, high],
                "closed": float(np.mean(closed)) if closed else math.nan,
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

    def to_json(self) -> str:
        """The tables, tests and brackets; numbers that are not known are null."""
        record = {
            "schema": 1,
            "norm": self.norm,
            "data": self.data,
            "images": self.images,
            "images_asked": self.asked,
            "gap": self.gap,
            "networks": self.rows(),
            "brackets": {n.name: list(zip(n.lower.tolist(), n.upper.tolist(), strict=True)) for n in self.networks},
            "certificates": {n.name: n.certificates for n in self.networks if n.certificates},
            "pairs": [asdict(pair) for pair in self.pairs],
            "groups": [asdict(group) for group in self.groups],
            "sanity": self.findings,
        }
        return json.dumps(finite(record), indent=1, allow_nan=False)


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
            pairs += [st.paired(b.name, a.name, (b.lower, b.upper), (a.lower, a.upper)) for b in networks[i + 1 :]]
    return Comparison(
        norm,
        data,
        tuple(images),
        asked,
        gap,
        tuple(grid),
        tuple(networks),
        tuple(pairs),
        () if single else tuple(groups),
        tuple(_findings(networks, norm, images)),
    )


def _groups(networks: Sequence[Measured]) -> list[Group]:
    """By recipe; tests are against the first group."""
    result: list[Group] = []
    for name in dict.fromkeys(n.group for n in networks):
        members = [n for n in networks if n.group == name]
        radius = tuple(float(np.mean(st.median_bracket(n.lower, n.upper))) for n in members)
        p_value = None
        if result and len(members) > 1 and len(result[0].members) > 1:
            p_value = st.permutation_test(radius, result[0].radius)
        names, accuracy = tuple(n.name for n in members), tuple(n.clean for n in members)
        result.append(Group(name, names, accuracy, radius, p_value))
    return result


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

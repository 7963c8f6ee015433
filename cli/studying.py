"""Critical radii of several networks as distributions: brackets, quantiles, tests between networks, and their plot."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from advverify.models.comparison.distributions import kolmogorov_smirnov, quantile_bracket
from advverify.models.comparison.statistics import Range, decision, holm_ranges, mean_bracket, share_above
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import UNREADABLE, Outcome, Verdict, finite, html_table
from advverify.verifier.specification import Threat

from .brackets import Hear, Work
from .subjects import Given, subjects_of

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Study:
    """Distributions of critical radii: of each network, those of the images that it classifies rightly.

    A radius is known as a bracket, and what is said of a distribution is a range over all that the brackets allow.

    Attributes:
        outcomes: of each network, by its name: distances, misclassified images included.
        norm: of the distances.
    """

    def __init__(self, outcomes: Mapping[str, Sequence[Outcome]]) -> None:
        """Keep distances.

        Raises:
            InvalidInput: no network, no images, something else than distances, or distances in several norms.
        """
        self.outcomes = {str(name): tuple(own) for name, own in outcomes.items()}
        if not self.outcomes:
            raise InvalidInput("a study needs outcomes of at least one network")
        norms = dict.fromkeys(str(each.labels.get("norm")) for own in self.outcomes.values() for each in own)
        for name, own in self.outcomes.items():
            if not own:
                raise InvalidInput(f"{name}: there are no outcomes")
            if any(not each.is_distance for each in own):
                raise InvalidInput(f"{name}: these are margins at one radius, and a study is of distances")
        if len(norms) > 1:
            raise InvalidInput(f"these distances are in the norms {', '.join(norms)}: study one norm at a time")
        self.norm = next(iter(norms))

    @classmethod
    def of_files(cls, files: Mapping[str, str | Path]) -> Study:
        """A study of kept answers: JSON lines of `advverify distance --out`, by the networks' names.

        Raises:
            InvalidInput: a file that cannot be read, or that holds something else.
        """
        return cls({name: _lines(Path(path)) for name, path in files.items()})

    @property
    def names(self) -> list[str]:
        """The networks, in order."""
        return list(self.outcomes)

    def brackets(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper sides, each (images,), of the images that a network classifies rightly; upper sides may be infinite."""
        own = [each for each in self.outcomes[name] if each.verdict is not Verdict.MISCLASSIFIED]
        return np.array([each.lower for each in own]), np.array([each.upper for each in own])

    def quantiles(self, share: float) -> dict[str, Range]:
        """Range of a quantile of each network: the least radius that this share of the radii do not exceed.

        Raises:
            InvalidInput: a share that is none.
        """
        if not 0 < share <= 1:
            raise InvalidInput(f"a quantile takes a share above 0 and at most 1, got {share:g}")
        return {name: quantile_bracket(*self.brackets(name), share) for name in self.names}

    def robust(self, eps: float) -> dict[str, Range]:
        """Range of the share of all images, misclassified ones included, that are right and robust beyond a radius."""
        result = {}
        for name, own in self.outcomes.items():
            lower, upper = self.brackets(name)
            part = len(lower) / len(own)
            result[name] = tuple(part * share_above(side, eps) if part else 0.0 for side in (lower, upper))
        return result  # type: ignore[return-value]

    def kolmogorov_smirnov(self) -> list[dict[str, Any]]:
        """The two-sample test between every two networks: ranges of D, of p values, and of these after Holm.

        It takes the two samples for independent; on the same images it is conservative at best, and `compare` has tests of pairs.
        """
        pairs = list(combinations(self.names, 2))
        tests = [kolmogorov_smirnov(self.brackets(a), self.brackets(b)) for a, b in pairs]
        adjusted = holm_ranges([test.p_value for test in tests])
        return [
            {
                "first": a,
                "second": b,
                "statistic": test.statistic,
                "p_value": test.p_value,
                "p_adjusted": holm,
                "decision": decision(holm),
            }
            for (a, b), test, holm in zip(pairs, tests, adjusted, strict=True)
        ]

    def rows(self) -> list[dict[str, Any]]:
        """One row a network: images, misclassified ones, open brackets, and ranges of mean and quantiles."""
        rows = []
        for name in self.names:
            lower, upper = self.brackets(name)
            rows.append(
                {
                    "network": name,
                    "images": len(self.outcomes[name]),
                    "misclassified": len(self.outcomes[name]) - len(lower),
                    "without an example": int(np.isinf(upper).sum()),
                    "mean": mean_bracket(list(zip(lower.tolist(), upper.tolist(), strict=True))),
                    **{f"{100 * share:g} %": quantile_bracket(lower, upper, share) for share in QUANTILES},
                }
            )
        return rows

    def to_json(self) -> str:
        """One line: the rows, the tests, and all brackets; null for what is not known and for sides without end."""
        record = {
            "schema": 1,
            "norm": self.norm,
            "networks": self.rows(),
            "kolmogorov_smirnov": self.kolmogorov_smirnov(),
            "brackets": {name: np.stack(self.brackets(name), 1).tolist() for name in self.names},
        }
        return json.dumps(finite(record), allow_nan=False)

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw the distribution functions: the band of each lies between those of its lower and its upper sides.

        Args:
            path: of a picture to write (.png, .svg, .pdf).

        Returns:
            The `matplotlib.figure.Figure`.

        Raises:
            InvalidInput: matplotlib is not installed, or the file cannot be written.
        """
        from .python.figures import distributions, written

        return written(distributions(self), path)

    def __repr__(self) -> str:
        """Return the networks and the ranges of their medians."""
        medians = ", ".join(f"{name} {_words(median)}" for name, median in self.quantiles(0.5).items())
        return f"<Study in norm {self.norm}: median radii {medians}>"

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        return html_table(
            [
                {name: _words(value) if isinstance(value, tuple) else value for name, value in row.items()}
                for row in self.rows()
            ]
        )


def run(
    given: Given,
    threat: Threat,
    settings: Settings,
    jobs: int,
    say: Callable[[str], None],
    out: Path | None = None,
    progress: bool = False,
    hear: Hear | None = None,
) -> Study:
    """Find the distances of every network on every image.

    Args:
        given: networks and images.
        threat: norm, and the largest radius of interest.
        settings: limits of each.
        jobs: images worked on at the same time.
        say: hears what was decided and not stated.
        out: folder of the brackets, from which a study that was stopped goes on.
        progress: whether a terminal shows how far it is.
        hear: see `brackets.Work`.
    """
    subjects, data, images = subjects_of(given, "study", "0:100", say)
    kept = None if out is None else out / "brackets.jsonl"
    work = Work(threat, settings, jobs, kept, progress, hear, say)
    outcomes = work.of(subjects, data, [images] * len(subjects))
    study = Study({subject.name: own for subject, own in zip(subjects, outcomes, strict=True)})
    if out is not None:
        (out / "distributions.json").write_text(study.to_json() + "\n")
        study.plot(out / "distributions.png")
    return study


def _lines(path: Path) -> list[Outcome]:
    try:
        return [Outcome.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except UNREADABLE as error:
        raise InvalidInput(f"{path}: not the lines of `advverify distance --out` ({error})") from error
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror or error})") from error


def _words(sides: Range) -> str:
    if math.isinf(sides[1]):
        return f">= {sides[0]:.4g}"
    return " to ".join(dict.fromkeys(f"{side:.4g}" for side in sides))

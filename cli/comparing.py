"""The work of `compare`: brackets of several networks, attacks at radii, certificates, and what follows from them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advverify.models.card import pairs_of
from advverify.models.comparison.attacks import NAMES, attacked
from advverify.models.comparison.compare import Comparison, Measured
from advverify.models.comparison.compare import compare as compared
from advverify.models.datasets import Dataset
from advverify.models.lipschitz import certificate
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm
from advverify.verifier.outcome import Outcome
from advverify.verifier.specification import Threat

from .brackets import Hear, Work
from .places import is_page, writable_page_or_folder
from .report.compare_page import write_folder, write_page
from .report.figures import require_report
from .subjects import Given, Subject, subjects_of

NORMS = ("1", "2", "inf")


@dataclass(frozen=True)
class Options:
    """Options of a comparison, by the names that they have on the command line and in Python.

    Attributes:
        norm: 1, 2 or inf, in any usual spelling.
        eps_grid: radii at which accuracies are listed; three from the data where there are none.
        gap: relative gap of a closed bracket.
        timeout: seconds an image.
        jobs: images worked on at the same time; one a core where None.
        seed: of attacks.
        out: folder for page, pictures, JSON and brackets; or a name that ends in .html, for the page alone.
    """

    norm: str | float = "inf"
    eps_grid: tuple[float, ...] = ()
    gap: float = 0.01
    timeout: float = 60.0
    jobs: int | None = None
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check what `Settings` does not, and make the folder.

        Raises:
            InvalidInput: names the option.
        """
        object.__setattr__(self, "norm", get_norm(self.norm).name)
        if self.norm not in NORMS:
            raise InvalidInput(
                f"compare works in the norms {', '.join(NORMS)}: distances in norm 0 are counts, without a mean"
            )
        for eps in self.eps_grid:
            if isinstance(eps, bool) or not isinstance(eps, int | float) or not math.isfinite(eps) or eps <= 0:
                raise InvalidInput(f"eps_grid takes radii above 0, got {eps!r}")
        object.__setattr__(self, "eps_grid", tuple(sorted({float(eps) for eps in self.eps_grid})))
        if self.jobs is not None and (isinstance(self.jobs, bool) or not isinstance(self.jobs, int) or self.jobs < 1):
            raise InvalidInput(f"jobs must be a whole number from 1, got {self.jobs!r}")
        if self.out is not None:
            require_report()
            object.__setattr__(self, "out", writable_page_or_folder(self.out, "out"))

    @property
    def folder(self) -> Path | None:
        """Where brackets are kept; None where nothing or a page alone is written."""
        return None if self.out is None or is_page(self.out) else self.out

    @property
    def count(self) -> int:
        """Images worked on at the same time."""
        return self.jobs or os.cpu_count() or 1

    @property
    def settings(self) -> Settings:
        """Limits of each bracket.

        Raises:
            InvalidInput: a limit that makes no sense.
        """
        return Settings(timeout=self.timeout, gap=self.gap, threads=1, seed=self.seed)


def run(
    given: Given, options: Options, say: Callable[[str], None], progress: bool = False, hear: Hear | None = None
) -> Comparison:
    """Find the brackets, attack, compare, and write the folder where one is asked for.

    Args:
        given: networks and images.
        options: of the comparison.
        say: hears what was decided and not stated.
        progress: whether a terminal shows how far it is.
        hear: see `brackets.Work`.

    Raises:
        InvalidInput: networks or images that do not fit, or no image that all networks classify rightly.
    """
    settings = options.settings
    subjects, data, asked = subjects_of(given, "compare", "0:100", say)
    shared = [i for i in asked if all(subject.right[i] for subject in subjects)]
    if not shared:
        raise InvalidInput(f"no image of {given.images or 'these'} is classified rightly by all networks")
    work = Work(
        Threat(options.norm),
        settings,
        options.count,
        None if options.folder is None else options.folder / "brackets.jsonl",
        progress,
        hear,
        say,
    )
    outcomes = work.of(subjects, data, [shared] * len(subjects))
    grid = options.eps_grid or tuple(_three(outcomes))
    measured = [
        _measure(s, s.group(subjects), o, data, asked, shared, grid, options)
        for s, o in zip(subjects, outcomes, strict=True)
    ]
    result = compared(measured, str(options.norm), data.name, shared, len(asked), options.gap, grid)
    if options.out is not None:
        words = {"time limit": f"{options.timeout:g} s an image", "seed of attacks": str(options.seed)}
        write = write_folder if options.folder is not None else write_page
        write(result, options.out, words)
    return result


def _three(outcomes: Sequence[Sequence[Outcome]]) -> list[float]:
    """Three round radii in the range of what was found."""
    upper = [o.bracket.upper for each in outcomes for o in each if 0 < o.bracket.upper < math.inf]
    if not upper:
        return []
    return sorted({float(f"{q:.1g}") for q in np.quantile(upper, [0.1, 0.4, 0.7])})


def _measure(
    subject: Subject,
    group: str,
    outcomes: Sequence[Outcome],
    data: Dataset,
    asked: Sequence[int],
    shared: Sequence[int],
    grid: Sequence[float],
    options: Options,
) -> Measured:
    network, norm = subject.model.network, str(options.norm)
    images, labels = data.images[list(shared)], data.labels[list(shared)]
    whole = [1.0] if norm == "inf" else []
    runs = [
        attacked(network, images, labels, norm, eps, name, options.seed) for name in NAMES for eps in [*grid, *whole]
    ]
    pairs = pairs_of(dict(network.metadata)) if norm == "2" else None
    certificates: tuple[float, ...] = ()
    if pairs is not None:
        logits = subject.model.executor.run(images.reshape(len(images), -1))
        certificates = tuple(
            certificate(row.astype(np.float64), int(label), pairs) for row, label in zip(logits, labels, strict=True)
        )
    return Measured(
        subject.name,
        group,
        float(subject.right.mean()),
        float(subject.right[list(asked)].mean()),
        network.relu_count,
        tuple(outcomes),
        tuple(runs),
        certificates,
        len(data),
    )

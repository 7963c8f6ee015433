"""The work of `gap`: how the bounds of kept answers converged, run against run."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import Comparison, Run, compare
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import finite, html_table

from .places import write_text
from .report.gap_page import chapter
from .report.page import render

_LISTED = 40  # hard questions on the page


@dataclass(frozen=True)
class Options:
    """Options of `gap`, by the names that they have on the command line and in Python.

    Attributes:
        by: what makes a run: file, solver, solver-version, formulation, or a label of the lines.
        limit: seconds at which gaps are taken; the time limit where None.
        shift: seconds, of the shifted geometric mean.
        query: images, properties or keys whose bounds are shown.
        job: of a store; all of them where None.
    """

    by: tuple[str, ...] = ()
    limit: float | None = None
    shift: float = 1.0
    query: tuple[str, ...] = ()
    job: str | None = None

    def __post_init__(self) -> None:
        """Check the numbers, and take names with commas apart.

        Raises:
            InvalidInput: names the option.
        """
        if self.limit is not None and not 0 < self.limit < math.inf:
            raise InvalidInput(f"limit must be a number of seconds above 0, got {self.limit:g}")
        if not 0 <= self.shift < math.inf:
            raise InvalidInput(f"shift must be a number of seconds from 0 on, got {self.shift:g}")
        names = [name.strip() for each in self.by for name in each.split(",")]
        if not all(names):
            raise InvalidInput(f"by {','.join(self.by)}: a name is empty; write engines,model")
        object.__setattr__(self, "by", tuple(dict.fromkeys(names)))


@dataclass(frozen=True, repr=False)
class Gaps:
    """How bounds came together in several runs.

    Attributes:
        comparison: everything that was computed: runs, profile, the hardest questions, notes.
        sources: files and stores that it was read from.
        asked: the questions of `query`.
    """

    comparison: Comparison
    sources: tuple[Source, ...]
    asked: tuple[bytes, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs, in order."""
        return tuple(self.comparison.runs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said about comparing these runs."""
        return tuple(self.comparison.notes)

    def rows(self) -> list[dict[str, Any]]:
        """One row a run: shares closed and below 1, 5 and 10 %, integrals, seconds; None for what there is not."""
        return [
            {
                "run": run.name,
                "queries": run.queries,
                "closed": run.closed,
                **{f"gap <= {level}": value for level, value in zip(("1 %", "5 %", "10 %"), run.below, strict=True)},
                "primal integral": run.primal_integral,
                "dual integral": run.dual_integral,
                "mean seconds": run.mean_seconds,
                "PAR2": run.par2,
            }
            for run in self.runs
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values of what the tables show, for JSON."""
        comparison = self.comparison
        record: dict[str, Any] = {"schema": 1, "questions": comparison.questions, "compared": comparison.compared}
        record |= {"limit": comparison.limit, "misclassified": comparison.misclassified, "runs": self.rows()}
        hardest = [
            {"question": solve.name, "run": name, "gap": gap, "seconds": solve.seconds}
            for name, solve, gap in comparison.hardest
        ]
        plain: dict[str, Any] = finite(record | {"hardest": hardest, "notes": list(self.notes)})
        return plain

    def write(self, out: Path | None = None, figures: Path | None = None) -> None:
        """Write the HTML page, and the figures as SVG.

        Raises:
            InvalidInput: the page cannot be written.
        """
        with tempfile.TemporaryDirectory() as folder:
            values = chapter(self.comparison, self.sources, Path(folder) if figures is None else figures, self.asked)
            if out is not None:
                title = f"Gaps of {', '.join(source.path.name for source in self.sources)}"
                write_text(out, render("gap.html", title=title, gaps=values), "--out")

    def __repr__(self) -> str:
        """Return the runs and what they closed."""
        known = ", ".join(f"{run.name} closed {100 * run.closed:.0f} % of {run.queries}" for run in self.runs)
        return f"<Gaps of {known}>"

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        return html_table(self.rows())


def read(files: Sequence[Path], options: Options) -> Gaps:
    """Read answers and compare the runs that they are of.

    Raises:
        InvalidInput: a file given twice, one that cannot be read or has no traces, a label that is not there, or no such query.
    """
    if not files:
        raise InvalidInput("gap needs files: lines of results, or stores")
    sources = _sources(files, options.job)
    comparison = compare(sources, options.by, options.limit, options.shift, _LISTED)
    return Gaps(comparison, tuple(sources), tuple(_asked(comparison, options.query)))


def _sources(files: Sequence[Path], job: str | None) -> list[Source]:
    """The files, named so that no two have one name."""
    stems = [path.stem for path in files]
    unique = [stem if stems.count(stem) == 1 else str(path) for stem, path in zip(stems, files, strict=True)]
    for name in unique:
        if unique.count(name) > 1:
            raise InvalidInput(f"{name}: given twice; name each file once")
    return [Source(path, name, job) for path, name in zip(files, unique, strict=True)]


def _asked(comparison: Comparison, names: Sequence[str]) -> list[bytes]:
    """The questions of --query, each once."""
    found = dict[bytes, None]()
    for name in names:
        matching = [
            solve.question
            for solves in comparison.solves.values()
            for solve in solves.values()
            if name in (solve.name, solve.name.rsplit(", ", 1)[-1], solve.place)
        ]
        if not matching:
            raise InvalidInput(
                f"query {name}: no such question here; give an image's index, a property's file or a key"
            )
        found |= dict.fromkeys(matching)
    return list(found)

"""What kept answers say: `report` of a store, and `gap` of how bounds came together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import gaps, reporting
from ..gaps import Gaps
from ..places import refuse_overwriting, writable_file, writable_folder
from ..report.figures import require_report
from ..reporting import Report
from .words import speaks_of_arguments, warn


@speaks_of_arguments
def report(
    store: str | Path,
    out: str | Path | None = None,
    *,
    job: str | None = None,
    against: str | Path | None = None,
    figures: str | Path | None = None,
) -> Report:
    """What does a store of `batch` hold? Shares, engines, open queries, accidents, changes; as a page where `out` is given.

    Example:
        >>> import tempfile, advverify
        >>> job = {"queries": [{"models": ["zoo:digits-mlp"], "images": "0:4", "norms": ["inf"], "eps": [0.02]}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ran = advverify.batch.run(job, f"{folder}/runs.sqlite", jobs=1)
        ...     report(f"{folder}/runs.sqlite")
        <Report of runs.sqlite: 4 answers, 4 robust>

    Args:
        store: of `batch.run`.
        out: an HTML file to write.
        job: only this job.
        against: another store: what changed since.
        figures: a folder for the figures, as PNG and SVG.

    Raises:
        InvalidInput: no store, no such job, no answers yet, or a place that cannot be written.
    """
    _check_places(out, figures, store, against)
    found = reporting.read(Path(store), job, None if against is None else Path(against))
    if figures is not None:
        found.write_figures(Path(figures))
    if out is not None:
        found.write_page(Path(out), warn)
    return found


@speaks_of_arguments
def gap(
    files: str | Path | Sequence[str | Path],
    *,
    by: str | Sequence[str] = (),
    limit: float | None = None,
    shift: float = 1.0,
    query: str | int | Sequence[str | int] = (),
    job: str | None = None,
    out: str | Path | None = None,
    figures: str | Path | None = None,
) -> Gaps:
    """How did the bounds of kept answers come together, and where do runs differ?

    Args:
        files: JSON lines (of the command line's `--out`, or `Outcome.to_json` a line), stores, or several of them; each is a run,
            unless `by` says what is.
        by: file, solver, solver-version, formulation, or a label of the lines such as engines, version, norm, model; several of
            them together.
        limit: seconds at which gaps are taken; the time limit where None.
        shift: seconds, of the shifted geometric mean.
        query: images, properties or keys whose bounds the page draws; the hardest ones where there are none.
        job: only this job of a store.
        out: an HTML file to write.
        figures: a folder for the figures, as SVG.

    Returns:
        `Gaps`: `rows()` of the runs, `runs` with their curves, `notes`, and the whole `comparison`.

    Raises:
        InvalidInput: a file that cannot be read or has no traces, a label that is not there, or no such query.
    """
    read = [files] if isinstance(files, str | Path) else files
    _check_places(out, figures, *read)
    options = gaps.Options(_several(by), limit, shift, _several(query), job)
    found = gaps.read([Path(file) for file in read], options)
    if out is not None or figures is not None:
        found.write(None if out is None else Path(out), None if figures is None else Path(figures))
    return found


def _several(names: str | int | Sequence[str | int]) -> tuple[str, ...]:
    """One name or several, as text."""
    return tuple(map(str, [names] if isinstance(names, str | int) else names))


def _check_places(out: str | Path | None, figures: str | Path | None, *read: str | Path | None) -> None:
    if out is not None or figures is not None:
        require_report()
    if out is not None:
        refuse_overwriting(out, *read)
        writable_file(Path(out), "out")
    if figures is not None:
        writable_folder(Path(figures), "figures")

"""Jobs of many queries from Python: run, resumed after anything, counted, read and exported; `advverify batch` by the same names.

A job is the path of a job file, or a dictionary with the entries of one:

    job = {"timeout": 10, "queries": [{"models": ["zoo:digits-mlp"], "images": "0:100", "norms": ["inf"], "eps": [0.03]}]}
    ran = advverify.batch.run(job, "runs.sqlite", progress=True)
    advverify.report("runs.sqlite", "report.html")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from advverify.verifier.outcome import Outcome
from advverify.verifier.store import Store

from .. import jobs as work
from ..jobs import JobLike, Ran, Workers
from .words import in_arguments, speaks_of_arguments, translated, warn

__all__ = ["Ran", "export", "outcomes", "resume", "run", "status"]

Progress = bool | Callable[[dict[str, Any], Outcome | None], None]
Retry = Literal["accidents", "unknown", "all"]
STORE = "runs.sqlite"


@speaks_of_arguments
def run(
    job: JobLike,
    store: str | Path = STORE,
    *,
    jobs: int | None = None,
    memory: int = 0,
    scheduler: str | None = None,
    proofs: str | Path | None = None,
    retry: Retry = "accidents",
    progress: Progress = False,
) -> Ran:
    """Run the queries of a job that the store has no answer to; whatever ends it, running it again goes on.

    Example:
        >>> import tempfile
        >>> job = {"name": "four", "queries": [{"models": ["zoo:digits-mlp"], "images": "0:4", "norms": ["inf"], "eps": [0.02]}]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, again = (run(job, f"{folder}/runs.sqlite", jobs=1) for _ in range(2))
        >>> first.verdicts["robust"], first.left, again.before
        (4, 0, 4)

    Args:
        job: the path of a job file, or a dictionary with the entries of one (`docs/reference/job.md`), whose paths are
            relative to the current folder.
        store: a file that is made where there is none.
        jobs: worker processes; one a core where None.
        memory: MiB of data that a worker may hold; 0 for no limit.
        scheduler: address of a Dask scheduler, whose workers take the place of `jobs`.
        proofs: folder for a proof of each new answer.
        retry: what is asked again: "accidents" (queries without an answer), "unknown" (those, unknown ones and open brackets), "all".
        progress: True shows it on a terminal; a function hears what was asked and the `Outcome`, None for an accident.

    Returns:
        `Ran`: `verdicts` of this run, `accidents`, answers there were `before`, queries that are `left`, `seconds`.

    Raises:
        InvalidInput: all that is wrong with the job, a store that cannot be written, or an argument that makes no sense.
        KeyboardInterrupt: by Ctrl-C; every answer is kept.
    """
    return _run(work.job_of(job, warn), store, Workers(jobs, memory, scheduler, _folder(proofs), retry), progress)


@speaks_of_arguments
def resume(
    store: str | Path = STORE,
    name: str | None = None,
    *,
    jobs: int | None = None,
    memory: int = 0,
    scheduler: str | None = None,
    proofs: str | Path | None = None,
    retry: Retry = "accidents",
    progress: Progress = False,
) -> Ran:
    """Go on with the job of a store, from the text that it keeps; arguments, results and errors as in `run`.

    Args:
        store: where the job was begun.
        name: of the job; the only one where None.
        jobs: as in `run`, like all that follows.
        memory: MiB.
        scheduler: address.
        proofs: folder.
        retry: what is asked again.
        progress: of the run.
    """
    return _run(
        work.job_in(store, name, warn), store, Workers(jobs, memory, scheduler, _folder(proofs), retry), progress
    )


@speaks_of_arguments
def status(store: str | Path = STORE) -> list[dict[str, Any]]:
    """Counts of every job of a store: queries, done, verdicts, accidents, seconds; safe while a job runs.

    Raises:
        InvalidInput: not a store.
    """
    return work.status(store)[0]


def outcomes(store: str | Path = STORE, job: str | None = None) -> Iterator[tuple[dict[str, Any], Outcome]]:
    """What was asked (model, data, item, norm, eps and so on) and its `Outcome`, answer by answer.

    Raises:
        InvalidInput: not a store, or no such job.
    """
    with translated(), Store(store) as opened:
        work.check_job(opened, job)
        for row in opened.rows(job):
            if row["verdict"] is not None:
                outcome = opened.outcome(row["key"])
                assert outcome is not None
                yield row, outcome


@speaks_of_arguments
def export(
    store: str | Path,
    out: str | Path,
    form: Literal["csv", "jsonl", "parquet", "vnncomp"] = "csv",
    *,
    job: str | None = None,
) -> int:
    """Write the answers of a store to a file; returns the number of rows.

    Raises:
        InvalidInput: no such job or format, no answers, or a file that cannot be written.
    """
    return work.export(store, Path(out), form, job, _say)


def _run(job: Any, store: str | Path, workers: Workers, progress: Progress) -> Ran:
    def hear(task: Any, found: Any) -> None:
        if callable(progress):
            stored = task.stored
            names = ("key", "kind", "model", "data", "item", "norm", "eps")
            progress({name: getattr(stored, name) for name in names}, found if isinstance(found, Outcome) else None)

    ran = work.run(job, Path(store), workers, progress=progress is True, listener=hear, say=_say)
    if ran.interrupted:
        raise KeyboardInterrupt
    return ran


def _say(text: str) -> None:
    warn(in_arguments(text))


def _folder(proofs: str | Path | None) -> Path | None:
    from ..places import writable_folder

    return None if proofs is None else writable_folder(Path(proofs), "proofs")

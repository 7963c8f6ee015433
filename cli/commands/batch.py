"""`advverify batch`: jobs of many queries, kept in a store, resumed after anything."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from advverify.verifier.errors import InvalidInput

from ..exports import FORMATS, export_rows
from ..options import COUNT, images_from, model_path, writable_folder
from ..report.summary import VERDICTS, Accidents
from ..table import Column, console, show

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.batch.job import Job
    from advverify.verifier.batch.run import Pool
    from advverify.verifier.batch.sources import Sources
    from advverify.verifier.batch.task import Task
    from advverify.verifier.outcome import Outcome
    from advverify.verifier.parallel.accident import Accident
    from advverify.verifier.store import Store

STORE = click.option(
    "--store", "store_path", type=click.Path(path_type=Path), default=Path("runs.sqlite"), show_default=True
)


@click.group("batch")
def command() -> None:
    """Jobs of many queries: models x data x norms x radii, or VNN-COMP folders."""


def workers(function: Any) -> Any:
    """Options of whatever runs a job."""
    for option in (
        click.option("--scheduler", default=None, help="Address of a Dask scheduler: tcp://host:8786."),
        click.option(
            "--proofs",
            type=click.Path(path_type=Path),
            default=None,
            help="Write a proof of each new answer to this folder.",
        ),
        click.option(
            "--memory",
            type=click.IntRange(0, 2**40),
            default=0,
            help="MiB of data a worker may hold [default: no limit].",
        ),
        click.option("--jobs", type=COUNT, default=None, help="Worker processes [default: one a core]."),
        click.option(
            "--retry",
            type=click.Choice(["accidents", "unknown", "all"]),
            default="accidents",
            show_default=True,
            help="What is asked again: queries that ended in an accident; those, unknown ones and open brackets; all.",
        ),
        STORE,
    ):
        function = option(function)
    return function


@command.command("run")
@click.argument("job_path", metavar="JOB", type=click.Path(path_type=Path))
@workers
@click.option("--dry-run", is_flag=True, help="Check the job, count its queries, and stop.")
def run(job_path: Path, store_path: Path, dry_run: bool, **options: Any) -> int:
    """Run the queries of JOB (a TOML file) that the store has no answer to.

    Exit status: 0 where all have one by now, 1 where accidents are left (see `status`), 130 where it was interrupted.
    """
    from advverify.verifier.batch.job import read_job

    return _run(read_job(job_path, sources()), store_path, dry_run, options)


@command.command("resume")
@click.argument("name", required=False)
@workers
def resume(name: str | None, store_path: Path, **options: Any) -> int:
    """Go on with the job NAME of a store (its only job where no name is given), from the text that the store keeps."""
    from advverify.verifier.batch.job import read_text
    from advverify.verifier.store import Store

    with Store(store_path) as store:
        jobs = {job["name"]: job for job in store.jobs()}
        started = {(r["model"]): r["model_sha256"] for r in store.rows(name)} if jobs else {}
    if name is None and len(jobs) == 1:
        name = next(iter(jobs))
    if name is None or name not in jobs:
        raise InvalidInput(f"{store_path}: name one of its jobs: {', '.join(sorted(jobs)) or 'it has none'}")
    job = read_text(jobs[name]["text"], name, Path(jobs[name]["folder"]), sources())
    for task in job.tasks:
        before = started.get(task.stored.model)
        if before is not None and before != task.stored.model_sha256:
            raise InvalidInput(
                f"{task.stored.model}: the file has changed since job {name} was started; run the job file again to take the "
                "new one"
            )
    return _run(job, store_path, False, options)


def _run(job: Job, store_path: Path, dry_run: bool, options: dict[str, Any]) -> int:
    from advverify.verifier.batch.run import estimate, open_tasks, with_more_time
    from advverify.verifier.store import Store

    jobs = options["jobs"]
    if options["proofs"] is not None:
        options["proofs"] = writable_folder(options["proofs"], "--proofs")
    if dry_run and not store_path.exists():
        tasks, total = list(job.tasks), len(job.tasks)
        click.echo(f"job {job.name}: {total} queries, about {_duration(estimate(tasks, jobs or os.cpu_count() or 1))}")
        return 0
    with Store(store_path, write=not dry_run) as store:
        tasks = open_tasks(store, job, options["proofs"], options["retry"])
        pool = None if dry_run else _pool(options)
        count = getattr(pool, "jobs", jobs or os.cpu_count() or 1)
        click.echo(
            f"job {job.name}: {len(job.tasks)} queries, {len(job.tasks) - len(tasks)} answered before, "
            f"{len(tasks)} to do, about {_duration(estimate(tasks, count))}",
            err=True,
        )
        more = with_more_time(store, job) if options["retry"] == "accidents" else 0
        if more:
            click.echo(f"note: {more} of them are open after less time: --retry unknown asks these again", err=True)
        if pool is None:
            return 0
        for folder in {task.request.settings.proofs for task in tasks}:
            if folder is not None:
                writable_folder(folder, "proofs")
        return _progress(store, job, tasks, pool)


def _progress(store: Store, job: Job, tasks: list[Task], pool: Pool) -> int:
    """Run with a progress line; Ctrl-C keeps what is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from advverify.verifier.batch.run import run_job

    counts = Counter[str]()
    accidents = Accidents(kept=0)
    began = time.perf_counter()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console(stderr=True), disable=not sys.stderr.isatty())
    with progress:
        bar = progress.add_task("starting", total=len(tasks))

        def hear(task: Task, found: Outcome | Accident) -> None:
            if isinstance(found, Exception):
                accidents.add(found.kind.value, found.message)
            else:
                counts[found.verdict.value] += 1
            done = counts.total() + accidents.count
            rate = done / (time.perf_counter() - began)
            share = 100 * counts["robust"] / max(counts.total(), 1)
            progress.update(bar, advance=1, description=f"{rate:.1f}/s, {share:.0f} % robust")

        try:
            run_job(store, job, tasks, pool, hear)
        except KeyboardInterrupt:
            progress.stop()
            click.echo(
                f"advverify: interrupted; {counts.total()} answers of this run are kept, run again to go on",
                err=True,
            )
            return 130
    seconds = time.perf_counter() - began
    shown = ", ".join(f"{counts[word]} {word}" for word in VERDICTS if counts[word])
    click.echo(f"job {job.name}: {shown or 'nothing answered' if tasks else 'nothing to do'}; {seconds:.1f} s")
    if not accidents.count:
        return 0
    for line in accidents.words:
        click.echo(f"advverify: {line}", err=True)
    click.echo("advverify: these queries have no answer; run again to ask them again", err=True)
    return 1


def _pool(options: dict[str, Any]) -> Pool:
    if options["scheduler"] is not None:
        if options["jobs"]:
            raise InvalidInput(
                "--jobs is for workers of this machine; with --scheduler set it where Dask's workers start"
            )
        from advverify.verifier.batch.dask_pool import DaskPool

        return DaskPool(
            options["scheduler"], options["memory"], lambda line: click.echo(f"advverify: {line}", err=True)
        )
    from advverify.verifier.batch.work import WORK
    from advverify.verifier.parallel.pool import ProcessPool

    return ProcessPool(WORK, options["jobs"] or os.cpu_count() or 1, options["memory"])


def sources() -> Sources:
    """Data sets and the zoo, for job files; every data set is loaded once."""
    from advverify.models.datasets import load_dataset
    from advverify.verifier.batch.sources import Sources

    loaded: dict[tuple[Any, ...], Dataset] = {}

    def data(name: str, valid: tuple[float, float], bytes_as: str | None) -> Dataset:
        key = name, valid, bytes_as
        if key not in loaded:
            loaded[key] = load_dataset(name, valid=valid, bytes_as=bytes_as)
            if loaded[key].note:
                click.echo(f"note: {loaded[key].note}", err=True)
        return loaded[key]

    def model(name: str, folder: Path) -> Path:
        return model_path(name if name.startswith("zoo:") else str(folder / name))

    return Sources(data, model, images_from)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@command.command("status")
@click.argument("store", required=False, type=click.Path(path_type=Path))
@STORE
def status(store: Path | None, store_path: Path) -> int:
    """Counts of every job of STORE (or --store); safe while a job runs."""
    from advverify.verifier.store import Store

    store_path = _one_store(store, store_path)
    with Store(store_path) as opened:
        jobs = opened.jobs()
        accidents = Accidents(kept=0)
        for row in opened.accidents():
            accidents.add(row["accident"], row["message"])
    screen, counted = console(), ("queries", "done", *VERDICTS, "accidents")
    columns = [Column("job", text=True), *map(Column, counted), Column("CPU time")]
    show(screen, columns, [[job["name"], *(str(job[n]) for n in counted), _duration(job["seconds"])] for job in jobs])
    for line in accidents.words:
        screen.print(f"{line}; asked again by the next run", markup=False)
    return 0


@command.command("export")
@click.argument("store", required=False, type=click.Path(path_type=Path))
@STORE
@click.option("--job", default=None, help="Only this job.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def export(store: Path | None, store_path: Path, job: str | None, form: str, out: Path) -> int:
    """Write the answers of STORE (or --store) as CSV, JSON lines, Parquet, or VNN-COMP's results.csv."""
    from advverify.verifier.store import Store

    store_path = _one_store(store, store_path)
    with Store(store_path) as opened:
        if job is not None and job not in {j["name"] for j in opened.jobs()}:
            raise InvalidInput(f"{store_path}: has no job '{job}'")
        rows = (row for row in opened.rows(job, outcomes=form == "jsonl") if row["verdict"] is not None)
        first = next(rows, None)
        if first is None:
            raise InvalidInput(f"{store_path}: holds no answers to export")
        count = export_rows(first, rows, form, out)
    click.echo(f"{count} rows written to {out}")
    return 0


def _one_store(argument: Path | None, option: Path) -> Path:
    """The store that is meant, by the argument or by --store.

    Raises:
        InvalidInput: both are given, and differ.
    """
    given = click.get_current_context().get_parameter_source("store_path") is not ParameterSource.DEFAULT
    if argument is not None and given and argument != option:
        raise InvalidInput(f"two stores are named, {argument} and --store {option}: name one")
    return option if argument is None else argument

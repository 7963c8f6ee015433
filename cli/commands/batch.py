"""`advverify batch`: jobs of many queries, kept in a store, resumed after anything."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from advverify.verifier.errors import InvalidInput

from ..exports import FORMATS
from ..help import Group
from ..options import COUNT, note, output_options
from ..places import writable_folder
from ..progress import duration
from ..report.summary import VERDICTS
from ..table import Column, console, show

if TYPE_CHECKING:
    from advverify.verifier.batch.job import Job

STORE = click.option(
    "--store",
    "store_path",
    type=click.Path(path_type=Path),
    default=Path("runs.sqlite"),
    show_default=True,
    metavar="FILE",
    help="The file that keeps questions and answers.",
)


@click.group("batch", cls=Group)
def command() -> None:
    """Jobs of many queries: models x data x norms x radii, or VNN-COMP folders."""


def workers(function: Any) -> Any:
    """Options of whatever runs a job."""
    for option in (
        output_options(rows="with the counts"),
        click.option(
            "--scheduler", default=None, metavar="ADDRESS", help="Address of a Dask scheduler: tcp://host:8786."
        ),
        click.option(
            "--proofs",
            type=click.Path(path_type=Path),
            default=None,
            metavar="DIR",
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
    from ..jobs import job_of

    return _run(job_of(job_path, partial(note, quiet=options["quiet"])), store_path, dry_run, options)


@command.command("resume")
@click.argument("name", required=False)
@workers
def resume(name: str | None, store_path: Path, **options: Any) -> int:
    """Go on with the job NAME of a store (its only job where no name is given), from the text that the store keeps."""
    from ..jobs import job_in

    return _run(job_in(store_path, name, partial(note, quiet=options["quiet"])), store_path, False, options)


def _run(job: Job, store_path: Path, dry_run: bool, options: dict[str, Any]) -> int:
    from ..jobs import Workers, plan
    from ..jobs import run as run_job

    as_json, quiet = options.pop("as_json"), options.pop("quiet")
    if options["proofs"] is not None:
        options["proofs"] = writable_folder(options["proofs"], "--proofs")
    who, say = Workers(**options), partial(note, quiet=quiet)

    def announce(before: int, todo: int, seconds: float) -> None:
        if not quiet:
            total = len(job.tasks)
            counts = f"{total} queries, {before} answered before, {todo} to do, at most {duration(seconds)}"
            click.echo(f"job {job.name}: {counts}", err=True)

    if dry_run:
        before, todo, seconds = plan(job, store_path, who, say)
        if as_json:
            record = {"schema": 1, "job": job.name, "queries": len(job.tasks), "before": before, "to_do": todo}
            click.echo(json.dumps(record | {"most_seconds": seconds}))
        elif store_path.exists():
            announce(before, todo, seconds)
        else:
            click.echo(f"job {job.name}: {len(job.tasks)} queries, at most {duration(seconds)}")
        return 0
    ran = run_job(job, store_path, who, announce, progress=not quiet, say=say)
    shown = ", ".join(f"{ran.verdicts[word]} {word}" for word in VERDICTS if ran.verdicts[word])
    if as_json:
        record = {"schema": 1, "job": ran.job, "queries": ran.queries, "before": ran.before, "left": ran.left}
        record |= {"verdicts": {word: ran.verdicts[word] for word in VERDICTS}, "seconds": ran.seconds}
        record |= {"accidents": [{"kind": kind, "message": text} for kind, text in ran.accidents]}
        click.echo(json.dumps(record | {"interrupted": ran.interrupted}))
    if ran.interrupted:
        click.echo(
            f"advverify: interrupted; {ran.verdicts.total()} answers of this run are kept, run again to go on", err=True
        )
        return 130
    if not as_json:
        nothing = "nothing answered" if ran.queries > ran.before else "nothing to do"
        click.echo(f"job {job.name}: {shown or nothing}; {ran.seconds:.1f} s")
    for why in ran.failed_proofs:
        click.echo(f"advverify: no proof: {why}", err=True)
    if not ran.accidents:
        return 1 if ran.failed_proofs else 0
    for line in ran.accidents_in_words:
        click.echo(f"advverify: {line}", err=True)
    click.echo("advverify: these queries have no answer; run again to ask them again", err=True)
    return 1


@command.command("status")
@click.argument("store", required=False, type=click.Path(path_type=Path))
@STORE
@output_options(rows="a job")
def status(store: Path | None, store_path: Path, as_json: bool, quiet: bool) -> int:
    """Counts of every job of STORE (or --store); safe while a job runs."""
    from ..jobs import status as read_status

    jobs, accidents = read_status(_one_store(store, store_path))
    counted = ("queries", "done", *VERDICTS, "accidents")
    if as_json:
        for job in jobs:
            record = {"schema": 1, "job": job["name"], **{name: job[name] for name in counted}}
            click.echo(json.dumps({**record, "seconds": job["seconds"]}))
        return 0
    screen = console()
    columns = [Column("job", text=True), *map(Column, counted), Column("wall time")]
    show(screen, columns, [[job["name"], *(str(job[n]) for n in counted), duration(job["seconds"])] for job in jobs])
    for line in accidents if not quiet else ():
        screen.print(f"{line}; asked again by the next run", markup=False)
    return 0


@command.command("export")
@click.argument("store", required=False, type=click.Path(path_type=Path))
@STORE
@click.option("--job", default=None, metavar="NAME", help="Only this job.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="csv", show_default=True, help="Of the file.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, metavar="FILE", help="The file to write.")
def export(store: Path | None, store_path: Path, job: str | None, form: str, out: Path) -> int:
    """Write the answers of STORE (or --store) as CSV, JSON lines, Parquet, or VNN-COMP's results.csv (verdicts alone)."""
    from ..jobs import export as write

    click.echo(f"{write(_one_store(store, store_path), out, form, job, note)} rows written to {out}")
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

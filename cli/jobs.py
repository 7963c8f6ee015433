"""The work of `batch`: jobs from files, texts or dictionaries, run on processes or a cluster, counted, and exported."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advverify.models.datasets import Dataset, load_dataset
from advverify.verifier.batch.job import Job, read_job, read_text
from advverify.verifier.batch.run import Listener, Retry, most_seconds, open_tasks, run_job, with_more_time
from advverify.verifier.batch.sources import Sources
from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.outcome import Outcome
from advverify.verifier.parallel.accident import Accident
from advverify.verifier.store import Store

from .exports import FORMATS, VNNCOMP_KINDS, export_rows
from .options import images_from, model_path, note
from .outcomes import failed_proofs
from .places import refuse_overwriting, writable_folder
from .progress import Progress
from .report.summary import Accidents

if TYPE_CHECKING:
    from advverify.verifier.batch.run import Answer, Pool
    from advverify.verifier.batch.task import Task

JobLike = str | Path | Mapping[str, Any]
RETRY: tuple[Retry, ...] = ("accidents", "unknown", "all")


@dataclass(frozen=True)
class Workers:
    """Who works on a job, by the names of the options.

    Attributes:
        jobs: processes of this machine; one a core where None.
        memory: MiB of data that each may hold; 0 does not limit it.
        scheduler: address of a Dask scheduler, whose workers take the place of `jobs`.
        proofs: folder for the proofs of new answers.
        retry: what is asked again: "accidents", "unknown" or "all".
    """

    jobs: int | None = None
    memory: int = 0
    scheduler: str | None = None
    proofs: Path | None = None
    retry: Retry = "accidents"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InvalidInput: names the option.
        """
        if self.retry not in RETRY:
            raise no_such("retry", str(self.retry), RETRY)
        for name, value, least in (("jobs", self.jobs, 1), ("memory", self.memory, 0)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise InvalidInput(f"{name} must be a whole number from {least}, got {value!r}")
        if self.scheduler is not None:
            if self.jobs:
                raise InvalidInput(
                    "jobs is for workers of this machine; with a scheduler set it where Dask's workers start"
                )

    @property
    def count(self) -> int:
        """Processes of this machine."""
        return self.jobs or os.cpu_count() or 1

    def pool(self, say: Callable[[str], None]) -> Pool:
        """The workers themselves; `say` hears about a cluster that has none.

        Raises:
            InvalidInput: there is no such scheduler.
        """
        if self.scheduler is not None:
            from advverify.verifier.batch.dask_pool import DaskPool

            return DaskPool(self.scheduler, self.memory, say)
        from advverify.verifier.batch.work import WORK
        from advverify.verifier.parallel.pool import ProcessPool

        return ProcessPool(WORK, self.count, self.memory)


@dataclass
class Ran:
    """What a run of a job came to.

    Attributes:
        job: its name.
        queries: of the job.
        before: how many had an answer before.
        verdicts: how many answers of this run there are of each verdict.
        accidents: kind and message of those that have no answer.
        failed_proofs: why robust answers have no proof, where writing or finding one came to an error.
        seconds: of this run.
        interrupted: whether Ctrl-C ended it; what was answered is kept.
    """

    job: str
    queries: int
    before: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    accidents: list[tuple[str, str]] = field(default_factory=list)
    failed_proofs: list[str] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def accidents_in_words(self) -> list[str]:
        """One line a kind of accident, with its most frequent message."""
        counted = Accidents(kept=0)
        for kind, message in self.accidents:
            counted.add(kind, message)
        return counted.words

    @property
    def left(self) -> int:
        """Queries that still have no answer."""
        return self.queries - self.before - self.verdicts.total()


def sources(say: Callable[[str], None] = note) -> Sources:
    """Data sets and the zoo, for job files; every data set is loaded once."""
    loaded: dict[tuple[Any, ...], Dataset] = {}

    def data(name: str, valid: tuple[float, float], bytes_as: str | None) -> Dataset:
        key = name, valid, bytes_as
        if key not in loaded:
            loaded[key] = load_dataset(name, valid=valid, bytes_as=bytes_as)
            if loaded[key].note:
                say(loaded[key].note)
        return loaded[key]

    def model(name: str, folder: Path) -> Path:
        return model_path(name if name.startswith("zoo:") else str(folder / name))

    return Sources(data, model, images_from)


def job_of(job: JobLike, say: Callable[[str], None] = note) -> Job:
    """A job from its file, or from a dictionary with the entries of one, whose paths start here.

    Raises:
        InvalidInput: anything in it that makes no sense, named.
    """
    if isinstance(job, Mapping):
        return read_text(toml_text(job), "job", Path.cwd(), sources(say))
    if not isinstance(job, str | Path):
        raise InvalidInput(f"job must be the path of a job file or a dictionary, got {type(job).__name__}")
    return read_job(job, sources(say))


def job_in(store: str | Path, name: str | None, say: Callable[[str], None] = note) -> Job:
    """A job of a store, from the text that is kept there; its only job where no name is given.

    Raises:
        InvalidInput: there is none of this name, or a network's file has changed since it was started.
    """
    with Store(store) as opened:
        jobs = {job["name"]: job for job in opened.jobs()}
        if name is None and len(jobs) == 1:
            name = next(iter(jobs))
        started = {} if name is None else {row["model"]: row["model_sha256"] for row in opened.rows(name)}
    if name is None or name not in jobs:
        raise InvalidInput(f"{store}: name one of its jobs: {', '.join(sorted(jobs)) or 'it has none'}")
    job = read_text(jobs[name]["text"], name, Path(jobs[name]["folder"]), sources(say))
    for task in job.tasks:
        before = started.get(task.stored.model)
        if before is not None and before != task.stored.model_sha256:
            raise InvalidInput(
                f"{task.stored.model}: the file has changed since job {name} was started; run the job file again to take the "
                "new one"
            )
    return job


def plan(job: Job, store: Path, workers: Workers, say: Callable[[str], None] = note) -> tuple[int, int, float]:
    """Queries answered before, queries to do, and how many seconds they take at most, without doing anything; `say` as in `run`."""
    if not store.exists():
        return 0, len(job.tasks), most_seconds(list(job.tasks), workers.count)
    with Store(store) as opened:
        tasks = open_tasks(opened, job, workers.proofs, workers.retry)
        _say_of_job(opened, job, workers, say)
    return len(job.tasks) - len(tasks), len(tasks), most_seconds(tasks, workers.count)


def run(
    job: Job,
    path: Path,
    workers: Workers,
    announce: Callable[[int, int, float], None] = lambda before, todo, seconds: None,
    progress: bool = False,
    listener: Listener | None = None,
    say: Callable[[str], None] = note,
) -> Ran:
    """Run the queries of a job that a store has no answer to; Ctrl-C ends it and keeps what is answered.

    Args:
        job: what is asked.
        path: of the store, which is made where there is none.
        workers: who works on it.
        announce: hears queries answered before, queries to do, and how many seconds they take at most.
        progress: whether a terminal shows how far it is.
        listener: hears every task with its outcome or accident.
        say: hears what a user should know of the store and the workers.

    Raises:
        InvalidInput: a folder or the store cannot be written, or there is no such scheduler.
    """
    with Store(path, write=True) as store:
        tasks = open_tasks(store, job, workers.proofs, workers.retry)
        _say_of_job(store, job, workers, say)
        pool = workers.pool(say)
        for folder in {task.request.settings.proofs for task in tasks}:
            if folder is not None:
                writable_folder(folder, "proofs")
        ran = Ran(job.name, len(job.tasks), len(job.tasks) - len(tasks))
        announce(ran.before, len(tasks), most_seconds(tasks, pool.jobs))
        limit = max((task.request.seconds for task in tasks), default=None)
        shown = Progress(
            len(tasks), "queries", limit=limit, jobs=pool.jobs, name=_name, quiet=not progress, word="bracket"
        )

        def hear(task: Task, found: Outcome | Accident) -> None:
            if isinstance(found, Exception):
                ran.accidents.append((found.kind.value, found.message))
                shown.settle(task)
            else:
                ran.verdicts[found.verdict.value] += 1
                ran.failed_proofs = sorted({*ran.failed_proofs, *failed_proofs([found])})
                shown.settle(task, found)
            if listener is not None:
                listener(task, found)

        began = time.perf_counter()
        try:
            with shown:
                run_job(store, job, tasks, _Heard(pool, shown), hear)
        except KeyboardInterrupt:
            ran.interrupted = True
        ran.seconds = time.perf_counter() - began
    return ran


def _say_of_job(store: Store, job: Job, workers: Workers, say: Callable[[str], None]) -> None:
    if job.repeated:
        say(f"{job.repeated} more queries of the job are the same as others of it, by content, and are asked once")
    more = with_more_time(store, job) if workers.retry == "accidents" else 0
    if more:
        say(f"{more} of them are open after less time: --retry unknown asks these again")


@dataclass(frozen=True)
class _Heard:
    """A pool whose workers are heard by a terminal too."""

    pool: Pool
    shown: Progress

    @property
    def jobs(self) -> int:
        """Tasks that are worked on at the same time."""
        return self.pool.jobs

    def run(self, groups: Sequence[Sequence[Task]], hear: Any = None) -> Iterator[Answer]:
        """See `Pool`."""

        def both(task: Task, events: Sequence[Any]) -> None:
            self.shown.hear(task, events[-1])
            if hear is not None:
                hear(task, events)

        return self.pool.run(groups, both)


def _name(task: Task) -> str:
    stored = task.stored
    norm = "" if stored.norm is None else f", norm {stored.norm}"
    return f"{stored.model}{norm}, {stored.item}"


def status(path: str | Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Counts of every job of a store, and a line a kind of accident.

    Raises:
        InvalidInput: not a store.
    """
    with Store(path) as store:
        accidents = Accidents(kept=0)
        for row in store.accidents():
            accidents.add(row["accident"], row["message"])
        return store.jobs(), accidents.words


def export(
    path: str | Path, out: Path, form: str = "csv", job: str | None = None, say: Callable[[str], None] = lambda _: None
) -> int:
    """Write the answers of a store to a file; returns the number of rows.

    `say` hears how many answers a format has no words for.

    Raises:
        InvalidInput: no such job or format, no answers, or a file that cannot be written.
    """
    if form not in FORMATS:
        raise no_such("format", form, FORMATS)
    refuse_overwriting(out, path)
    with Store(path) as store:
        check_job(store, job)
        answered = (row for row in store.rows(job, outcomes=form == "jsonl") if row["verdict"] is not None)
        left_out: Counter[str] = Counter()

        def worded(row: dict[str, Any]) -> bool:
            left_out[row["kind"]] += not (known := form != "vnncomp" or row["kind"] in VNNCOMP_KINDS)
            return known

        rows = filter(worded, answered)
        first = next(rows, None)
        if first is None:
            what = "verdicts of certify or verify" if left_out.total() else "answers"
            raise InvalidInput(f"{path}: holds no {what} to export")
        count = export_rows(first, rows, form, out)
        if left_out.total():
            kinds = ", ".join(f"{n} of {kind}" for kind, n in left_out.items() if n)
            say(
                f"{form} is a format of verdicts: left out are answers that are none ({kinds}); csv, jsonl and parquet take all"
            )
        return count


def check_job(store: Store, job: str | None) -> None:
    """Refuse the name of a job that a store does not have.

    Raises:
        InvalidInput: it has none of this name.
    """
    if job is not None and job not in {each["name"] for each in store.jobs()}:
        raise InvalidInput(f"{store.path}: has no job '{job}'")


def toml_text(table: Mapping[str, Any]) -> str:
    """A dictionary as TOML: plain entries first, then lists of tables.

    >>> print(toml_text({"timeout": 5, "queries": [{"models": ["zoo:digits-mlp"], "eps": [0.1]}]}))
    timeout = 5
    <BLANKLINE>
    [[queries]]
    models = ["zoo:digits-mlp"]
    eps = [0.1]
    <BLANKLINE>

    Raises:
        InvalidInput: a value that TOML does not have.
    """
    plain, tables = [], []
    for name, value in table.items():
        if _is_tables(value):
            for each in value:
                entries = "".join(f"{_key(key)} = {_value(key, entry)}\n" for key, entry in each.items())
                tables.append(f"\n[[{_key(name)}]]\n{entries}")
        else:
            plain.append(f"{_key(name)} = {_value(name, value)}\n")
    return "".join([*plain, *tables])


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(each, Mapping) for each in value)


def _key(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"the keys of a job are names, got {name!r}")
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else _text(name)


def _value(name: str, value: Any) -> str:
    if hasattr(value, "tolist"):  # numpy's numbers and arrays
        value = value.tolist()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    if isinstance(value, str | Path):
        return _text(str(value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(name, each) for each in value)}]"
    raise InvalidInput(f"{name}: a job has text, numbers, true or false and lists of them, got {type(value).__name__}")


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'

"""Accidents are no answers: they are kept apart, asked again, shown, and make the exit status 1."""

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, write_property

from advverify.cli import jobs as batch
from advverify.models.zoo import path_of
from advverify.verifier.batch import work
from advverify.verifier.batch.job import read_job, read_text
from advverify.verifier.batch.run import open_tasks, run_job
from advverify.verifier.batch.task import Task
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from advverify.verifier.parallel import pool as pools
from advverify.verifier.parallel.accident import Accident, AccidentKind
from advverify.verifier.parallel.pool import ProcessPool, Work
from advverify.verifier.parallel.worker import Duty, Tell
from advverify.verifier.request import Request
from advverify.verifier.specification import Threat
from advverify.verifier.store import Store, StoredQuery

EVENT = TraceEvent(0.01, 0.125, 0.5, "relu-split")


def ends_badly(task: Task, tell: Tell) -> Outcome:
    """The first image kills its worker, the second hangs, the third finds no file; all after a first bracket."""
    tell(EVENT)
    match int(task.stored.item):
        case 0:
            os._exit(1)
        case 1:
            time.sleep(60)
        case 2:
            raise Accident(AccidentKind.FILE, "nowhere.onnx: no such file")
        case 3:
            raise MemoryError
    return work.answer(task, tell)


JOB = """
name = "small"
timeout = 1
[[queries]]
models = ["zoo:digits-mlp"]
data = "digits"
images = "0:6"
eps = [0.02]
"""


@pytest.fixture
def misfortune(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every batch inside ends badly for the first four images."""
    monkeypatch.setattr(pools, "GRACE", 0.0)
    monkeypatch.setattr(work, "WORK", Work(Duty(ends_badly, work.prepare), work.limit))
    yield


@pytest.fixture
def job(tmp_path: Path) -> Path:
    path = tmp_path / "job.toml"
    path.write_text(JOB)
    return path


def accidents(store: Path) -> dict[str, tuple[str, int]]:
    with Store(store) as opened:
        return {row["item"]: (row["accident"], row["attempts"]) for row in opened.accidents()}


@pytest.mark.usefixtures("misfortune")
def test_accidents_are_kept_apart_shown_and_asked_again(
    job: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, page = tmp_path / "s.sqlite", tmp_path / "r.html"
    arguments = ("batch", "run", str(job), "--store", str(store), "--jobs", "2")
    first = run(*arguments)
    assert first.returncode == 1 and "1 accident, file: nowhere.onnx: no such file" in first.stderr
    kinds = {"0": ("killed", 2), "1": ("hung", 2), "2": ("file", 1), "3": ("memory", 2)}
    assert accidents(store) == kinds
    shown = run("batch", "status", "--store", str(store))
    assert "1 accident, hung: no answer within 1 s" in shown.stdout and "asked again" in shown.stdout
    assert run("report", str(store), "-o", str(page), "--text").returncode == 0
    text = page.read_text()
    assert "4 accidents" in text and "nowhere.onnx: no such file" in text and "0.125 … 0.5" in text
    with Store(store) as opened:
        assert opened.jobs()[0]["accidents"] == 4 and opened.jobs()[0]["done"] == 2
        assert [(row["lower"], row["upper"]) for row in opened.accidents()] == [(0.125, 0.5)] * 4
        assert all(row["verdict"] not in (None, "unknown") for row in opened.rows() if int(row["item"]) > 3)
    again = run(*arguments)
    assert again.returncode == 1 and "2 answered before, 4 to do" in again.stderr
    assert accidents(store) == {item: (kind, 2 * attempts) for item, (kind, attempts) in kinds.items()}
    monkeypatch.undo()
    last = run(*arguments)
    assert last.returncode == 0 and "2 answered before, 4 to do" in last.stderr and "accident" not in last.stderr
    assert accidents(store) == {}
    with Store(store) as opened:
        assert not [row for row in opened.rows() if row["verdict"] in (None, "unknown")]
        assert not any(opened.progress(row["key"]) for row in opened.rows())
    assert "accident," not in run("batch", "status", "--store", str(store)).stdout


@pytest.mark.usefixtures("misfortune")
def test_a_store_of_accidents_alone_is_reported(job: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    job.write_text(JOB.replace("0:6", "2"))
    assert run("batch", "run", str(job), "--store", str(store)).returncode == 1
    done = run("report", str(store), "--text")
    assert done.returncode == 2 and "no answers yet; 1 accident, file: nowhere.onnx" in done.stderr


class Scripted:
    """A pool that answers as it is told to, once what was told has been heard."""

    jobs = 1

    def __init__(self, answer: Callable[[Task], Outcome | Accident], then: Callable[[Task], None] = lambda task: None):
        self.answer, self.then = answer, then

    def run(self, groups: Sequence[Sequence[Task]], hear: Any = None) -> Iterator[tuple[Task, Outcome | Accident, int]]:
        for task in (task for group in groups for task in group):
            hear(task, [EVENT])
            yield task, self.answer(task), 1
            self.then(task)


def outcome(verdict: Verdict) -> Outcome:
    return Outcome(verdict, Bracket(0.1, 0.2, np.zeros(64)), Trust.SOLVER, "propagate", 0.01, (EVENT,))


def test_what_is_asked_again(job: Path, tmp_path: Path) -> None:
    """Accidents always, what is unknown and everything on request; an answer outlives a later accident."""
    asked = read_job(job, batch.sources())

    def answer(task: Task) -> Outcome | Accident:
        if task.stored.item in "01":
            return Accident(AccidentKind.KILLED, "gone")
        return outcome(Verdict.UNKNOWN if task.stored.item in "23" else Verdict.ROBUST)

    with Store(tmp_path / "s.sqlite", write=True) as store:
        assert run_job(store, asked, open_tasks(store, asked), Scripted(answer)) == 4

        def items(retry: Any) -> list[str]:
            return sorted(task.stored.item for task in open_tasks(store, asked, retry=retry))

        assert items("accidents") == ["0", "1"]
        assert items("unknown") == ["0", "1", "2", "3"]
        assert items("all") == ["0", "1", "2", "3", "4", "5"]
        worse = Scripted(lambda task: Accident(AccidentKind.KILLED, "gone"))
        assert run_job(store, asked, open_tasks(store, asked, retry="all"), worse) == 0
        assert items("accidents") == ["0", "1"] and store.jobs()[0]["accidents"] == 2
        better = Scripted(lambda task: outcome(Verdict.ROBUST))
        assert run_job(store, asked, open_tasks(store, asked, retry="all"), better) == 6
        assert store.jobs()[0]["robust"] == 6 and not list(store.accidents())


def test_more_time_is_for_what_is_open(job: Path, tmp_path: Path) -> None:
    """A raised time limit asks nothing again that is settled, and what is unknown only on request."""
    store = tmp_path / "s.sqlite"
    asked = read_job(job, batch.sources())
    script = Scripted(lambda task: outcome(Verdict.UNKNOWN if task.stored.item in "01" else Verdict.ROBUST))
    with Store(store, write=True) as opened:
        assert run_job(opened, asked, open_tasks(opened, asked), script) == 6
    job.write_text(JOB.replace("timeout = 1", "timeout = 20"))
    arguments = ("batch", "run", str(job), "--store", str(store))
    plain = run(*arguments)
    assert plain.returncode == 0 and "6 answered before, 0 to do" in plain.stderr
    assert "2 of them are open after less time: --retry unknown asks these again" in plain.stderr
    again = run(*arguments, "--retry", "unknown")
    assert again.returncode == 0 and "4 answered before, 2 to do" in again.stderr
    with Store(store) as opened:
        assert opened.jobs()[0]["queries"] == 6 and opened.jobs()[0]["unknown"] == 0
        limits = {row["item"]: json.loads(row["options"])["timeout"] for row in opened.rows()}
    assert limits == {item: 20 if item in "01" else 1 for item in "012345"}
    assert "open" not in run(*arguments).stderr


def test_status_takes_its_store_as_report_does(tmp_path: Path) -> None:
    (tmp_path / "a.sqlite").touch()
    path = str(tmp_path / "a.sqlite")
    assert {
        run("batch", "status", *words).stderr for words in ((path,), ("--store", path), (path, "--store", path))
    } == {f"advverify: {path}: an empty store; `advverify batch run JOB --store FILE` fills it\n"}
    two = run("batch", "status", path, "--store", "b.sqlite")
    assert two.returncode == 2 and "two stores are named" in two.stderr


def test_the_choice_is_an_option(job: Path, tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    arguments = ("batch", "run", str(job), "--store", str(store))
    assert run(*arguments).returncode == 0
    assert "6 to do" in run(*arguments, "--retry", "all", "--dry-run").stderr
    assert "0 to do" in run(*arguments, "--retry", "unknown", "--dry-run").stderr


def test_every_answer_is_in_the_store_before_the_next(job: Path, tmp_path: Path) -> None:
    """Another process sees each as soon as it is there, and what is told of those under way."""
    asked, path = read_job(job, batch.sources()), tmp_path / "s.sqlite"
    seen: list[tuple[int, int]] = []

    def look(task: Task) -> None:
        with Store(path) as reader:
            seen.append((reader.jobs()[0]["done"], len(list(reader.accidents()))))

    def answer(task: Task) -> Outcome | Accident:
        with Store(path) as reader:
            assert reader.progress(task.stored.key) == [EVENT]
        return Accident(AccidentKind.KILLED, "gone") if task.stored.item == "3" else outcome(Verdict.ROBUST)

    with Store(path, write=True) as store:
        run_job(store, asked, open_tasks(store, asked), Scripted(answer, look))
    assert [sum(pair) for pair in seen] == [1, 2, 3, 4, 5, 6] and seen[-1] == (5, 1)


# -- what workers make of what goes wrong ------------------------------------------------------------------------------


def deaf(message: Any) -> None:
    return None


def asked_of(path: Path, **changes: Any) -> Task:
    image = np.full(64, 0.5)
    request = Request("certify", str(path), "", Threat(eps=0.01), image, 0, settings=Settings(timeout=5.0))
    stored = StoredQuery("0" * 32, "certify", path.name, "", "digits", "0", "inf", 0.01, "{}", "0")
    return Task(stored, replace(request, **changes))


@pytest.mark.parametrize(
    ("content", "kind"),
    [(None, "file"), (b"no network", "refused"), ("zoo", "file")],
    ids=["gone", "broken", "changed"],
)
def test_models_that_are_not_what_was_asked_about(content: Any, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "n.onnx"
    if content is not None:
        path.write_bytes(path_of("digits-mlp").read_bytes() if content == "zoo" else content)
    for function in (lambda task: work.answer(task, deaf), work.prepare, lambda task: list(work.together([task] * 5))):
        with pytest.raises(Accident, match=r"n\.onnx") as caught:
            function(asked_of(path))
        assert caught.value.kind.value == kind


def test_a_property_that_changes_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(path_of("digits-mlp").read_bytes())
    prop = write_property(tmp_path / "p.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    (tmp_path / "instances.csv").write_text("n.onnx,p.vnnlib,20\n")
    (tmp_path / "job.toml").write_text("[[vnncomp]]\nfolder = '.'\n")
    (task,) = read_job(tmp_path / "job.toml", batch.sources()).tasks
    assert work.answer(task, deaf).verdict is Verdict.ROBUST
    write_property(prop, 0, 0.5, "(assert (>= Y_0 -1000))")
    with pytest.raises(Accident, match=r"p\.vnnlib: the file has changed"):
        work.answer(task, deaf)


@pytest.mark.parametrize(
    ("reason", "failures", "kind"),
    [
        ("no engine knows more to try: 9 of 9 targets open", 0, None),
        ("time limit of 5 s: 9 of 9 targets open; milp failed (RuntimeError: singular)", 1, None),
        ("no engine knows more to try: 9 of 9 targets open; milp failed (RuntimeError: singular)", 1, "failed"),
        ("time limit of 5 s: 9 of 9 targets open; crown failed (MemoryError: )", 1, "memory"),
        (
            "no engine knows: 9 open; crown failed (RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory)",
            1,
            "memory",
        ),
    ],
)
def test_an_unknown_that_engines_failed_to_settle(
    reason: str, failures: int, kind: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    statistics = {"failures": failures} if failures else {}
    unknown = replace(outcome(Verdict.UNKNOWN), reason=reason, statistics=statistics)
    monkeypatch.setattr(Request, "answer", lambda self, listener: unknown)
    if kind is None:
        assert work.answer(asked_of(Path("n.onnx")), deaf).reason == reason
        return
    with pytest.raises(Accident, match="failed") as caught:
        work.answer(asked_of(Path("n.onnx")), deaf)
    assert caught.value.kind.value == kind


def test_workers_tell_every_move_of_a_bracket(job: Path) -> None:
    (first, *_) = read_job(job, batch.sources()).tasks
    told: list[TraceEvent] = []
    answered = work.answer(first, told.append)
    assert tuple(told) == answered.trace and told


def test_an_accident_in_a_file_of_results_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`certify --jobs --out` keeps the same rule."""
    from advverify.verifier import answers

    def badly(request: Request, tell: Tell) -> Outcome:
        os._exit(7)

    out = tmp_path / "r.jsonl"
    arguments = ("distance", "zoo:digits-mlp", "--images", "0:2", "--jobs", "2", "--gap", "0.5", "--out", str(out))
    with monkeypatch.context() as patch:
        patch.setattr(answers, "_reply", badly)
        first = run(*arguments)
    assert first.returncode == 1 and "status 7" in first.stdout
    assert [json.loads(line)["accident"] for line in out.read_text().splitlines()] == ["killed"] * 2
    assert math.isinf(Outcome.from_json(out.read_text().splitlines()[0]).bracket.upper)
    second = run(*arguments)
    assert second.returncode == 0 and "already" not in second.stderr
    assert "2 of 2 images are in" in run(*arguments).stderr


def test_a_group_has_the_time_of_one_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that its hard limit is that of one: what is left of it is asked alone, with all of its time."""
    tasks = read_text(JOB.replace("timeout = 1", "timeout = 30"), "j", Path(), batch.sources()).tasks
    seen: list[float] = []

    def look(requests: Sequence[Request], rest: bool) -> Iterator[tuple[int, Outcome]]:
        seen.extend(request.settings.timeout for request in requests)
        yield 1, outcome(Verdict.ROBUST)

    monkeypatch.setattr(work, "answer_all", look)
    ((position, found),) = work.together(tasks)
    assert seen == [30.0 / 6] * 6 and position == 1 and found.labels["key"] == tasks[1].stored.key


def test_groups_go_to_workers_whole() -> None:
    """ProcessPool and WORK settle a group of images together: answers equal those of one by one."""
    asked = batch.sources()
    text = JOB.replace("0:6", "0:24").replace("timeout = 1", "timeout = 20").replace("[0.02]", "[0.05]")
    tasks = read_text(text, "j", Path(), asked).tasks
    together = {t.stored.key: o for t, o, _ in ProcessPool(work.WORK, 1).run([tasks])}
    one_by_one = {t.stored.key: o for t, o, _ in ProcessPool(work.WORK, 1).run([[task] for task in tasks])}
    assert together.keys() == one_by_one.keys() == {task.stored.key for task in tasks}
    for key, found in together.items():
        other = one_by_one[key]
        assert isinstance(found, Outcome) and isinstance(other, Outcome) and found.verdict is other.verdict
        assert found.labels["key"] == key and found.verdict is not Verdict.UNKNOWN

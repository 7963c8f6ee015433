"""advverify.batch: jobs as dictionaries and files, by the rules of the command line, and what is kept of them."""

import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st

import advverify
from advverify.cli.jobs import toml_text
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome

QUERIES = {"models": ["zoo:digits-mlp"], "data": "digits", "images": "0:3", "norms": ["inf"], "eps": [0.02]}
JOB: dict[str, Any] = {"name": "three", "timeout": 20, "queries": [QUERIES]}


def test_a_job_is_run_once(tmp_path: Path) -> None:
    store, heard = tmp_path / "runs.sqlite", list[tuple[dict[str, Any], Outcome | None]]()
    ran = advverify.batch.run(JOB, store, jobs=1, progress=lambda asked, outcome: heard.append((asked, outcome)))
    assert (ran.job, ran.queries, ran.before, ran.left) == ("three", 3, 0, 0)
    assert dict(ran.verdicts) == {"robust": 3} and not ran.accidents and not ran.interrupted
    assert sorted(asked["item"] for asked, _ in heard) == ["0", "1", "2"]
    again = advverify.batch.run(JOB, store, jobs=1)
    assert (again.before, again.verdicts.total()) == (3, 0)
    (job,) = advverify.batch.status(store)
    assert (job["name"], job["queries"], job["done"], job["robust"]) == ("three", 3, 3, 3)
    kept = list(advverify.batch.outcomes(store, "three"))
    assert [outcome.verdict.value for _, outcome in kept] == ["robust"] * 3 and kept[0][0]["eps"] == 0.02
    assert advverify.batch.resume(store, jobs=1).before == 3


def test_the_store_is_that_of_the_command_line(tmp_path: Path) -> None:
    store, job = tmp_path / "runs.sqlite", tmp_path / "job.toml"
    job.write_text(toml_text(JOB))
    assert run("batch", "run", str(job), "--store", str(store), "--jobs", "1", "--quiet").returncode == 0
    assert advverify.batch.run(JOB, store, jobs=1).before == 3
    assert advverify.batch.run(str(job), store, jobs=1).before == 3
    assert advverify.batch.export(store, tmp_path / "rows.csv") == 3
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 4
    report = advverify.report(store, tmp_path / "report.html", figures=tmp_path / "figures", against=store)
    assert (len(report.rows), report.unanswered, report.open, report.accidents) == (3, 0, [], [])
    assert report.changes is not None and report.changes["common"] == 3
    assert repr(report) == "<Report of runs.sqlite: 3 answers, 3 robust>" and ">3</td>" in report._repr_html_()
    assert "<html" in (tmp_path / "report.html").read_text() and (tmp_path / "figures" / "cactus.svg").is_file()
    gaps = advverify.gap(store, out=tmp_path / "gap.html", by="norm", query=1)
    assert gaps.rows()[0]["queries"] == 3 and gaps.rows()[0]["closed"] == 1 and len(gaps.asked) == 1
    assert "closed 100 % of 3" in repr(gaps) and (tmp_path / "gap.html").is_file()


@pytest.mark.parametrize(
    ("job", "options", "words"),
    [
        ({"queries": [{**QUERIES, "eps": [-1]}]}, {}, "eps"),
        ({"timeout": 5}, {}, "a job needs"),
        ({"queries": [{**QUERIES, "model": "x"}]}, {}, "has no key 'model'"),
        ({"queries": [{**QUERIES, "eps": None}]}, {}, "eps: a job has text, numbers, true or false and lists"),
        ({3: 4}, {}, "the keys of a job are names, got 3"),
        (5, {}, "job must be the path of a job file or a dictionary, got int"),
        ("nowhere.toml", {}, "nowhere.toml: cannot be read"),
        (JOB, {"jobs": 0}, "jobs must be a whole number from 1, got 0"),
        (JOB, {"memory": -1}, "memory must be a whole number from 0"),
        (JOB, {"retry": "none"}, "unknown retry 'none'"),
        (JOB, {"scheduler": "tcp://x:1", "jobs": 2}, "jobs is for workers of this machine; with a scheduler"),
    ],
)
def test_bad_arguments(job: Any, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=words):
        advverify.batch.run(job, tmp_path / "s.sqlite", **options)


def test_bad_stores(tmp_path: Path) -> None:
    advverify.batch.run(JOB, tmp_path / "s.sqlite", jobs=1)
    for call, words in (
        (lambda: advverify.batch.status(tmp_path / "none.sqlite"), "none.sqlite"),
        (lambda: advverify.batch.resume(tmp_path / "s.sqlite", "other"), "name one of its jobs: three"),
        (lambda: list(advverify.batch.outcomes(tmp_path / "s.sqlite", "other")), "has no job 'other'"),
        (lambda: advverify.batch.export(tmp_path / "s.sqlite", tmp_path / "x", "xml"), "unknown format 'xml'"),  # type: ignore[arg-type]
        (lambda: advverify.report(tmp_path / "s.sqlite", job="other"), "has no job 'other'"),
        (lambda: advverify.report(tmp_path / "s.sqlite", tmp_path / "no" / "r.html"), "^out "),
        (lambda: advverify.gap([]), "gap needs files"),
        (lambda: advverify.gap(tmp_path / "s.sqlite", by="colour"), "^by colour: no answer has it"),
        (lambda: advverify.gap(tmp_path / "s.sqlite", limit=0), "limit must be a number of seconds above 0"),
        (lambda: advverify.gap(tmp_path / "s.sqlite", query="77"), "^query 77: no such question"),
    ):
        with pytest.raises(InvalidInput, match=words):
            call()


VALUES = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), st.text(st.characters(codec="utf-8"))
)
KEYS = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, st.one_of(VALUES, st.lists(VALUES), st.lists(st.dictionaries(KEYS, VALUES), min_size=1))))
def test_a_dictionary_as_toml_is_the_dictionary(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text(table)) == table


def test_paths_and_arrays_are_entries_too() -> None:
    import numpy as np

    table = {"queries": [{"models": [Path("a.onnx")], "eps": np.array([0.5, math.inf]), "seed": np.int64(3)}]}
    assert tomllib.loads(toml_text(table)) == {"queries": [{"models": ["a.onnx"], "eps": [0.5, math.inf], "seed": 3}]}

"""The page of `advverify report`: what is open and why, one plot a norm, one meaning a colour."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import run

import advverify
from advverify.cli import reporting
from advverify.cli.report import summary
from advverify.cli.report.page import themed
from advverify.cli.report.store_figures import draw
from advverify.cli.report.thumbnails import difference

JOB = """
[[queries]]
models = ["zoo:digits-mlp"]
images = "0:3"
norms = ["inf", "2"]
distance = true
engines = ["falsify", "crown"]

[[queries]]
models = ["zoo:digits-mlp"]
images = "0:3"
norms = ["inf"]
eps = [0.02, 0.2]
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    (folder / "job.toml").write_text(JOB)
    path = folder / "runs.sqlite"
    done = run("batch", "run", str(folder / "job.toml"), "--store", str(path), "--jobs", "1")
    assert done.returncode == 0, done.stderr
    return path


def words(page: str) -> str:
    """What a reader sees, without data."""
    without = re.sub(r"<(style|script)[^>]*>.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
    return " ".join(without.split())


def test_the_page_says_what_is_open_and_why(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = run("report", str(store), "-o", str(out))
    assert done.returncode == 0, done.stderr
    page = out.read_text()
    text = words(page)
    assert "Of 6 verdicts 3 are proved robust, 3 are fooled by a counterexample; of 6 distances 0 are closed" in text
    assert "no engine knows more to try (6 of 6)" in text and "Why queries are open" in text
    assert "Distances: the hardest queries" in text and "Margins: the hardest queries" in text
    assert "CPU time is not measured" in text and "engines falsify, crown or all" in text and "advverify 0." in text
    assert page.count('alt="adversarial example"') >= 6  # the open distances have one, too
    assert "http" not in page.replace("http-equiv", "") and 'src="data:image/svg+xml' in page
    assert page.count("Norm inf: share") == page.count("Norm 2: share") == 2  # each is a figure's alt text and caption


def test_the_terminal_says_the_same(store: Path) -> None:
    done = run("report", str(store), "--text")
    assert done.returncode == 0 and "open: no engine knows more to try: 6" in done.stdout, done.stdout


def test_a_page_that_cannot_be_written_is_refused_before_the_drawing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from advverify.cli.report import store_page

    monkeypatch.setattr(store_page, "draw", lambda *_: pytest.fail("drawn"))
    for out in (tmp_path / "no" / "page.html", tmp_path):
        done = run("report", str(store), "-o", str(out))
        assert done.returncode == 2 and "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


def test_figures_are_one_a_norm_and_tell_sides_by_colour(store: Path, tmp_path: Path) -> None:
    names = [path.name for path, _ in draw(reporting.read(store).answers, tmp_path, (".png",))]
    assert names[:2] == ["curves-norm-inf.svg", "curves-norm-2.svg"]
    assert all((tmp_path / name).with_suffix(".png").is_file() for name in names)
    curve = (tmp_path / names[0]).read_text().lower()
    assert "#0072b2" in curve and "#d55e00" in curve and "#009e73" not in curve
    shown = themed(curve)
    assert "#000000" not in shown and "prefers-color-scheme:dark" in shown and shown.count("<svg") == 1


def test_verdicts_at_several_radii_are_a_curve(tmp_path: Path) -> None:
    """Of each network; the wall times of many questions are drawn by network."""
    models, radii = ["zoo:digits-mlp", "zoo:digits-conv"], [0.01, 0.03, 0.05, 0.08, 0.1]
    section = {"models": models, "data": "digits", "images": "0:6", "norms": ["inf"], "eps": radii}
    advverify.batch.run({"timeout": 5, "queries": [section]}, tmp_path / "s.sqlite", jobs=1)
    answers = reporting.read(tmp_path / "s.sqlite").answers
    drawn = dict((path.name, caption) for path, caption in draw(answers, tmp_path))
    assert "robust at each radius" in drawn["accuracy-norm-inf.svg"] and "by model;" in drawn["cactus.svg"]
    families = {question.family for question in answers.questions.values()}
    assert families == {f"{model}, norm inf" for model in models}
    for question in answers.questions.values():
        proved, left = question.accuracy
        assert 0 <= proved <= left <= 1 and round(6 * proved) == question.counts["robust"]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("time limit of 5 s: 3 of 9 targets open; relu-split handed over", "time limit of 5 s"),
        ("the margin's bracket is open (time limit of 5 s)", "the margin's bracket is open (time limit of 5 s)"),
        (
            "robust in exact arithmetic, but an execution of the file comes to a margin of -1e-09",
            "robust in exact arithmetic, but an execution of the file",
        ),
    ],
)
def test_reasons_lose_what_is_of_one_query_alone(reason: str, said: str) -> None:
    assert summary.reason_in_words(reason) == said


def row(**values: object) -> dict[str, object]:
    base = {
        "kind": "distance",
        "model": "m",
        "norm": "2",
        "eps": None,
        "options": json.dumps({"timeout": 2.5}),
        "item": "0",
        "version": "0.1.0",
        "finished": None,
    }
    known = {"verdict": "unknown", "lower": 0.1, "upper": 0.2, "trust": "solver", "engine": "crown", "seconds": 1.0}
    return {**base, **known, "reason": "time limit of 5 s: 3 of 9 targets open", **values}


def test_answers_in_a_sentence() -> None:
    rows = [row(), row(upper=None), row(verdict="adversarial", upper=0.1, reason="")]
    taken = summary.Summary(kept=10)
    for each in rows:
        taken.add(each)
    assert taken.answer == (
        "Of 3 distances 1 is closed to the gap that was asked for, 1 open with both sides known, 1 open without an adversarial "
        "example. Most frequent reason for what is open: time limit of 5 s (2 of 2)."
    )
    assert taken.shares[0]["bracket"] == (0.1, 0.2) and taken.shares[0]["found"] == 1
    assert taken.options_in_words == {"timeout": "2.5"}


def test_a_difference_has_its_scale() -> None:
    address, largest = difference(np.array([0.0, -0.25, 0.1, 0.0]), (1, 2, 2))
    assert largest == 0.25 and address.startswith("data:image/png;base64,")
    assert difference(np.zeros(4), (1, 2, 2))[1] == 0.0

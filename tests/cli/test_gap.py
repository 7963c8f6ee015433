"""`advverify gap` end to end, on answers that are made up and on real ones, and what it says of files that are no answers."""

import html
import json
import math
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import compare
from advverify.verifier.mip_record import MipRecord
from advverify.verifier.outcome import Outcome
from advverify.verifier.store import Store
from benchmarks.gap_report import made_up, write_store

COUNT = 40


def write(path: Path, seed: int, speed: float, formulation: str) -> Path:
    rng = np.random.default_rng(seed)
    with path.open("w") as file:
        for index in range(COUNT):
            outcome = made_up(rng, index, speed)
            mips = tuple(replace(record, formulation=formulation) for record in outcome.mips)
            file.write(replace(outcome, mips=mips).to_json() + "\n")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("gap")
    return [
        write(folder / "fast.jsonl", 1, 1.0, "asymmetric big-M"),
        write(folder / "slow.jsonl", 2, 0.1, "<b>symmetric</b> $big-M"),
    ]


def test_two_runs_and_their_page(files: list[Path], tmp_path: Path) -> None:
    page, figures = tmp_path / "gap.html", tmp_path / "figures"
    arguments = [str(file) for file in files]
    done = run("gap", *arguments, "-o", str(page), "--figures", str(figures), "--query", "7")
    assert done.returncode == 0, done.stderr
    assert "40 questions, 2 runs, limit 60 s" in done.stdout and "Root gap closed" in done.stdout
    assert "made-up, norm inf, distance, 7, run slow" in done.stdout
    text = page.read_text()
    assert text.count("data:image/svg+xml;base64") == 6 and "http" not in text.replace("http-equiv", "")
    assert {path.suffix for path in figures.iterdir()} == {".svg"} and len(list(figures.iterdir())) == 6
    grouped = run("gap", *arguments, "--by", "file", "--by", "formulation", "-o", str(page))
    assert grouped.returncode == 0 and "<b>" not in page.read_text(), grouped.stderr
    assert "slow, no MIP" in grouped.stdout and "fast, asymmetric big-M" in grouped.stdout


def test_its_numbers(files: list[Path]) -> None:
    comparison = compare([Source(file) for file in files])
    fast, slow = comparison.runs
    answers = [Outcome.from_json(line) for line in files[1].read_text().splitlines()]
    assert slow.closed == pytest.approx(np.mean([outcome.verdict.value != "unknown" for outcome in answers]))
    for each in (fast, slow):
        assert [each.closed, *each.below] == sorted([each.closed, *each.below]) and each.below[-1] <= 1
        assert each.mean_seconds <= each.par2 and each.primal_integral is not None and each.dual_integral is not None
        assert each.primal is not None and (np.diff(each.primal, axis=0) >= 0).all() and each.primal.shape[0] == 3
        assert list(each.root)[0] == "lp" and all(np.diff([shares[1] for shares in each.root.values()]) >= 0)
    assert fast.mean_seconds < slow.mean_seconds and fast.closed > slow.closed
    assert comparison.profile is not None and comparison.profile.questions == COUNT
    gaps = [left for _, _, left in comparison.hardest]
    assert (
        gaps == sorted(gaps, reverse=True) and gaps[0] > 0 and len({s.question for _, s, _ in comparison.hardest}) == 20
    )
    name, solve, _ = comparison.hardest[0]
    assert name == "slow" and solve.target.startswith("class ") and "nodes" in solve.target
    shorter = compare([Source(file) for file in files], limit=5.0)
    assert shorter.limit == 5 and shorter.runs[1].closed < slow.closed and shorter.runs[1].par2 <= 10


def test_real_answers_in_all_three_questions(tmp_path: Path) -> None:
    paths = []
    for name, *arguments in (
        ("distance", "distance", "zoo:digits-mlp"),
        ("margin", "certify", "zoo:digits-mlp", "--eps", "0.09", "--exact-margin"),
        ("verdict", "certify", "zoo:digits-mlp", "--eps", "0.09"),
    ):
        paths.append(tmp_path / f"{name}.jsonl")
        assert run(*arguments, "--images", "0:3", "--out", str(paths[-1])).returncode == 0
    comparison = compare([Source(path) for path in paths])
    distance, margin, verdict = comparison.runs
    assert (
        [run.closed for run in comparison.runs] == [1, 1, 1] and comparison.limit == 60 and comparison.profile is None
    )
    assert distance.dual_integral is not None and 0 < distance.dual_integral < 60
    assert margin.primal is not None and verdict.primal is None and verdict.dual_integral is None
    kinds = {solve.kind for solves in comparison.solves.values() for solve in solves.values()}
    assert kinds == {"distance", "margin", "verdict"}
    done = run("gap", *map(str, paths), "--by", "engines", "--by", "norm", "-o", str(tmp_path / "p.html"))
    assert done.returncode == 0 and "all engines, inf" in done.stdout
    old = tmp_path / "old.jsonl"  # as lines were before they said what was asked, and before there were records
    new = ("objective", "version", "timeout", "gap", "engines", "solver", "mips")
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    old.write_text("".join(json.dumps({k: v for k, v in line.items() if k not in new}) + "\n" for line in lines))
    (run_of_old,) = compare([Source(old)]).runs
    assert run_of_old.closed == 1 and run_of_old.queries == 9


def test_a_store_and_the_chapter_of_its_report(tmp_path: Path) -> None:
    store, page = tmp_path / "s.sqlite", tmp_path / "r.html"
    write_store(store, 30)
    done = run("gap", str(store), "--job", "made-up", "-o", str(page))
    assert done.returncode == 0 and "30 questions, 1 run, limit 60 s" in done.stdout, done.stderr
    assert run("report", str(store), "-o", str(page)).returncode == 0
    text = page.read_text()
    assert "How bounds converged" in text and "Root gap closed" in text and "image/svg+xml" in text
    assert "has no job 'other'" in run("gap", str(store), "--job", "other").stderr
    with Store(store) as opened:
        rows = sum(1 for row in opened.rows() if row["verdict"] is not None)
    assert rows == compare([Source(store)]).runs[0].queries == 30


def test_it_answers_without_torch(files: list[Path]) -> None:
    program = """
import sys
from advverify.cli.main import run
assert run(["gap", *sys.argv[1:]]) == 0
print(*sorted({"torch", "onnx", "scipy", "matplotlib", "jinja2"} & set(sys.modules)), file=sys.stderr)
"""
    command = [sys.executable, "-c", program, str(files[0])]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr.split() == []


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit(files: list[Path], monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from rich.console import Console

    monkeypatch.setattr("advverify.cli.commands.gap.console", lambda: Console(highlight=False, width=width))
    lines = run("gap", *map(str, files), "--query", "7").stdout.splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)


_RECORD = MipRecord(
    "class 1", "asymmetric", "highs", "1", 1, 1, 1, 1, 1.0, 0.0, 0.1, "optimal", 1.0, 1.0, 1.0
).to_dict()


def edited(change: Callable[[dict[str, Any]], Any]) -> Callable[[str], str]:
    def apply(line: str) -> str:
        record = json.loads(line)
        change(record)
        return json.dumps(record) + "\n"

    return apply


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda line: "", "the file is empty; give a file that"),
        (lambda line: "hello\n", "line 1 is no answer (not JSON); give a file that"),
        (lambda line: "[1]\n", "line 1 is no answer (a JSON list, not an object)"),
        (lambda line: '{"a": 1}\n', "written with schema None"),
        (lambda line: line + "hello\n" + line, "line 2 is no answer (not JSON); take the line out"),
        (edited(lambda record: record.update(lower=math.nan)), "it holds NaN"),
        (edited(lambda record: record.update(upper=math.inf)), "it holds Infinity"),
        (edited(lambda record: record.update(trace=[])), "none of its 1 answers has a trace; ask them again"),
        (
            edited(lambda record: record["trace"].reverse()),
            "line 1 makes no sense (the times of the trace are not in order)",
        ),
        (edited(lambda record: record.update(mips=[{}])), "line 1 is no answer (it has no"),
        (edited(lambda record: record.update(mips=[_RECORD | {"began": None}])), "line 1 is no answer (float()"),
        (edited(lambda record: record.update(mips=[_RECORD | {"target": [1]}])), "a program's target is not a text"),
        (edited(lambda record: record.update(seconds=10**400)), "line 1 is no answer (int too large"),
        (
            edited(lambda record: record.update(model="\ud800")),
            "line 1 is no answer (it holds half a character)",
        ),
        (lambda line: "[" * 100_000 + "\n", "line 1 is no answer (nested too deeply)"),
        (edited(lambda record: record.update(gap="much")), "line 1 makes no sense (could not convert"),
        (edited(lambda record: record.update(verdict="misclassified")), "holds misclassified images alone"),
    ],
)
def test_files_that_are_no_answers(
    files: list[Path], tmp_path: Path, content: Callable[[str], str], message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content(files[0].read_text().splitlines()[7] + "\n"))
    done = run("gap", str(path))
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_other_slips(files: list[Path], tmp_path: Path) -> None:
    other, cut = tmp_path / "other.sqlite", tmp_path / "cut.jsonl"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    good = str(files[0])
    for arguments, message in (
        ([str(other)], "an SQLite file of another program, which is left as it is; give a store"),
        (["nowhere.jsonl"], "no such file"),
        ([str(tmp_path)], "is a folder"),
        ([good, good], "given twice"),
        ([good, "--job", "j"], "has no jobs; leave --job out"),
        ([good, "--by", "colour"], "no answer has it; choose file, solver"),
        ([good, "--limit", "0"], "--limit must be a number of seconds above 0"),
        ([good, "--shift", "nan"], "--shift must be a number of seconds above 0"),
        ([good, "--query", "4000"], "no such question here"),
        ([good, "-o", "nowhere/p.html"], "cannot be written"),
    ):
        done = run("gap", *arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    cut.write_text(files[0].read_text()[:-200])
    done = run("gap", str(cut))
    assert done.returncode == 0 and "39 questions" in done.stdout and "the last line is cut short" in done.stderr


def test_the_last_answer_to_a_question_counts(files: list[Path], tmp_path: Path) -> None:
    twice = tmp_path / "twice.jsonl"
    twice.write_text(files[1].read_text() + files[0].read_text())
    done = run("gap", str(twice))
    assert "40 earlier answers" in done.stderr and done.returncode == 0
    (again,), (fast,) = compare([Source(twice)]).runs, compare([Source(files[0])]).runs
    assert again.queries == COUNT and again.par2 == fast.par2


MEASURE = """
<script>
const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
const shown = [...document.images].filter(i => i.complete && i.naturalWidth > 0).map(i => i.clientWidth);
const result = { wide, shown, images: document.images.length };
document.body.innerHTML = "";
const out = document.createElement("pre"); out.id = "result"; out.textContent = JSON.stringify(result);
document.body.append(out);
</script>
"""


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_in_a_browser(files: list[Path], tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    page = tmp_path / "g.html"
    assert run("gap", *map(str, files), "-o", str(page)).returncode == 0
    page.write_text(page.read_text().replace("</body>", MEASURE + "</body>"))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *options, f"--window-size={width},900", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = json.loads(html.unescape(shown.split('<pre id="result">')[1].split("</pre>")[0]))
    assert found["wide"] <= 0 and len(found["shown"]) == found["images"] >= 6
    assert min(found["shown"]) >= 330  # pixels, for letters that were drawn for 440

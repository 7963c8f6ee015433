"""`advverify gap` end to end, on answers that are made up and on real ones, and what it says of files that are no answers."""

import functools
import html
import json
import math
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from advverify.cli.table import share
from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import compare
from advverify.verifier.errors import InvalidInput
from advverify.verifier.mip_record import SOLVE, MipRecord
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
    done = run("gap", *arguments)
    assert "40 questions, 2 runs, limit 60 s" in done.stdout and "Root gap closed" in done.stdout
    assert "not in the root gap" not in done.stdout and "Hardest questions" in done.stdout
    assert re.search(
        r"(fast|slow) (closes most within 60 s|and (fast|slow) close as many)", " ".join(done.stdout.split())
    )
    done = run("gap", *arguments, "-o", str(page), "--figures", str(figures), "--query", "7")
    assert done.returncode == 0, done.stderr
    assert "made-up, norm inf, distance, 7, run slow" in done.stdout and "40 questions" not in done.stdout
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
    assert (
        name == "slow"
        and solve.hardest is not None
        and solve.hardest.target.startswith("class ")
        and solve.hardest.nodes
    )
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


def test_mips_without_a_root_bound_are_named(tmp_path: Path) -> None:
    """Trees over a margin have the bound of their first relaxation; those that search a ball for a distance have none."""
    paths = [tmp_path / "distance.jsonl", tmp_path / "margin.jsonl"]
    asked = ("zoo:digits-mlp", "--engines", "mip", "--images", "14")
    assert run("distance", *asked, "--out", str(paths[0])).returncode == 0
    assert run("certify", *asked, "--eps", "0.09", "--exact-margin", "--out", str(paths[1])).returncode == 0
    distance, margin = (compare([Source(path)]).runs[0] for path in paths)
    assert distance.effort[SOLVE].programs > distance.mips == 0
    assert margin.effort[SOLVE].programs == margin.mips > 0 and list(margin.root) == ["lp", "tree"]
    page = tmp_path / "gap.html"
    said = re.compile(r"distance: (\d+) of \1 MIPs? are not in the root gap")
    done = run("gap", str(paths[0]), "-o", str(page))
    assert said.search(done.stdout) and said.search(page.read_text()) and "Slowest questions, all closed" in done.stdout
    assert "not in the root gap" not in run("gap", str(paths[1])).stdout


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


def test_long_traces_are_kept_in_a_file_to_the_same_end(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    usual = compare([Source(file) for file in files])
    monkeypatch.setattr("advverify.verifier.convergence.spool._SHORT", 5)
    monkeypatch.setattr("advverify.verifier.convergence.runs._STEPS", 50)
    spooled = compare([Source(file) for file in files])
    kept = [solve.kept.here is None for solves in spooled.solves.values() for solve in solves.values()]
    assert 0 < sum(kept) < len(kept)
    for a, b in zip(usual.runs, spooled.runs, strict=True):
        assert a.below == b.below and a.mean_seconds == b.mean_seconds and a.dual_integral == b.dual_integral
        assert np.array_equal(a.gaps, b.gaps) and a.dual is not None and b.dual is not None
        assert np.array_equal(a.dual, b.dual)
    assert [solve.name for _, solve, _ in usual.hardest] == [solve.name for _, solve, _ in spooled.hardest]


def test_stores_that_hold_nothing_to_compare(tmp_path: Path) -> None:
    """An empty one, one whose queries have no answers yet, one whose answers have no traces, and one cut short."""
    empty, asked, bare, cut = (tmp_path / f"{name}.sqlite" for name in ("empty", "asked", "bare", "cut"))
    with Store(empty, write=True):
        pass
    write_store(bare, 5)
    shutil.copy(bare, asked)
    cut.write_bytes(bare.read_bytes()[:9000])
    with sqlite3.connect(asked) as connection:
        connection.execute("UPDATE queries SET verdict = NULL, outcome = NULL")
    connection.close()
    with sqlite3.connect(bare) as connection:
        for key, line in connection.execute("SELECT key, outcome FROM queries").fetchall():
            line = json.dumps(json.loads(line) | {"trace": []})
            connection.execute("UPDATE queries SET outcome = ? WHERE key = ?", (line, key))
    connection.close()
    for path, message in (
        (empty, "holds no answers of a search yet"),
        (asked, "holds no answers of a search yet"),
        (bare, "none of its 5 answers has a trace; ask them again"),
        (cut, "cut.sqlite: "),
    ):
        done = run("gap", str(path))
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1, done


@pytest.mark.parametrize("change", [{"seconds": -1}, {"lower": 2.0, "upper": 1.0}, {"trace": [1]}, {"schema": 0}])
def test_nonsense_in_a_store_is_refused_by_whoever_reads_it(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "s.sqlite"
    write_store(path, 3)
    with sqlite3.connect(path) as connection:
        for key, line in connection.execute("SELECT key, outcome FROM queries").fetchall():
            line = json.dumps(json.loads(line) | change)
            connection.execute("UPDATE queries SET outcome = ? WHERE key = ?", (line, key))
    connection.close()
    for command in ("gap", "report"):
        done = run(command, str(path), "-o", str(tmp_path / "p.html"))
        assert done.returncode == 2 and "cannot be read (" in done.stderr, done.stderr
        assert "ask it again in a new store" in done.stderr and len(done.stderr.strip().splitlines()) == 1


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
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run("gap", *map(str, files), "--by", "file,solver,model,norm", "--query", "7").stdout.splitlines()
    assert max(map(len, lines)) <= width and not any("…" in line for line in lines)


_RECORD = MipRecord(
    "class 1", "asymmetric", "highs", "1", 1, 1, 1, 1, 1.0, 0.0, 0.1, "optimal", primal=1.0, dual=1.0, proved=1.0
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
        (edited(lambda record: record.update(gap="much")), "line 1 makes no sense (its gap is 'much'"),
        (edited(lambda record: record.update(timeout=-1)), "its timeout is -1, which is no number from 0 on"),
        (edited(lambda record: record.update(seconds=-1)), "-1 s is no time from 0 on"),
        (edited(lambda record: record.update(seconds="3")), "'3' is no number"),
        (
            edited(lambda record: record["trace"][1].pop()),
            "an entry of its trace is not [seconds, lower, upper, engine]",
        ),
        (edited(lambda record: record.update(trace=["a", 1])), "an entry of its trace is not"),
        (
            edited(lambda record: record.update(lower=1e308, upper=-1e308)),
            "its lower side, 1e+308, is above its upper side, -1e+308); give a file",
        ),
        (edited(lambda record: record["trace"][1].__setitem__(1, 7.0)), "its lower side, 7, is above its upper side"),
        (edited(lambda record: record.update(objective=[])), "line 1 is no answer (unhashable"),
        (edited(lambda record: record.update(mips=[_RECORD | {"seconds": -1}])), "time 'seconds' is -1"),
        (edited(lambda record: record.update(mips=[_RECORD | {"nodes": -1}])), "a program's nodes are -1"),
        (edited(lambda record: record.update(mips=[_RECORD | {"rows": "x"}])), "a program's rows are not a whole"),
        (
            edited(lambda record: record.update(mips=[_RECORD | {"role": "x"}])),
            "none of solve, confirmation, relaxation",
        ),
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


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every value inside a record, of lists the first two."""
    yield from [path] if path else []
    inside = node.items() if isinstance(node, dict) else enumerate(node[:2]) if isinstance(node, list) else ()
    for key, value in inside:
        yield from places(value, (*path, key))


@pytest.mark.parametrize("value", [None, -1, -1e308, 1e308, 10**400, "x", [], {}, True, [[1]], "\ud800"], ids=repr)
def test_a_value_of_any_kind_at_any_place(files: list[Path], tmp_path: Path, value: object) -> None:
    """A line is read, or refused in one line; times and counts below 0 are refused wherever they are."""
    line = next(line for line in files[1].read_text().splitlines() if json.loads(line)["mips"])
    path, refused = tmp_path / "a.jsonl", 0
    for place in places(json.loads(line)):
        record = json.loads(line)
        *above, last = place
        functools.reduce(lambda node, key: node[key], above, record)[last] = value
        path.write_text(json.dumps(record) + "\n")
        try:
            compare([Source(path)])
        except InvalidInput as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
        else:
            counted = last in ("seconds", "timeout", "began", "nodes", "rows", "columns", "binaries", "gap")
            moment = last == 0 and len(place) == 3
            assert value not in (-1, -1e308) or not (counted or moment) or "statistics" in place, place
    assert refused > 10


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
        ([good, "--limit", "0"], "limit must be a number of seconds above 0"),
        ([good, "--shift", "nan"], "shift must be a number of seconds from 0 on"),
        ([good, "--shift", "-1"], "shift must be a number of seconds from 0 on"),
        ([good, "--by", "engines,,model"], "a name is empty; write engines,model"),
        ([good, "--by", "model,colour"], "--by colour: no answer has it; choose file"),
        ([good, "--query", "4000"], "no such question here"),
        ([good, "-o", "nowhere/p.html"], "cannot be written"),
    ):
        done = run("gap", *arguments)
        assert done.returncode == 2 and message in done.stderr, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    cut.write_text(files[0].read_text()[:-200])
    done = run("gap", str(cut))
    assert done.returncode == 0 and "39 questions" in done.stdout and "the last line is cut short" in done.stderr


def test_several_names_of_by_and_no_shift(files: list[Path], tmp_path: Path) -> None:
    several = run("gap", *map(str, files), "--by", "file,model")
    assert several.returncode == 0 and "fast, made-up" in several.stdout and several.stderr == ""
    assert several.stdout == run("gap", *map(str, files), "--by", "file", "--by", "model").stdout
    plain = run("gap", str(files[0]), "--shift", "0")
    assert plain.returncode == 0 and plain.stderr == ""
    at_once = tmp_path / "at-once.jsonl"
    answer = {"lower": 0.1, "upper": 0.1, "seconds": 0, "trace": [[0, 0.1, 0.1, "exact"]], "verdict": "adversarial"}
    at_once.write_text(edited(lambda record: record.update(answer))(files[0].read_text().splitlines()[0]))
    done = run("gap", str(at_once), "--shift", "0")
    assert done.returncode == 0 and "a time of 0 s makes a geometric mean 0" in done.stderr


def test_runs_are_compared_over_what_both_were_asked(files: list[Path], tmp_path: Path) -> None:
    """Whatever else a run was asked does not enter its numbers; where nothing is common a line says so."""
    part, rest = tmp_path / "part.jsonl", tmp_path / "rest.jsonl"
    lines = files[1].read_text().splitlines(keepends=True)
    part.write_text("".join(lines[:10]))
    rest.write_text("".join(lines[10:]))
    done = run("gap", str(files[1]), str(part))
    assert done.returncode == 0 and "40 questions (10 in every run), 2 runs" in done.stdout
    assert "10 of 40 questions were asked in every run; the runs' numbers are over these alone" in done.stderr
    whole, (alone,) = compare([Source(files[1]), Source(part)]), compare([Source(part)]).runs
    for each in whole.runs:
        assert each.queries == 10 and each.mean_seconds == alone.mean_seconds and each.below == alone.below
        assert each.effort == alone.effort and each.dual_integral == alone.dual_integral
    assert "no question was asked in every run" in run("gap", str(rest), str(part)).stderr
    assert "in every run" not in run("gap", *map(str, files)).stderr


def test_what_was_not_recorded_is_a_dash_and_small_shares_are_said_to_be(files: list[Path]) -> None:
    done = run("gap", str(files[0]))
    header, _, row = (line.strip("┃│ ") for line in done.stdout.split("Root gap closed by step")[1].splitlines()[2:5])
    assert re.split(r"[\s┃]+", header) == ["run", "MIPs", "tightened", "cuts", "tree"]
    assert "0 %" not in re.split(r"\s*│\s*", row) and len(re.split(r"\s*│\s*", row)) == 5
    assert not re.search(r"\de[-+]\d+ %", done.stdout)
    for value, words in ((0.0, "0 %"), (1e-13, "< 0.01 %"), (0.0123, "1.23 %"), (0.99999, "> 99.9 %"), (1.0, "100 %")):
        assert share(value) == words
    assert share(None) == share(math.nan) == "-"


def test_what_a_confirmation_proved_is_proved_of_its_target(files: list[Path], tmp_path: Path) -> None:
    """And a solver that was asked another question, so that its record has no values, leaves nothing open."""
    line = json.loads(files[0].read_text().splitlines()[0]) | {"lower": 1.0, "upper": 1.0}
    line["trace"] = [[0.1, 1.0, 1.0, "milp"]]
    solve = _RECORD | {"target": "class 1", "primal": None, "dual": None, "proved": None, "seconds": 2.0, "nodes": 5}
    other = _RECORD | {"target": "class 2", "proved": 0.25, "nodes": None}
    confirmation = solve | {"role": "confirmation", "proved": 1.0, "seconds": 1.0, "nodes": 7}
    path = tmp_path / "one.jsonl"
    for records, words in (
        ([solve, other], "class 1: 100 % left, 2 s, 5 nodes"),
        ([solve, confirmation, other], "class 2: 75 % left, 0.1 s"),
        ([solve, confirmation], "class 1: closed, 3 s, 5 nodes"),
    ):
        path.write_text(json.dumps(line | {"mips": records}) + "\n")
        assert words in run("gap", str(path)).stdout


def test_queries_without_a_program_are_counted_by_what_settled_them(files: list[Path]) -> None:
    done = run("gap", str(files[0]))
    answers = [Outcome.from_json(line) for line in files[0].read_text().splitlines()]
    without = sum(not answer.mips for answer in answers)
    assert 0 < without < COUNT
    assert f"no program was solved for {without} of 40 queries: milp settled {without}" in " ".join(done.stdout.split())


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

"""Cells that a spreadsheet would run are text in CSV files; numbers stay numbers."""

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
from advverify.verifier.store import Store, StoredQuery


@pytest.mark.parametrize("form", ["csv", "vnncomp"])
@pytest.mark.parametrize(
    ("evil", "text"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1+1", "'-1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "\\t=1"),
        ("\r=1", "\\r=1"),
        ("a\n=1", "a\\n=1"),
        ('a",=1', 'a",=1'),
    ],
)
def test_formulas_are_text(evil: str, text: str, form: str, tmp_path: Path) -> None:
    stored = StoredQuery("0" * 32, "verify", evil, "ab", evil, evil, "inf", 0.1, "{}", "0")
    outcome = Outcome(Verdict.UNKNOWN, Bracket(-0.5, 0.25, np.zeros(4)), Trust.SOLVER, "crown", 0.5, reason=evil)
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "t", ".", [stored])
        store.finish([(stored.key, outcome, 1)])
    out = tmp_path / "out.csv"
    arguments = ("--store", str(tmp_path / "s.sqlite"), "--format", form, "-o", str(out))
    assert run("batch", "export", *arguments).returncode == 0
    with out.open(newline="") as stream:
        rows = list(csv.reader(stream))
    cells = [cell for row in rows for cell in row]
    assert cells.count(text) == (4 if form == "csv" else 3) and len(rows) == (2 if form == "csv" else 1)
    assert form == "vnncomp" or "-0.5" in cells


def test_every_question_of_vnncomp_has_a_name_of_its_own(tmp_path: Path) -> None:
    """Two radii and two targets of one image are four questions; a distance is none that its results have a word for."""
    threats = [
        ("certify", 0.1, "{}"),
        ("certify", 0.2, "{}"),
        ("certify", 0.1, '{"target": 3}'),
        ("distance", 0.1, "{}"),
    ]
    stored = [
        StoredQuery(f"{k}" * 32, kind, "m", "ab", "d", "0", "inf", eps, o, "0")
        for k, (kind, eps, o) in enumerate(threats)
    ]
    outcome = Outcome(Verdict.ROBUST, Bracket(0.5, 0.75), Trust.SOLVER, "crown", 0.5)
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "t", ".", stored)
        store.finish([(each.key, outcome, 1) for each in stored])
    arguments = ("--store", str(tmp_path / "s.sqlite"), "--format", "vnncomp", "-o", str(tmp_path / "out.csv"))
    done = run("batch", "export", *arguments)
    assert done.returncode == 0 and "1 of distance" in done.stderr and "3 rows" in done.stdout
    with (tmp_path / "out.csv").open(newline="") as stream:
        assert len({tuple(row[:3]) for row in csv.reader(stream)}) == 3


def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    """Peak memory of an export of 20 times as many rows."""
    from advverify.cli.exports import FORMATS, export_rows

    outcome = Outcome(Verdict.ROBUST, Bracket(0.1, 0.2, np.zeros(4)), Trust.SOLVER, "crown", 0.5).to_json()
    row = {
        "key": "0" * 32,
        "kind": "verify",
        "data": "d",
        "model": "m",
        "item": "0",
        "verdict": "robust",
        "reason": "",
        "seconds": 0.5,
    }

    def peak(form: str, count: int) -> int:
        rows = ({**row, "seconds": float(k), **({"outcome": outcome} if form == "jsonl" else {})} for k in range(count))
        tracemalloc.start()
        try:
            assert export_rows(next(rows), rows, form, tmp_path / "out") == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    for form in FORMATS:
        if form != "parquet":
            assert peak(form, 20_000) < 1.5 * peak(form, 1_000) + 200_000
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_parquet_has_numbers_where_csv_has_them(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    stored = [StoredQuery(f"{k:032x}", "distance", "m", "ab", "d", str(k), "2", None, "{}", "0") for k in range(3)]
    outcome = Outcome(Verdict.ADVERSARIAL, Bracket(0.5, 0.75, np.zeros(4)), Trust.SOLVER, "milp", 1.5)
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "t", ".", stored)
        store.finish((each.key, outcome, 2) for each in stored)
    out = tmp_path / "out.parquet"
    arguments = ("--store", str(tmp_path / "s.sqlite"), "--format", "parquet", "-o", str(out))
    assert run("batch", "export", *arguments).returncode == 0
    table = parquet.read_table(out).to_pylist()
    assert [(row["item"], row["lower"], row["upper"], row["attempts"], row["eps"]) for row in table] == [
        (str(k), 0.5, 0.75, 2, None) for k in range(3)
    ]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    stored = StoredQuery("0" * 32, "certify", "m", "ab", "d", "0", "inf", 0.1, "{}", "0")
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "t", ".", [stored])
    arguments = ("batch", "export", "--store", str(tmp_path / "s.sqlite"), "-o", str(tmp_path / "no" / "out.csv"))
    nothing = run(*arguments)
    assert nothing.returncode == 2 and "holds no answers to export" in nothing.stderr
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.finish([(stored.key, Outcome(Verdict.ROBUST, Bracket(0, 1), Trust.SOLVER, "crown", 0.5), 1)])
    done = run(*arguments)
    assert done.returncode == 2 and "out.csv: cannot be written (No such file or directory)" in done.stderr


def test_what_is_no_plain_file_is_written_in_place(tmp_path: Path) -> None:
    stored = StoredQuery("0" * 32, "certify", "m", "ab", "d", "0", "inf", 0.1, "{}", "0")
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "t", ".", [stored])
        store.finish([(stored.key, Outcome(Verdict.ROBUST, Bracket(0, 1), Trust.SOLVER, "crown", 0.5), 1)])
    link, end = tmp_path / "link.csv", tmp_path / "end.csv"
    link.symlink_to(end)
    for out in (link, Path("/dev/null")):
        assert run("batch", "export", "--store", str(tmp_path / "s.sqlite"), "-o", str(out)).returncode == 0
    assert link.is_symlink() and len(end.read_text().splitlines()) == 2 and Path("/dev/null").is_char_device()

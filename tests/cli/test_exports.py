"""Cells that a spreadsheet would run are text in CSV files; numbers stay numbers."""

import csv
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
    stored = StoredQuery("0" * 32, "certify", evil, "ab", evil, evil, "inf", 0.1, "{}", "0")
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

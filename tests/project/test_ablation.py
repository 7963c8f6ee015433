"""`python -m benchmarks ablation`: its rows agree with each other, a cut run goes on where it stopped, and tables say what rows say."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks.ablation import command
from benchmarks.ablation.tables import best_known, contradictions, tables
from benchmarks.ablation.variants import TOO_LARGE

FORMS = "asymmetric,asymmetric + LP bounds"


def ask(out: Path, *more: str, network: str = "digits-mlp") -> Result:
    options = [
        "--network",
        network,
        "digits",
        "--images",
        "1",
        "--variants",
        FORMS,
        "--timeout",
        "30",
        "--out",
        str(out),
    ]
    return CliRunner().invoke(command, [*options, *more])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ablation") / "rows.jsonl"
    assert ask(out).exit_code == 0
    return out


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_both_formulations_come_to_one_optimum(kept: Path) -> None:
    question, *solves = rows_of(kept)
    assert question["kind"] == "question" and len(solves) == 2
    assert all(row["solved"] and not row["infeasible"] for row in solves)
    first, second = (row["objective"] for row in solves)
    assert first == pytest.approx(second, rel=1e-3) and first <= question["radius"] * (1 + 1e-6)
    assert all(row["lp"] <= first * (1 + 1e-6) for row in solves)
    assert solves[1]["binaries"] <= solves[0]["binaries"] > 0


def test_a_cut_run_goes_on(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:2]) + lines[2][:40])
    again = ask(out)
    assert again.exit_code == 0 and "cut short" in again.stderr
    assert "asymmetric, highs" not in again.stderr and "asymmetric + LP bounds, highs" in again.stderr
    assert out.read_text().startswith("".join(lines[:2])) and len(rows_of(out)) == 3
    assert ask(out).stderr == "" and len(rows_of(out)) == 3


def test_tables_of_rows_alone(kept: Path) -> None:
    shown = ask(kept, "--show")
    assert shown.exit_code == 0 and shown.stderr == ""
    assert "| asymmetric | 1/1 |" in shown.output and "No two answers contradict" in shown.output
    assert max(map(len, shown.output.splitlines())) <= 100


def test_what_is_not_there_is_skipped_in_one_line(tmp_path: Path) -> None:
    for arguments in ({"network": "nowhere.onnx"}, {"network": str(tmp_path)}):
        done = ask(tmp_path / "rows.jsonl", **arguments)
        assert done.exit_code == 0 and done.stderr.count("\n") == 1 and done.stderr.startswith("skipped")
        assert "no rows yet" in done.output


def test_refusals(kept: Path, tmp_path: Path) -> None:
    assert "no formulation 'nonsense'" in ask(tmp_path / "a", "--variants", "symmetric, all binaries,nonsense").output
    assert "no solver 'nonsense'" in ask(tmp_path / "a", "--solvers", "nonsense").output
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{}\n" + kept.read_text())
    assert "line 1 is no row" in ask(broken).output


def test_programs_that_are_too_large_count_as_open(tmp_path: Path) -> None:
    done = ask(tmp_path / "rows.jsonl", "--nonzeros", "10")
    assert "asymmetric: 1 programs were too large" in done.output and "| asymmetric | 0/1 | 30.00 |" in done.output
    assert {row["status"] for row in rows_of(tmp_path / "rows.jsonl")[1:]} == {TOO_LARGE}


def test_contradictions_are_named(kept: Path) -> None:
    _, first, second = rows_of(kept)
    higher = {**first, "objective": 1.01 * first["objective"], "radius": 2.0}
    (line,) = contradictions([higher, second])
    assert line.startswith("image ") and "highs, asymmetric says" in line
    none = {**first, "infeasible": True, "objective": None, "radius": 2.0}
    assert "says no point" in contradictions([none, second])[0] and "says no point" in tables([none, second])
    assert not contradictions([{**higher, "solved": False}, second])  # a bound of the best point, no claim
    assert best_known([none, second]) == {first["index"]: second["objective"]}

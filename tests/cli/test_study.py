"""`advverify study` from end to end: in pieces, after a kill, and what it refuses."""

import json
from pathlib import Path

import pytest
from command_line import run

SWEEP = """
name = "tiny"
seeds = 2
[measure]
images = "0:3"
timeout = 5.0
[base.architecture]
name = "mlp"
inputs = 64
hidden = [8]
outputs = 10
[base.data]
limit = 200
[base.training]
epochs = 2
[factors]
training.batch = [64, 16]
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    (tmp_path / "sweep.toml").write_text(SWEEP)
    return tmp_path / "sweep.toml"


def test_a_study_in_pieces_is_the_study_in_one(sweep: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = run("study", str(sweep), "--out", str(whole))
    assert done.returncode == 0, done.stderr
    assert {"runs.jsonl", "brackets.jsonl", "study.json", "effects.png", "README.md"} <= {
        p.name for p in whole.iterdir()
    }
    first = run("study", str(sweep), "--out", str(parts), "--minutes", "1e-9")
    assert first.returncode == 0 and "4 runs are left" in first.stdout or "runs are left" in first.stdout
    (parts / "runs.jsonl").write_text("".join((whole / "runs.jsonl").read_text().splitlines(True)[:2]) + '{"key": "cu')
    assert run("study", str(sweep), "--out", str(parts)).returncode == 0
    numbers = [json.loads((folder / "study.json").read_text()) for folder in (whole, parts)]
    for record in numbers:
        for network in record["networks"]:
            network.pop("seconds")
    assert numbers[0]["effects"] == numbers[1]["effects"] and numbers[0]["networks"] == numbers[1]["networks"]
    assert len((parts / "runs.jsonl").read_text().splitlines()) == 4
    assert numbers[0]["runs"] == {"done": 4, "planned": 4}
    assert {(e["factor"], e["level"], e["runs"]) for e in numbers[0]["effects"]} == {
        *(("training.batch", "64", 2), ("training.batch", "16", 2))
    }
    again = run("study", str(sweep), "--out", str(whole))
    assert again.returncode == 0 and again.stderr == ""  # nothing is run twice


def test_what_is_refused_before_anything_is_trained(sweep: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = [
        (SWEEP.replace("[64, 16]", "[64, 0]"), [], "with training.batch = 0"),
        (SWEEP.replace("0:3", "0:9999"), [], "[measure] images 0:9999"),
        (SWEEP.replace("seeds", "seed"), [], "no key 'seed'"),
        (SWEEP, ["--data", "mnist:DIR"], "are trained on digits"),
        (SWEEP, ["--minutes", "0"], "--minutes must be above 0"),
    ]
    for text, more, message in cases:
        sweep.write_text(text)
        done = run("study", str(sweep), "--out", str(out), *more)
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
        assert not list(out.rglob("*.onnx"))
    sweep.write_text(SWEEP)
    out.mkdir(exist_ok=True)
    (out / "runs.jsonl").write_text("no runs\n")
    done = run("study", str(sweep), "--out", str(out))
    assert done.returncode == 2 and "something other than the runs" in done.stderr

"""`advverify show`: one kept answer, looked up by whatever one calls it, with its proof checked afresh."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import run

from advverify.cli.report.query_facts import in_words
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("show")
    arguments = [
        "zoo:digits-mlp",
        "--images",
        "0:2",
        "--proofs",
        str(folder / "proofs"),
        "--out",
        str(folder / "r.jsonl"),
    ]
    assert run("distance", *arguments).returncode == 0
    return folder / "r.jsonl"


def words(text: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split())


def test_a_query_from_its_answer_to_its_proof(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = run("show", str(kept), "1", "-o", str(out))
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert (
        "zoo:digits-mlp, norm inf, distance, 1" in said and "The nearest adversarial example is between 0.0888" in said
    )
    assert "checked just now, valid: no input of the box" in said and "nodes of LP trees" in said
    page = words(out.read_text())
    assert "Image 1, label 9" in page and "Adversarial example: class 5" in page and "values change" in page
    assert "The bracket over time" in page and "checked just now, valid" in page and "nothing below the cut-off" in page
    assert "http" not in out.read_text().replace("http-equiv", "")


def test_a_page_is_written_although_nobody_reads_the_text(kept: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    program = [sys.executable, "-m", "advverify", "show", str(kept), "1", "-o", str(out)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
    assert "</html>" in out.read_text()


def test_names_by_which_an_answer_is_found(kept: Path) -> None:
    key = json.loads(kept.read_text().splitlines()[1])["key"]
    for name in ("1", key, key[:8], "norm inf, distance, 1"):
        assert "distance, 1\n" in run("show", str(kept), name).stdout, name
    several = run("show", str(kept))
    assert several.returncode == 2 and "holds 2 answers that this may mean; say which: zoo:digits-mlp" in several.stderr
    nothing = run("show", str(kept), "77")
    assert nothing.returncode == 2 and "no answer to '77'; give an image's index" in nothing.stderr
    away = run("show", str(kept.with_name("no.jsonl")), "1")
    assert away.returncode == 2 and "no such file" in away.stderr


def test_what_is_no_longer_there_is_said(kept: Path, tmp_path: Path) -> None:
    record = json.loads(kept.read_text().splitlines()[0])
    changed = tmp_path / "changed.jsonl"
    changed.write_text(json.dumps(record | {"model_sha256": "0" * 64, "proof": str(tmp_path / "gone.proof")}) + "\n")
    done = run("show", str(changed))
    assert done.returncode == 0 and "has changed since, so that nothing is executed" in done.stderr
    assert "without the model's file it cannot be checked" in " ".join(done.stdout.split())
    changed.write_text(json.dumps(record | {"proof": str(tmp_path / "gone.proof")}) + "\n")
    assert "is not there any more" in run("show", str(changed)).stdout
    (tmp_path / "bad.proof").write_bytes(b"no zip")
    changed.write_text(json.dumps(record | {"proof": str(tmp_path / "bad.proof")}) + "\n")
    assert "is not valid" in " ".join(run("show", str(changed)).stdout.split())


@pytest.mark.parametrize(
    ("verdict", "low", "high", "kind", "said", "is_open"),
    [
        (
            "unknown",
            -math.inf,
            math.inf,
            "distance",
            "nothing is proved of the distance, and none has been found.",
            True,
        ),
        ("unknown", 0.1, 0.2, "distance", "no adversarial example is nearer than 0.1, and one is known at 0.2", True),
        ("robust", math.inf, math.inf, "distance", "there is no adversarial example within the valid range", False),
        ("adversarial", 0.2, 0.2, "distance", "between 0.2 and 0.2 away", False),
        ("misclassified", 0.0, 0.0, "distance", "Misclassified as class 4 without any change", False),
        ("robust", 0.5, 0.6, "verdict", "the margin lies between 0.5 and 0.6", False),
        ("adversarial", -2.0, -1.0, "verdict", "Not robust: an adversarial example is known", False),
        ("unknown", -2.0, 1.0, "verdict", "Unknown (solver, crown): time limit of 1 s", True),
    ],
)
def test_answers_in_words(verdict: str, low: float, high: float, kind: str, said: str, is_open: bool) -> None:
    reason = "time limit of 1 s" if verdict == "unknown" else ""
    outcome = Outcome(Verdict(verdict), Bracket(low, high), Trust.SOLVER, "crown", 1.0, reason=reason)
    sentence, left = in_words(kind, outcome, {"norm": "inf", "prediction": 4})
    assert said in sentence and left == is_open

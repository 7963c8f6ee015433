"""What a report counts of rows taken in one at a time is what counting all of them at once gives."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from advverify.cli import reporting
from advverify.cli.report import summary
from advverify.cli.report.summary import Accidents, Summary, changes, settled
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from advverify.verifier.store import Store, StoredQuery

OPTIONS = json.dumps({"gap": 0.01, "timeout": 5})


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    found = []
    for k in range(count):
        verdict = rng.choice(["adversarial", "unknown", "misclassified"])
        lower = rng.uniform(0, 0.1)
        upper = None if verdict == "unknown" else lower + rng.choice([0.0, 0.1])
        row: dict[str, Any] = {
            "kind": "distance",
            "model": f"m{k % 3}",
            "model_sha256": str(k % 3),
            "data": "digits",
            "item": str(k),
        }
        row |= {"norm": "inf", "eps": None, "options": OPTIONS, "verdict": verdict, "lower": lower, "upper": upper}
        row |= {"version": "0.1.0", "finished": 1.7e9 + k, "reason": "time limit" if verdict == "unknown" else ""}
        found.append(row | {"trust": "checked", "engine": rng.choice("ab"), "seconds": rng.uniform(0, 5)})
    return found


def test_shares_engines_and_the_hardest() -> None:
    given = rows(300)
    taken = Summary(kept=50)
    for row in given:
        taken.add(row)
    shares = taken.shares
    assert [share["name"] for share in shares] == [f"m{k}, norm inf, distance" for k in range(3)]
    for k, share in enumerate(shares):
        members = [row for row in given if row["model"] == f"m{k}"]
        counts = Counter(row["verdict"] for row in members)
        assert share["queries"] == len(members) and all(share[word] == counts[word] for word in summary.VERDICTS)
        assert share["median_seconds"] == sorted(row["seconds"] for row in members)[len(members) // 2]
        assert share["total_seconds"] == pytest.approx(sum(row["seconds"] for row in members))
    hardest = sorted(given, key=lambda row: (settled(row), -row["seconds"]))
    assert taken.hardest(1000) == hardest[:50] and taken.hardest(7) == hardest[:7]
    assert sum(count for _, count, _ in taken.engines) == sum(row["verdict"] != "unknown" for row in given)


def test_changes_between_two_runs() -> None:
    before, after = rows(100), rows(120, seed=1)
    found = changes(iter(before), iter(after), kept=10)
    moved = [(a, b) for a, b in zip(before, after, strict=False) if a["verdict"] != b["verdict"]]
    assert found["common"] == 100 and found["changed"] == len(moved) > 10
    assert [change["before"] for change in found["verdicts"]] == [a["verdict"] for a, _ in moved][:10]
    assert found["seconds"] == pytest.approx([sum(r["seconds"] for r in part) for part in (before, after[:100])])


def test_accidents_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "_MESSAGES", 3)
    taken = Accidents(kept=2)
    for k in range(10):
        taken.add("file", "gone" if k < 4 else f"gone {k}", {"item": k})
    taken.add("killed", "the worker died")
    assert taken.count == 11 and len(taken.rows) == 2
    assert taken.words == [
        "10 accidents, file: gone (and 3 or more other messages)",
        "1 accident, killed: the worker died",
    ]


def test_very_many_answers_are_compared_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question in so many, the same ones of both stores."""
    monkeypatch.setattr(reporting, "_TRACES", 20)
    trace = (TraceEvent(0.5, 0.1, 0.2, "milp"), TraceEvent(1.0, 0.2, 0.2, "milp"))

    def answers(count: int) -> Iterator[tuple[str, Outcome, int]]:
        for k in range(count):
            labels = {"objective": "min_distortion", "norm": "inf", "eps": None, "label": 1}
            bracket = Bracket(0.2, 0.2, np.zeros(2))
            yield f"{k:032x}", Outcome(Verdict.ADVERSARIAL, bracket, Trust.CHECKED, "milp", 1.0, trace, "", labels), 1

    for name in ("a", "b"):
        with Store(tmp_path / f"{name}.sqlite", write=True) as store:
            asked = [
                StoredQuery(f"{k:032x}", "distance", "m", "ab", "digits", str(k), "inf", None, OPTIONS, "0")
                for k in range(100)
            ]
            store.add("j", "t", ".", asked)
            store.finish(answers(100))
    page = tmp_path / "page.html"
    done = run("report", str(tmp_path / "a.sqlite"), "--against", str(tmp_path / "b.sqlite"), "-o", str(page))
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "this chapter looks at one in 5; `advverify gap` looks at all" in text and "100 answered queries" in text
    assert "were asked in every run" not in text

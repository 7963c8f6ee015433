"""The page of `advverify attack`: equal radii for all attacks, all images in every share, and the exact distance below."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from advverify.cli.report.attack_page import Attacked, Tried, answer, budgets, page


def words(text: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", text, flags=re.DOTALL).split())


def test_page_and_lines_of_one_run(tmp_path: Path) -> None:
    exact, lines, out = tmp_path / "d.jsonl", tmp_path / "a.jsonl", tmp_path / "a.html"
    assert run("distance", "zoo:digits-mlp", "--images", "0:4", "--gap", "0.05", "--out", str(exact)).returncode == 0
    arguments = ["attack", "zoo:digits-mlp", "--images", "0:4", "--attack", "fgsm,deepfool-2,rotation"]
    done = run(*arguments, "--exact", str(exact), "-o", str(out), "--out", str(lines))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [len(row["distances"]) for row in rows] == [len(row["indices"]) for row in rows] == [4] * len(rows)
    text = out.read_text()
    said = words(text)
    assert "In norm inf fgsm comes closest: half of the images within" in said and "Not to conclude" in said
    assert (
        "No curve can lie inside what is proved" in said and said.count("× exact distance") == 2
    )  # norm inf, and the words
    assert text.count("<h2>Norm") == 3 and "Attacks that move pixels" in said and "Image 0, label 7" in said
    assert "http" not in text and text.count("data:image/svg+xml") == 3


def test_a_page_at_one_radius(tmp_path: Path) -> None:
    out = tmp_path / "a.html"
    arguments = [
        "attack",
        "zoo:digits-mlp",
        "--images",
        "0:4",
        "--attack",
        "fgsm,noise",
        "--norm",
        "inf",
        "--eps",
        "0.1",
    ]
    assert run(*arguments, "-o", str(out)).returncode == 0
    said = words(out.read_text())
    assert "In norm inf within 0.1 fgsm fools most images, 75 %." in said and "fooled within 0.1" in said
    assert "data:image/svg+xml" not in out.read_text()


def test_a_page_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    done = run("attack", "zoo:digits-mlp", "-o", str(tmp_path / "no" / "page.html"))
    assert done.returncode == 2 and "cannot be written" in done.stderr and len(done.stderr.splitlines()) == 1


def tried(name: str, distances: list[float], norm: str = "2") -> Tried:
    row = {"attack": name, "norm": norm, "distances": distances, "ratio": float("nan"), "seconds": 1.0}
    return Tried(row, np.full((len(distances), 4), 0.5), np.ones(len(distances), dtype=int), "ball", "white", "-")


@pytest.fixture
def attacked() -> Attacked:
    return Attacked("m", "d", [3, 5, 8], np.zeros((3, 4)), np.zeros(3, dtype=int), (1, 2, 2), {}, None)


def test_failures_count_in_every_share(attacked: Attacked, tmp_path: Path) -> None:
    weak, strong = tried("weak", [0.1, np.inf, np.inf]), tried("strong", [0.3, 0.2, 0.4])
    assert np.isinf(weak.median) and strong.median == 0.3
    assert weak.success(0.3) == pytest.approx(1 / 3) and strong.success(0.3) == pytest.approx(2 / 3)
    assert answer(attacked, [weak, strong]) == "In norm 2 strong comes closest: half of the images within 0.3."
    assert "no attack fools half" in answer(attacked, [weak])
    said = words(page(attacked, [weak, strong], tmp_path, {"seed": "0"}))
    assert said.index("strong 0 %") < said.index("weak 33 %") and "1 more found nothing" not in said.split("Image 5")[0]
    assert "1 more found nothing" in said.split("Image 5")[1]


def test_attacks_that_are_equally_strong_are_all_named(attacked: Attacked, tmp_path: Path) -> None:
    at_one_radius = replace(attacked, eps=0.3)
    both = [tried("a", [0.3, 0.3, np.inf]), tried("b", [0.2, np.inf, 0.1]), tried("c", [np.inf] * 3)]
    assert answer(at_one_radius, both) == "In norm 2 within 0.3 a and b fool most images, 67 %."
    assert "fooled within 0.3" in words(page(at_one_radius, both, tmp_path, {}))


def test_radii_are_those_of_the_best_attack() -> None:
    both = [tried("a", [1.0, 9.0, 9.0, 9.0, 9.0]), tried("b", [9.0, 2.0, 3.0, 4.0, 5.0])]
    assert budgets(both) == [2.0, 3.0, 4.0]
    assert budgets([tried("a", [1.0, 2.0, np.inf, np.inf, 1.0], "0")], whole=True) == [1.0, 2.0]
    assert budgets([tried("a", [np.inf])]) == []

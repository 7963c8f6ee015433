"""Statistics of brackets, the sanity linter, and `advverify compare` from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from hypothesis import given
from hypothesis import strategies as st

from advverify.models.card import pairs_of
from advverify.models.comparison import statistics
from advverify.models.comparison.attacks import NAMES, attacked
from advverify.models.comparison.sanity import Evaluation, lint, lint_bounds
from advverify.models.datasets import load_dataset
from advverify.models.lipschitz import certificate
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, distance
from advverify.verifier.engines import Settings
from advverify.verifier.specification import Threat


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_median_lies_in_its_bracket(values: list[tuple[float, float, float]]) -> None:
    lower, exact, upper = zip(*(sorted(v) for v in values), strict=True)
    low, high = statistics.median_bracket(lower, upper)
    assert low <= float(np.median(exact)) <= high


def evaluation(attack: str, eps: float, robust: float, clean: float = 0.9) -> Evaluation:
    return Evaluation("n", attack, "inf", eps, robust, clean, 1000)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([evaluation("pgd", 0.1, 0.95)], "above clean accuracy"),
        ([evaluation("fgsm", 0.1, 0.4), evaluation("pgd", 0.1, 0.6)], "one-step attack fgsm"),
        ([evaluation("noise", 0.1, 0.4), evaluation("pgd", 0.1, 0.6)], "black-box attack noise"),
        ([evaluation("pgd", 0.1, 0.4), evaluation("pgd", 0.2, 0.6)], "more images survive"),
        ([evaluation("pgd", 1.0, 0.3)], "whole input range"),
    ],
)
def test_the_linter_names_what_is_off(rows: list[Evaluation], message: str) -> None:
    found = lint(rows)
    assert len(found) == 1 and message in found[0]


def test_the_linter_is_silent_on_a_sound_evaluation() -> None:
    rows = [evaluation("noise", 0.1, 0.8), evaluation("fgsm", 0.1, 0.5), evaluation("pgd", 0.1, 0.3)]
    assert lint([*rows, evaluation("pgd", 0.2, 0.1), evaluation("pgd", 1.0, 0.0)]) == []


def test_bounds_that_contradict_attacks_are_named() -> None:
    assert lint_bounds("n", 0, 0.1, 0.2, [0.15], 0.05) == []
    assert "succeeds at 0.05, inside the proved 0.1" in lint_bounds("n", 0, 0.1, 0.2, [0.05, 0.3], None)[0]
    assert "certificate 0.3 above" in lint_bounds("n", 0, 0.1, 0.2, [], 0.3)[0]
    assert "above upper side" in lint_bounds("n", 0, 0.3, 0.2, [], None)[0]


def test_attacks_get_stronger_in_their_order() -> None:
    data, model = load_dataset("digits"), Model(path_of("digits-resnet-plain"))
    robust = [
        attacked(model.network, data.images[:100], data.labels[:100], "inf", 0.08, name).accuracy for name in NAMES
    ]
    assert robust[0] > robust[1] >= robust[2] > 0


def test_certificates_lie_below_exact_distances() -> None:
    """l2 certificate <= proved lower side's true distance <= attack's distance, on every sample."""
    data = load_dataset("digits")
    for name in ("digits-resnet-cpl", "digits-resnet-cpl-adv"):
        model = Model(path_of(name))
        pairs = pairs_of(dict(model.network.metadata))
        assert pairs is not None
        for i in range(2):
            image, label = data.images[i], int(data.labels[i])
            logits = model.executor.run(image.reshape(1, -1))[0].astype(np.float64)
            bound = certificate(logits, label, pairs)
            outcome = distance(model, image, label, Threat("2"), settings=Settings(timeout=30, gap=0.05))
            assert 0 < bound <= outcome.bracket.upper
            assert bound <= outcome.bracket.lower * 1.06 or outcome.bracket.relative_gap > 0.05


def test_compare_writes_page_pictures_and_numbers(tmp_path: Path) -> None:
    out = tmp_path / "c"
    arguments = ["compare", "zoo:digits-mlp", "zoo:digits-resnet-cpl", "--images", "0:3", "--eps-grid", "0.05,0.1"]
    done = run(*arguments, "--out", str(out))
    assert done.returncode == 0 and "sanity: nothing is off" in done.stdout, done.stderr
    record = json.loads((out / "comparison.json").read_text())
    assert [row["network"] for row in record["networks"]] == ["zoo:digits-mlp", "zoo:digits-resnet-cpl"]
    assert all(row["closed"] == 1 for row in record["networks"]) and record["sanity"] == []
    for row in record["networks"]:
        for cell in row["at"]:
            assert cell["certified_accuracy"] <= cell["pgd_accuracy"] + 1e-9
    page = (out / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64") == 2 and "http" not in page.replace("http-equiv", "")
    for name in ("curves.svg", "scatter.svg"):
        assert "<svg" in (out / name).read_text()
    assert record["headline"]["sentence"] in page and record["headline"]["sentence"] in " ".join(done.stdout.split())
    again = run(*arguments, "--out", str(out))
    assert again.returncode == 0 and "6 of 6 brackets are in" in again.stderr


def test_compare_writes_a_page_alone(tmp_path: Path) -> None:
    out = tmp_path / "c.html"
    arguments = [
        "compare",
        "zoo:digits-mlp",
        "zoo:digits-resnet-cpl",
        "--images",
        "0:2",
        "--gap",
        "0.1",
        "-o",
        str(out),
    ]
    done = run(*arguments)
    assert done.returncode == 0 and [path.name for path in tmp_path.iterdir()] == ["c.html"], done.stderr
    page = out.read_text()
    assert "least possible p" in page and "of the 360 images of the test set" in " ".join(page.split())
    assert "seed of attacks" in page and "2 images" in page and "too few to decide anything" in page
    refused = run(*arguments[:-1], str(tmp_path / "no" / "c.html"))
    assert refused.returncode == 2 and "cannot be written" in refused.stderr and len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zoo:digits-mlp", "zoo:digits-mlp"], "named twice"),
        (["zoo:digits-mlp", "--eps-grid", "a"], "takes radii"),
        (["zoo:digits-mlp", "--eps-grid", ", "], "holds no radius"),
        (["zoo:digits-mlp", "zoo:mnist-resnet-cpl"], "takes 784 values"),
        (["zoo:digits-mlp", "--gap", "2"], "gap must be above 0 and below 1, got 2"),
    ],
)
def test_compare_refuses(arguments: list[str], message: str) -> None:
    done = run("compare", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_what_open_brackets_leave_open_is_said_everywhere(tmp_path: Path) -> None:
    out = tmp_path / "c"
    arguments = ["compare", "zoo:digits-mlp", "zoo:digits-resnet-cpl", "--images", "0:6", "--timeout", "0.01"]
    done = run(*arguments, "--eps-grid", "0.05", "--out", str(out))
    assert done.returncode == 0 and "nothing is off" not in done.stdout, done.stderr
    assert "brackets open (not closed to 1.0 %)" in done.stdout and "undecided at 0.05" in done.stdout
    assert "of these 6 images" in " ".join(done.stdout.split()) and "nan" not in done.stdout
    record = json.loads((out / "comparison.json").read_text())
    assert record["pairs"][0]["wilcoxon_decision"] == "undecided" and len(record["sanity"]) == 2
    page = (out / "index.html").read_text()
    assert "(undecided)" in page and "Nothing is off" not in page and "undecided at 0.05" in page


def test_train_from_the_command_line(tmp_path: Path) -> None:
    recipe, out = tmp_path / "r.toml", tmp_path / "n.onnx"
    recipe.write_text(
        'name = "tiny"\n[architecture]\nname = "mlp"\ninputs = 64\nhidden = [8]\noutputs = 10\n'
        "[training]\nepochs = 2\n[card]\nimages = 5\n"
    )
    done = run("train", str(recipe), "--out", str(out), "--seed", "4")
    assert done.returncode == 0 and "test accuracy" in done.stdout, done.stderr
    shown = run("info", str(out)).stdout
    assert "seed: 4" in shown and "name: tiny" in shown
    assert "of another recipe" in run("train", str(recipe), "--out", str(out)).stderr
    assert "trains on digits" in run("train", str(recipe), "--out", str(out), "--data", "mnist:/x").stderr

"""Attacks that are learned: never measured on what they have seen, inside their balls, better than random signs, kept in files."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run

from advverify.models.datasets import Dataset, load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.attacks import ATTACKS, make_attack
from advverify.verifier.attacks.atn import reranked
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.learned import Fitted, fit, measure, random_signs
from advverify.verifier.attacks.learned_file import KINDS, load, save
from advverify.verifier.attacks.measure import closest
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.norms import get_norm

LEARNED = [name for name, entry in ATTACKS.items() if entry.learned]
QUICK = {"upset": {"steps": 150}, "angri": {"steps": 200}, "atn": {"steps": 60}, "adil": {"steps": 40, "coding": 40}}
EPS = {"inf": 0.2, "2": 1.2}


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_dataset("digits")


DONE: dict[tuple[Any, ...], Fitted] = {}  # learned once for all tests


def problem_of(data: Dataset, images: range, norm: str, target: int | None = None) -> ClassificationProblem:
    network = read_onnx(path_of("digits-mlp"))
    x = torch.from_numpy(data.images[list(images)].reshape(len(images), -1))
    y = torch.from_numpy(data.labels[list(images)])
    right = evaluate(network, x).argmax(1) == y
    if target is not None:
        right &= y != target
    x, y = x[right], y[right]
    targets = None if target is None else torch.full_like(y, target)
    return ClassificationProblem.balls(lambda p: evaluate(network, p), x, y, get_norm(norm), EPS[norm], targets=targets)


def learned(data: Dataset, name: str, norm: str, target: int | None = None, images: range = range(100)) -> Fitted:
    key = name, norm, target, images
    if key not in DONE:
        about: dict[str, Any] = {"target": target, "fit": "0:100", "images": 100, "network": ""}
        learner = make_attack(name, (), **QUICK.get(name, {}))
        DONE[key] = fit(name, learner, problem_of(data, images, norm, target), 0, **about)
    return DONE[key]


@pytest.mark.parametrize("name", LEARNED)
def test_unseen_images_are_fooled_more_often_than_by_random_signs(digits: Dataset, name: str) -> None:
    for norm in ATTACKS[name].norms:
        fitted, problem = learned(digits, name, norm), problem_of(digits, range(100, 200), norm)
        found = measure(fitted, problem, controls=4)
        assert float(get_norm(norm).length(found.points - problem.images).max()) <= EPS[norm] * (1 + 1e-9)
        assert bool(((found.points >= 0) & (found.points <= 1)).all())
        assert bool((problem.violation(found.points)[found.success] < 0).all())
        assert found.controls.shape == (4, len(problem))
        control = found.controls.double().mean(1)
        assert float(found.success.double().mean()) > float(control.mean()) + 0.05, (norm, control)


@pytest.mark.parametrize("name", LEARNED)
def test_images_that_were_seen_are_refused(digits: Dataset, name: str, tmp_path: Path) -> None:
    """One common image is enough, by whatever index; a file remembers them."""
    fitted = learned(digits, name, "inf", images=range(12))
    save(fitted, tmp_path / "a.npz")
    for one in (fitted, load(tmp_path / "a.npz")):
        with pytest.raises(InvalidInput, match=r"learned on 1 of the"):
            measure(one, problem_of(digits, range(11, 20), "inf"), controls=0)
        assert len(measure(one, problem_of(digits, range(12, 20), "inf"), controls=0).success) == 7


def test_what_is_learned_is_nothing_for_other_measures(digits: Dataset) -> None:
    with pytest.raises(AssertionError, match="learned on some images"):
        closest("upset", make_attack("upset"), problem_of(digits, range(5), "inf"))


@pytest.mark.parametrize("name", LEARNED)
def test_files_hold_everything(digits: Dataset, name: str, tmp_path: Path) -> None:
    fitted, problem = learned(digits, name, "2"), problem_of(digits, range(100, 140), "2")
    save(fitted, tmp_path / "a.npz")
    again = load(tmp_path / "a.npz")
    for f in fields(fitted):
        if f.name != "learned":
            assert getattr(again, f.name) == getattr(fitted, f.name)
    first, second = measure(fitted, problem, controls=2), measure(again, problem, controls=2)
    assert torch.equal(first.points, second.points) and torch.equal(first.controls, second.controls)
    assert any(place.endswith(type(again.learned).__name__) for place in KINDS.values())


@pytest.mark.parametrize("name", LEARNED)
def test_targets_are_pursued(digits: Dataset, name: str) -> None:
    fitted, problem = learned(digits, name, "2", target=3), problem_of(digits, range(100, 200), "2", target=3)
    found = measure(fitted, problem, controls=0)
    reached = problem.forward(found.points).argmax(1) == 3
    assert torch.equal(reached, found.success)
    if name not in ("universal-deepfool", "universal-sgd", "sadil"):
        assert float(reached.double().mean()) > 0.3


def test_signs_keep_every_norm(digits: Dataset) -> None:
    """Of perturbations, of atoms, and of what networks make of an image."""
    images = torch.from_numpy(digits.images[100:110].reshape(10, -1))
    signs = random_signs(64, torch.Generator().manual_seed(0), images)
    assert set(signs.tolist()) == {-1.0, 1.0}
    generator = learned(digits, "angri", "2").learned
    goal = torch.zeros(10, dtype=torch.int64)
    before, after = generator.towards(images, goal), generator.flipped(signs).towards(images, goal)  # type: ignore[attr-defined]
    assert torch.equal(before.abs(), after.abs()) and not torch.equal(before, after)
    atoms = learned(digits, "adil", "2").learned
    assert torch.equal(atoms.flipped(signs).atoms.norm(dim=0), atoms.atoms.norm(dim=0))  # type: ignore[attr-defined]


def test_reranking_keeps_the_order_of_the_others() -> None:
    y = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    wanted = reranked(y, 2, 1.5)
    assert wanted.argmax(1).tolist() == [2, 2]
    torch.testing.assert_close(wanted.sum(1), torch.ones(2))
    torch.testing.assert_close(wanted[0], torch.tensor([0.6, 0.3, 0.9]) / 1.8)


def test_confidence_asks_for_more() -> None:
    """On a linear classifier the distance to a margin of alpha is (f + alpha) / ||w||."""
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    x, y = torch.tensor([[0.6, 0.5]], dtype=torch.float64), torch.tensor([0])

    def forward(p: torch.Tensor) -> torch.Tensor:
        return (p - 0.5) @ weight.T

    problem = ClassificationProblem.unbounded(forward, x, y, get_norm("2")).confident(0.3)
    for name in ("pgd", "deepfool-2", "carlini-wagner-2", "lbfgs"):
        found = closest(name, make_attack(name), problem)
        logits = forward(found.points)[0]
        assert bool(found.success) and float(logits[1] - logits[0]) > 0.3
        assert 0.25 - 1e-9 <= float(found.distance(x, get_norm("2"))) <= 0.25 * 1.05, name


def test_the_command(tmp_path: Path) -> None:
    out, kept = tmp_path / "rows.jsonl", tmp_path / "kept"
    base = ["attack", "zoo:digits-mlp", "--images", "0:40", "--controls", "2", "--out", str(out)]
    done = run(
        *base, "--attack", "adil,universal-sgd", "--norm", "2", "--fit", "40:140", "--atoms", "4", "--keep", str(kept)
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["attack"] for row in rows] == ["universal-sgd", "adil"] or [row["attack"] for row in rows] == [
        "adil",
        "universal-sgd",
    ]
    for row in rows:
        low, high = row["interval"]
        assert 0 <= low <= row["success"] <= high <= 1 and row["control"]["draws"] == 2
        assert row["learned"]["fit"] == "40:140" and row["median"]["2"] <= 1
    assert {p.name for p in kept.iterdir()} == {
        *("adil-2.npz", "adil-2.png", "adil-2-learning.png", "universal-sgd-2.npz", "universal-sgd-2.png")
    }
    atoms = load(kept / "adil-2.npz").learned.atoms  # type: ignore[attr-defined]
    assert atoms.shape == (64, 4) and np.isfinite(atoms.numpy()).all()
    again = run(*base, "--learned", str(kept / "adil-2.npz"))
    assert (
        again.returncode == 0
        and json.loads(out.read_text())["success"] == rows[[r["attack"] for r in rows].index("adil")]["success"]
    )
    other = run(
        "attack", "zoo:digits-conv", "--images", "0:40", "--controls", "2", "--learned", str(kept / "adil-2.npz")
    )
    assert other.returncode == 0 and "learned on" in other.stdout
    for arguments, message in (
        (["--images", "30:50"], "was learned on"),
        (["--images", "0:9", "--eps", "3"], "was learned for 1"),
        (["--images", "0:9", "--target", "3"], "was learned for None"),
    ):
        wrong = run("attack", "zoo:digits-mlp", *arguments, "--learned", str(kept / "adil-2.npz"))
        assert wrong.returncode == 2 and message in wrong.stderr and len(wrong.stderr.strip().splitlines()) == 1
    small = run("attack", "zoo:mnist-resnet-cpl", "--data", "mnist:nowhere", "--learned", str(kept / "adil-2.npz"))
    assert small.returncode == 2

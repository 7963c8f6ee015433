"""`advverify subspace`: exact on linear classifiers, below what attacks find, resumed, and its refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from torch import nn

from advverify.models.datasets import load_dataset
from advverify.models.export import write_onnx
from advverify.models.zoo import path_of
from advverify.verifier.api import Model
from advverify.verifier.attacks.learned_file import load
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.norms import get_norm
from advverify.verifier.subspace import subspace_distance


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = tmp_path_factory.mktemp("kept")
    arguments = ["--attack", "adil", "--norm", "2", "--images", "0:9", "--atoms", "4", "--controls", "0"]
    assert run("attack", "zoo:digits-mlp", *arguments, "--keep", str(kept)).returncode == 0
    return kept / "adil-2.npz"


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
def test_exact_on_a_linear_classifier(norm: str, tmp_path: Path) -> None:
    """min over k of (f_y - f_k) / ||D^T (w_y - w_k)|| in the dual norm, where nothing is clipped."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    write_onnx(network, (1, 4, 4), {}, tmp_path / "n.onnx")
    model = Model(tmp_path / "n.onnx")
    weight, bias = (p.detach().double().numpy() for p in network[1].parameters())
    rng = np.random.default_rng(0)
    basis, dual = rng.standard_normal((16, 3)), {"1": np.inf, "2": 2, "inf": 1}[norm]
    for _ in range(5):
        x = rng.random(16)
        f = weight @ x + bias
        y = int(f.argmax())
        exact = min((f[y] - f[k]) / np.linalg.norm(basis.T @ (weight[y] - weight[k]), dual) for k in range(3) if k != y)
        found = subspace_distance(model, x, y, basis, norm, settings=Settings(gap=1e-4, threads=1))
        assert found.bracket.lower <= exact * (1 + 1e-9) and exact <= found.bracket.upper * (1 + 1e-9)
        assert found.bracket.relative_gap <= 1e-3


def test_nothing_below_the_lower_side_fools(dictionary: Path, tmp_path: Path) -> None:
    """Random combinations, and the codes that the attack itself finds, with entries clipped as the question has it."""
    out, images = tmp_path / "s.jsonl", range(4)
    done = run("subspace", "zoo:digits-mlp", str(dictionary), "--images", "0:4", "--timeout", "20", "--out", str(out))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert sum(row["verdict"] == "adversarial" for row in rows) >= 2
    data, model, learned = load_dataset("digits"), Model(path_of("digits-mlp")), load(dictionary).learned
    atoms = learned.atoms  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    for i, row in zip(images, rows, strict=True):
        x = torch.from_numpy(data.images[i].ravel())
        v = torch.randn(4000, atoms.shape[1], generator=generator, dtype=torch.float64)
        sparse = torch.eye(atoms.shape[1], dtype=torch.float64)
        v = torch.cat([v, sparse, -sparse])
        v = v / get_norm("1").length(v).unsqueeze(1) * row["lower"] * 0.999
        moved = (x + v @ atoms.T).clamp(0, 1)
        assert bool((evaluate(model.network, moved).argmax(1) == row["label"]).all())
        if row["verdict"] == "adversarial":
            assert row["upper"] <= row["executed"] <= row["upper"] * 1.0011
            point = (
                x + atoms @ torch.tensor(row["witness"], dtype=torch.float64) * (row["executed"] / row["upper"])
            ).clamp(0, 1)
            assert model.predict(point.numpy()) != row["label"]


def test_runs_go_on_and_random_subspaces_are_kept_apart(tmp_path: Path) -> None:
    out = tmp_path / "s.jsonl"
    base = ["subspace", "zoo:digits-mlp", "random:3", "--norm", "2", "--no-clip", "--gap", "0.05", "--out", str(out)]
    assert run(*base, "--images", "0:2").returncode == 0
    first = out.read_text()
    assert run(*base, "--images", "0:3").returncode == 0
    assert out.read_text().startswith(first) and len(out.read_text().splitlines()) == 3
    assert run(*base, "--images", "0:3", "--seed", "1").returncode == 0
    assert len(out.read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["random:0"], "a dimension from 1 to 64"),
        (["random:x"], "a dimension from 1 to 64"),
        (["nothing.npz"], "nothing.npz"),
        (["nothing.npy"], "not a readable .npy"),
        (["random:2", "--norm", "0"], "would count atoms"),
        (["random:2", "--gap", "0"], "--gap must be above 0"),
    ],
)
def test_subspace_refuses(arguments: list[str], message: str) -> None:
    done = run("subspace", "zoo:digits-mlp", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_directions_of_another_size(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.ones((9, 2)))
    done = run("subspace", "zoo:digits-mlp", str(tmp_path / "d.npy"))
    assert done.returncode == 2 and "the model needs (64, columns)" in done.stderr
    np.save(tmp_path / "d.npy", np.full((64, 2), np.nan))
    assert "no finite numbers" in run("subspace", "zoo:digits-mlp", str(tmp_path / "d.npy")).stderr

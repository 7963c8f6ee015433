"""Geometry on surfaces whose curvature is known, subspaces, and exact universal perturbations against brute force."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run
from networks import random_network

from advverify.models.datasets import load_dataset
from advverify.models.geometry import boundary as bd
from advverify.models.geometry.curvature import finite_hessian, principal_curvatures, shared_curved_directions
from advverify.models.geometry.subspace import distance_within, random_subspace, subspace_law
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, distance
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.compose import restricted, with_one_perturbation
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat
from advverify.verifier.subspace import subspace_distance
from advverify.verifier.universal import universal_distance


def on_sphere(radius: float, size: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return radius * bd.unit(torch.randn(count, size, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_spheres_have_curvature_one_over_radius(radius: float) -> None:
    def value(x: torch.Tensor) -> torch.Tensor:
        return x.square().sum(-1)

    points = on_sphere(radius, 5, 3)
    for x in points:
        curvatures = principal_curvatures(value, x, 1e-3)
        torch.testing.assert_close(curvatures, torch.full((4,), 1 / radius, dtype=torch.float64), rtol=1e-6, atol=0)
    normal = bd.unit(points)
    along = bd.unit(torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    along = bd.unit(along - (along * normal).sum(1, keepdim=True) * normal)
    bent = bd.secant_curvature(lambda x: value(x) - radius**2, points, normal, along, 0.05 * radius)
    torch.testing.assert_close(bent, torch.full((3,), -1 / radius, dtype=torch.float64), rtol=5e-3, atol=0)
    values, vectors = shared_curved_directions(
        lambda i: value, points, [finite_hessian(value, x, 1e-3) for x in points]
    )
    assert values[0] > 0 and vectors.shape == (5, 5)


def test_quadrics() -> None:
    matrix = torch.diag(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64))

    def value(x: torch.Tensor) -> torch.Tensor:
        return 0.5 * ((x @ matrix) * x).sum(-1) + x[..., 2]

    origin = torch.zeros(3, dtype=torch.float64)  # gradient e_3, tangent plane of the first two axes
    torch.testing.assert_close(finite_hessian(value, origin, 0.1), matrix, rtol=1e-9, atol=1e-9)
    expected = torch.tensor([-2.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(principal_curvatures(value, origin, 0.1), expected, rtol=1e-9, atol=1e-9)


def test_subspace_law_on_a_linear_classifier_and_on_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    x = torch.randn(30, 40, generator=generator, dtype=torch.float64)
    y = (x @ weight.T).argmax(1)
    normal = weight[0] - weight[1]
    basis = random_subspace(40, 7, generator)
    torch.testing.assert_close(basis.T @ basis, torch.eye(7, dtype=torch.float64))
    exact = (x @ normal).abs() / (basis.T @ normal).norm()
    torch.testing.assert_close(distance_within(lambda p: p @ weight.T, x, y, basis), exact, rtol=1e-3, atol=0)
    data, network = load_dataset("digits"), read_onnx(path_of("digits-mlp"))
    images, labels = torch.from_numpy(data.images[:40].reshape(40, -1)), torch.from_numpy(data.labels[:40])
    right = evaluate(network, images).argmax(1) == labels
    law = subspace_law(lambda p: evaluate(network, p), images[right], labels[right], (2, 8, 32), generator)
    assert bool(((law.median > 0.85) & (law.median < 1.2)).all())


def test_restricted_networks_clip_to_the_valid_range() -> None:
    """Far beyond it too, entry by entry, on both sides."""
    model, data = Model(path_of("digits-mlp")), load_dataset("digits")
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(64, 5, generator=generator, dtype=torch.float64)
    v = torch.randn(50, 5, generator=generator, dtype=torch.float64) * torch.logspace(-2, 1, 50).double().unsqueeze(1)
    for i in range(3):
        image = data.images[i].ravel()
        moved = (torch.from_numpy(image) + v @ basis.T).clamp(0, 1)
        inner = restricted(model.network, image, basis.numpy(), (0.0, 1.0))
        torch.testing.assert_close(evaluate(inner, v), evaluate(model.network, moved), atol=1e-9, rtol=1e-9)


def test_restricted_networks_and_exact_subspace_distances() -> None:
    data, model = load_dataset("digits"), Model(path_of("digits-mlp"))
    image, label = data.images[0].ravel(), int(data.labels[0])
    basis = random_subspace(64, 4, torch.Generator().manual_seed(3)).numpy()
    inner = restricted(model.network, image, basis)
    v = torch.randn(5, 4, dtype=torch.float64)
    outer = evaluate(model.network, torch.from_numpy(image) + v @ torch.from_numpy(basis).T)
    torch.testing.assert_close(evaluate(inner, v), outer)
    outcome = subspace_distance(model, image, label, basis, settings=Settings(timeout=30, gap=1e-3))
    attacked = float(
        distance_within(
            lambda p: evaluate(model.network, p),
            torch.from_numpy(image)[None],
            torch.tensor([label]),
            torch.from_numpy(basis),
        )[0]
    )
    assert outcome.bracket.relative_gap <= 1e-3 and outcome.bracket.lower <= attacked * (1 + 1e-9)
    assert attacked <= outcome.bracket.upper * 1.1
    whole = distance(model, image, label, Threat("2"), settings=Settings(timeout=30, gap=0.01))
    assert outcome.bracket.upper > whole.bracket.lower


@pytest.mark.parametrize("clip", [True, False])
def test_exact_universal_perturbations_against_a_grid(clip: bool) -> None:
    network = random_network("mlp", 5)
    images = np.array([[0.3, 0.4, 0.6], [0.5, 0.6, 0.2], [0.7, 0.3, 0.5]])
    labels = evaluate(network, torch.from_numpy(images)).argmax(1).numpy()
    ticks = np.linspace(-1, 1, 41)
    grid = np.array(list(itertools.product(ticks, ticks, ticks)))
    moved = images[None] + grid[:, None]
    moved = np.clip(moved, 0, 1) if clip else moved
    predicted = evaluate(network, torch.from_numpy(moved.reshape(-1, 3))).argmax(1).numpy().reshape(-1, 3)
    fooling = (predicted != labels).all(1)
    best = float(np.abs(grid[fooling]).max(1).min()) if fooling.any() else np.inf
    outcome = universal_distance(network, images, labels, clip=clip, settings=Settings(timeout=30, gap=1e-3))
    if np.isinf(best):
        assert outcome.verdict in (Verdict.ROBUST, Verdict.ADVERSARIAL)  # the grid may miss a sliver
        return
    assert outcome.bracket.relative_gap <= 1e-3
    assert outcome.bracket.upper <= best * 1.002
    delta = outcome.bracket.witness
    assert delta is not None
    worst = evaluate(
        with_one_perturbation(network, images, labels, (0.0, 1.0) if clip else None), torch.from_numpy(delta)[None]
    )
    assert bool((worst >= 0).all())


def test_universal_refuses_misclassified_images() -> None:
    network = random_network("mlp", 5)
    image = np.array([[0.3, 0.4, 0.5]])
    wrong = (int(evaluate(network, torch.from_numpy(image)).argmax()) + 1) % 3
    with pytest.raises(InvalidInput, match="misclassified without"):
        universal_distance(network, image, np.array([wrong]))


def test_geometry_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "g"
    done = run("geometry", "zoo:digits-mlp", "zoo:digits-resnet-cpl", "--images", "0:8", "--out", str(out))
    assert done.returncode == 0, done.stderr
    for name in ("subspaces", "normals", "profile", "fooling", "sections-0-0", "sections-1-0"):
        assert "<svg" in (out / f"{name}.svg").read_text()
    record = json.loads((out / "geometry.json").read_text())
    assert len({study["xi"] for study in record.values()}) == 1  # perturbations of one length for all networks
    for study in record.values():
        for section in study["sections"]:
            assert max(map(abs, section["at"])) < section["reach"] and section["at"][0] > 0
    page = (out / "index.html").read_text()
    assert page.count("Not to conclude") == 4 and "label 7, nearest class found" in page and "http" not in page
    alone = tmp_path / "page.html"
    arguments = ["geometry", "zoo:digits-mlp", "--images", "0:8", "--length", "0.7"]
    done = run(*arguments, "-o", str(alone))
    assert done.returncode == 0 and "same l2 length,\n0.7" in alone.read_text(), done.stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["page.html"]
    assert set(record) == {"zoo:digits-mlp", "zoo:digits-resnet-cpl"}
    assert 0.5 < record["zoo:digits-mlp"]["subspace"]["median"][2] < 2
    bad = run("geometry", "zoo:digits-mlp", "--h", "0", "--out", str(out))
    assert bad.returncode == 2 and "--h must be above 0" in bad.stderr
    bad = run("geometry", "zoo:digits-mlp", "--length", "-1")
    assert bad.returncode == 2 and "--length must be a number above 0" in bad.stderr

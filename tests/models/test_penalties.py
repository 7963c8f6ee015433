"""Terms of the loss that stand for stability: what they measure, on networks where it is known, and that training lowers it."""

from typing import Any

import pytest
import torch
from torch import nn

from advverify.models.architectures import build
from advverify.models.architectures.residual import ResidualBlock
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.defences import Step
from advverify.models.defences.jacobian import Jacobian
from advverify.models.defences.large_margin import LargeMargin, linear_distance
from advverify.models.defences.local_linearity import LocalLinearity
from advverify.models.defences.spectral import Spectral, weights
from advverify.models.recipe import recipe_from
from advverify.models.train import train


def step_of(network: nn.Sequential, images: torch.Tensor, labels: torch.Tensor) -> Step:
    return Step(network, nn.functional.cross_entropy, images, images, labels, images.flatten(1), 0.5)


@pytest.fixture
def linear() -> Step:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = torch.rand(5, 1, 4, 4)
    return step_of(network, images, network(images).argmax(1))


def test_spectral_norms_are_those_of_what_is_applied(linear: Step) -> None:
    weight = linear.network[1].weight
    assert isinstance(weight, torch.Tensor)
    expected = float(torch.linalg.svdvals(weight.detach())[0]) ** 2 / 2
    assert float(Spectral(1.0)(linear).detach()) == pytest.approx(expected, rel=1e-5)
    network = build("antisymmetric", image=[1, 8, 8], channels=3, blocks=2, outputs=5, stages=2)
    assert len(weights(network)) == 1 + 2 + 1 + 2 + 1  # lift, blocks, bridge, blocks, head
    blocks = [m for m in network.modules() if isinstance(m, ResidualBlock)]
    assert torch.equal(weights(network)[1], blocks[0].terms().inner)


def test_jacobian_is_estimated_without_bias(linear: Step) -> None:
    torch.manual_seed(1)
    weight = linear.network[1].weight
    assert isinstance(weight, torch.Tensor)
    expected = float(weight.detach().square().sum()) / 2
    found = float(Jacobian(1.0, draws=4000)(linear).detach())
    assert found == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(("norm", "dual"), [("inf", 1), ("2", 2), ("1", torch.inf)])
def test_linear_distances_are_distances(linear: Step, norm: str, dual: float) -> None:
    """On a linear network to the strongest other class; what is missing counts, and nothing beyond the distance asked for."""
    distances = linear_distance(linear, norm)
    weight, logits = linear.network[1].weight, linear.network(linear.clean).detach()
    assert isinstance(weight, torch.Tensor)
    weight = weight.detach()
    for k, label in enumerate(linear.labels):
        other = int(logits[k].scatter(0, label, -torch.inf).argmax())
        length = torch.linalg.vector_norm(weight[label] - weight[other], dual)
        assert float(distances[k].detach()) == pytest.approx(
            float((logits[k, label] - logits[k, other]) / length), rel=1e-3
        )
    near, far = 0.5 * float(distances.min().detach()), 2 * float(distances.max().detach())
    assert float(LargeMargin(1.0, near, norm)(linear).detach()) == 0
    assert float(LargeMargin(1.0, far, norm)(linear).detach()) >= 0.5


def test_local_linearity_vanishes_with_the_radius_and_bounds_what_is_seen(linear: Step) -> None:
    torch.manual_seed(0)
    small, large = (float(LocalLinearity(1.0, eps, steps=8, flat=0.0)(linear).detach()) for eps in (1e-3, 0.3))
    assert 0 <= small < 1e-5 < large
    with torch.no_grad():
        loss = nn.functional.cross_entropy
        x = linear.clean
        slope = torch.func.grad(lambda z: loss(linear.network(z), linear.labels, reduction="sum"))(x)
        d = 0.3 * (2 * torch.rand(500, *x.shape) - 1)
        seen = []
        for one in d:
            moved = loss(linear.network(x + one), linear.labels, reduction="none")
            here = loss(linear.network(x), linear.labels, reduction="none")
            seen.append((moved - here - (one * slope).flatten(1).sum(1)).abs().mean())
    assert large >= 0.95 * float(torch.stack(seen).max())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("spectral", {"weight": 0.05}),
        ("jacobian", {"weight": 0.05}),
        ("local-linearity", {"weight": 5.0, "eps": 0.1}),
        ("large-margin", {"weight": 10.0, "distance": 0.1}),
    ],
)
def test_training_lowers_the_term(name: str, options: dict[str, Any]) -> None:
    data = load_dataset("digits", "train")
    few = Dataset("digits", data.images[:300], data.labels[:300])
    base: dict[str, Any] = {
        "architecture": {"name": "resnet", "image": [1, 8, 8], "width": 12, "blocks": 2, "outputs": 10},
        "training": {"epochs": 12},
    }
    plain, kept = recipe_from(base), recipe_from({**base, "defences": {name: options}})
    images, labels = torch.from_numpy(few.images).float(), torch.from_numpy(few.labels)
    values = []
    for recipe in (plain, kept):
        network = train(recipe, few).network
        torch.manual_seed(0)
        values.append(float(kept.defences[name](step_of(network, images, labels)).detach()))
    assert values[1] < 0.9 * values[0]

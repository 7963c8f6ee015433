"""Bounds: sampled points lie inside, tighter methods lie inside looser ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, random_network, scaled
from oracle import lowest

from advverify.verifier.bounds import InputSet, crown, ibp, output_lower_bounds
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import Start
from advverify.verifier.bounds.intermediate import tighten_intermediate
from advverify.verifier.bounds.neuron_split import NeuronSplit
from advverify.verifier.engines.branch_and_bound.input.search import clip
from advverify.verifier.network.compose import max_to_relu
from advverify.verifier.network.evaluate import evaluate, evaluate_all
from advverify.verifier.norms import get_norm
from advverify.verifier.specification import NormBall, Region


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("kind", KINDS)
def test_containment_and_order(kind: str, norm: str) -> None:
    for seed in range(6):
        network = random_network(kind, seed)
        n = network.input_size
        center = np.random.default_rng(seed).random(n)
        radius = 1.0 if norm == "0" else 0.3
        ball = NormBall(center, get_norm(norm), radius)
        inputs = InputSet.from_regions([Region(np.zeros(n), np.ones(n), ball)])
        loose, tight = ibp(network, inputs), crown(network, inputs)
        samples = torch.rand(400, n, dtype=torch.float64)
        moved = torch.tensor(center) + ball.norm.project(
            samples - torch.tensor(center), torch.full((400,), radius, dtype=torch.float64)
        )
        points = torch.minimum(torch.maximum(moved, inputs.lower), inputs.upper)
        values = evaluate_all(network, points)
        for node in network.bounded:
            assert (values[node] >= tight[node].lower - 1e-9).all() and (values[node] <= tight[node].upper + 1e-9).all()
            assert (tight[node].lower >= loose[node].lower - 1e-9).all()
            assert (tight[node].upper <= loose[node].upper + 1e-9).all()
        rows, offset = torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64)
        plain = output_lower_bounds(network, inputs, rows, offset, tight)
        best = raise_bounds(network, inputs, Start.output(network, rows, offset), tight, threshold=torch.inf).bound
        assert (best >= plain - 1e-9).all()
        assert (values[-1] >= best[0] - 1e-9).all()


def test_hand_computed() -> None:
    """y = relu(x1 - x2) - relu(x1 + x2) on [-1, 1]^2, by hand: the lower bound is -2."""
    from advverify.verifier.network.builder import NetworkBuilder, tensor
    from advverify.verifier.network.operators import Dense

    b = NetworkBuilder((2,))
    h = b.relu(b.affine([0], [Dense(tensor(np.array([[1.0, -1.0], [1.0, 1.0]])))]))
    network = b.finish(b.affine([h], [Dense(tensor(np.array([[1.0, -1.0]])))]))
    inputs = InputSet(-torch.ones(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64))
    bounds = crown(network, inputs)
    for side, expected in ((bounds[1].lower, -2.0), (bounds[1].upper, 2.0)):
        assert side.tolist() == [[pytest.approx(expected)] * 2]
    # relu(h) <= h/2 + 1, relu(h) >= 0 (tie goes to 0): y >= -(x1 + x2)/2 - 1 >= -2.
    bound = output_lower_bounds(network, inputs, torch.ones(1, 1, 1).double(), torch.zeros(1, 1).double(), bounds)
    assert bound.item() == pytest.approx(-2.0)


def test_tournament_equals_maximum() -> None:
    for seed in range(5):
        network = random_network("maxpool", seed)
        x = torch.rand(50, network.input_size, dtype=torch.float64)
        torch.testing.assert_close(evaluate(max_to_relu(network), x), evaluate(network, x))


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual", "maxpool", "leaky"])
def test_low_precision_bounds_hold(kind: str) -> None:
    """Bounds of float32 copies, with large biases that make rounding visible, hold for the float64 network."""
    for seed in range(3):
        network = scaled(random_network(kind, seed), 300.0)
        low = network.to(torch.float32)
        center = np.random.default_rng(seed).random(network.input_size)
        region = Region(np.maximum(center - 1e-6, 0), np.minimum(center + 1e-6, 1))
        inputs = InputSet.from_regions([region])
        exact, rough = crown(network, inputs), crown(low, inputs)
        tight = tighten_intermediate(low, inputs, rough, AlphaCrown(steps=3))
        share = torch.rand(200, network.input_size, dtype=torch.float64)
        values = evaluate_all(network, inputs.lower + share * (inputs.upper - inputs.lower))
        for node in network.bounded:
            for bounds in (exact, rough, tight):
                assert (values[node] >= bounds[node].lower).all() and (values[node] <= bounds[node].upper).all()
        rows, offset = torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64)
        best = raise_bounds(low, inputs, Start.output(low, rows, offset), tight, threshold=torch.inf).bound
        assert (values[-1] >= best[0]).all()


@pytest.mark.parametrize("kind", ["mlp", "residual", "conv"])
def test_neuron_trees_come_near_the_truth(kind: str) -> None:
    """Bounds from trees for single neurons lie between those of alpha-CROWN and the truth by brute force."""
    for seed in range(3):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        center = rng.random(network.input_size)
        region = Region(np.maximum(center - 0.6, 0), np.minimum(center + 0.6, 1))
        inputs = InputSet.from_regions([region])
        loose = tighten_intermediate(network, inputs, crown(network, inputs))
        trees = NeuronSplit(seconds=20.0, gap=0.0, steps=60)
        tight = tighten_intermediate(network, inputs, loose, trees=trees)
        for node in network.bounded:
            prefix = replace(network, nodes=network.nodes[: node + 1])
            for j in range(prefix.output_size):
                row = np.eye(prefix.output_size)[j]
                least = lowest(prefix, region.lower, region.upper, row)
                most = -lowest(prefix, region.lower, region.upper, -row)
                below, above = float(tight[node].lower[0, j]), float(tight[node].upper[0, j])
                assert float(loose[node].lower[0, j]) <= below <= least + 1e-9
                assert most - 1e-9 <= above <= float(loose[node].upper[0, j])
                if below < 0 < above:  # stable neurons are left as soon as their sign is known
                    assert below >= least - 0.02 and above <= most + 0.02


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 3))
def test_clipping_keeps_every_point_that_all_rows_allow(seed: int, inputs: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1

    lower = draw(5, inputs)
    upper = lower + draw(5, inputs).abs()
    coefficients, offset = draw(5, rows, inputs), draw(5, rows) * 0.5
    low, high, empty = clip(lower, upper, coefficients, offset)
    share = torch.rand(200, 5, inputs, generator=generator, dtype=torch.float64)
    points = lower + share * (upper - lower)
    allowed = ((coefficients * points.unsqueeze(2)).sum(-1) + offset <= 0).all(-1)
    inside = ((points >= low) & (points <= high)).all(-1) & ~empty
    assert bool((inside | ~allowed).all())

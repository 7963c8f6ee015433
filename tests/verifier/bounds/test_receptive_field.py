"""Windows of convolutional networks: the same bounds as the whole network gives, and fewer entries."""

import numpy as np
import pytest
import torch
from convolutional import convolutional, regions, windowed_node
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.verifier.bounds import crown
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import backward, lower_and_upper
from advverify.verifier.bounds.crown import relaxations
from advverify.verifier.bounds.halfspace import HalfSpaces
from advverify.verifier.bounds.receptive_field import receptive_field_of, sides
from advverify.verifier.bounds.rounding import RoundingLoss
from advverify.verifier.network.builder import tensor
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Affine, Network
from advverify.verifier.network.operators import Conv2d, Dense, Operator, Select

ANY = st.integers(0, 10_000)


@settings(deadline=None, max_examples=60)
@given(ANY, st.booleans(), st.sampled_from(["inf", "2"]), st.sampled_from([torch.float64, torch.float32]))
def test_windows_prove_what_the_network_proves(seed: int, residual: bool, norm: str, dtype: torch.dtype) -> None:
    network = convolutional(seed, residual).to(dtype)
    node = windowed_node(network)
    window = receptive_field_of(network, node)
    if window is None:
        return
    inputs = regions(network, seed, norm)
    with torch.no_grad():
        bounds = crown(network, inputs)
        losses = RoundingLoss.of(network, inputs, bounds)
        relaxed = relaxations(network, bounds, node)
        index = torch.arange(network.nodes[node].size).expand(2, -1)
        form = backward(network, lower_and_upper(network, node, index, losses[node]), relaxed, losses=losses)
        whole = inputs.minimum(form.coefficients, form.offset)
        found = window.lower_bounds(inputs, index, relaxed, losses)
    room = 1e-9 if dtype == torch.float64 else 2e-3
    assert (found - whole).abs().max() <= room * (1 + whole.abs().max())


@settings(deadline=None, max_examples=60)
@given(ANY, st.floats(-1.0, 1.0))
def test_half_spaces_are_seen_through_windows(seed: int, height: float) -> None:
    """Bounds hold in the half-space, and are no worse than those of the whole box."""
    network = convolutional(seed, bool(seed % 2))
    node = windowed_node(network)
    window = receptive_field_of(network, node)
    if window is None:
        return
    inputs, rng = regions(network, seed, count=1), np.random.default_rng(seed)
    f = torch.from_numpy(rng.normal(size=inputs.lower.shape) * (rng.random(inputs.lower.shape) < 0.3))
    middle, reach = (inputs.upper + inputs.lower) / 2, (inputs.upper - inputs.lower) / 2
    g = -(f * middle).sum(-1) + height * (f.abs() * reach).sum(-1)
    part = inputs.within(HalfSpaces(f, g))
    with torch.no_grad():
        bounds = crown(network, inputs)
        losses = RoundingLoss.of(network, inputs, bounds)
        relaxed = relaxations(network, bounds, node)
        index = torch.arange(network.nodes[node].size)[None]
        plain, found = (window.lower_bounds(region, index, relaxed, losses) for region in (inputs, part))
        assert (found >= plain - 1e-5 * (1 + plain.abs())).all()  # multipliers are looked for in float32
        share = torch.from_numpy(rng.random((2000, network.input_size)))
        towards = torch.where(f > 0, inputs.lower, inputs.upper)
        points = inputs.lower + torch.cat([share, share.round()]) * (inputs.upper - inputs.lower)
        points = torch.cat([towards, points, (points + towards) / 2, towards + 0.1 * (points - towards)])
        points = points[(points @ f[0]) + g <= 0]
        values = evaluate_all(network, points)[node]
    assert (torch.cat([values, -values], -1) >= found).all()


@settings(deadline=None, max_examples=60)
@given(ANY, st.booleans(), st.sampled_from([torch.float64, torch.float32]))
def test_bounds_with_windows_hold(seed: int, residual: bool, dtype: torch.dtype) -> None:
    """Sampled points and corners of the boxes, through windows with and without ascents."""
    network = convolutional(seed, residual)
    inputs, working = regions(network, seed, count=1), network.to(dtype)
    node = windowed_node(network)
    window = receptive_field_of(working, node)
    rng = np.random.default_rng(seed)
    share = torch.from_numpy(rng.random((400, network.input_size)))
    points = inputs.lower + torch.cat([share, share.round()]) * (inputs.upper - inputs.lower)
    values = evaluate_all(network, points)
    with torch.no_grad():
        bounds = crown(working, inputs)
    for i in network.bounded:
        assert (values[i] >= bounds[i].lower).all() and (values[i] <= bounds[i].upper).all()
    if window is None:
        return
    losses = RoundingLoss.of(working, inputs, bounds)
    index = torch.arange(network.nodes[node].size)[None]
    best = raise_bounds(
        window.network,
        window.inputs(inputs, index),
        window.start(index, losses),
        window.bounds(bounds, index),
        options=AlphaCrown(steps=5),
        threshold=torch.inf,
        losses=window.losses(losses, index),
    )
    proved = bounds[node].raised(index, sides(best.bound, index))
    assert (values[node] >= proved.lower).all() and (values[node] <= proved.upper).all()


def test_some_windows_are_found() -> None:
    """So that the laws above are about something."""
    found = [receptive_field_of(n, windowed_node(n)) for n in (convolutional(s, bool(s % 2)) for s in range(40))]
    assert sum(window is not None for window in found) >= 10
    for window in found:
        if window is not None:
            assert all(len(entries) == window.places for entries in window.entries)
    kinds = {type(operator) for window in found if window is not None for operator in operators(window.network)}
    assert kinds == {Conv2d, Dense, Select}


def test_convolutions_as_matrices_have_the_same_entries() -> None:
    """Not only nearly: nothing may be rounded on the way."""
    networks = (convolutional(seed) for seed in range(40))
    found = [(n, window) for n in networks if (window := receptive_field_of(n, windowed_node(n))) is not None]
    for network, window in found:
        rounded = receptive_field_of(network.to(torch.float32), windowed_node(network))
        assert rounded is not None
        for exact, low in zip(operators(window.network), operators(rounded.network), strict=True):
            np.testing.assert_array_equal(low.to_sparse().toarray(), exact.to_sparse().toarray().astype(np.float32))


def operators(network: Network) -> list[Operator]:
    return [operator for node in network.nodes if isinstance(node, Affine) for operator in node.operators]


def test_what_is_no_window() -> None:
    """Dense layers, and convolutions whose biases differ from place to place."""
    networks = (convolutional(seed) for seed in range(40))
    network = next(n for n in networks if receptive_field_of(n, windowed_node(n)) is not None)
    assert receptive_field_of(network, network.output) is None
    first = next(i for i, n in enumerate(network.nodes) if isinstance(n, Affine))
    affine = network.nodes[first]
    assert isinstance(affine, Affine)
    uneven = Affine(affine.inputs, affine.operators, affine.bias + torch.arange(affine.size).double())
    nodes = [uneven if i == first else n for i, n in enumerate(network.nodes)]
    assert receptive_field_of(Network(tuple(nodes), network.input_shape), windowed_node(network)) is None


@pytest.mark.parametrize("pads", [(-1, 0, 0, -2), (-1, -1, -1, -1), (2, -1, 0, 1)])
def test_negative_paddings_cut(pads: tuple[int, int, int, int]) -> None:
    """Apply, adjoint and the sparse matrix agree."""
    rng = np.random.default_rng(0)
    operator = Conv2d(tensor(rng.normal(size=(2, 1, 2, 3))), (1, 7, 8), (2, 1), pads)
    matrix = operator.to_sparse().toarray()
    x, y = rng.normal(size=(3, operator.in_size)), rng.normal(size=(3, operator.out_size))
    np.testing.assert_allclose(operator.apply(tensor(x)).numpy(), x @ matrix.T, atol=1e-12)
    np.testing.assert_allclose(operator.adjoint(tensor(y)).numpy(), y @ matrix, atol=1e-12)

"""Lipschitz constants and l2 balls around what nodes read: against sampled points, exact minima and known constants."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, forward_exactly, random_network, scaled

from advverify.models.zoo import names, path_of
from advverify.verifier.api import Model, certify, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.activation_balls import NodeBalls, ReluBall, ValueBall
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import Start
from advverify.verifier.bounds.lipschitz import lipschitz_constants
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate, evaluate_all
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.network.operators import Dense, Select
from advverify.verifier.norms import get_norm
from advverify.verifier.specification import Threat


def potential_network(seed: int, residue: float = 0.0, diagonal: bool = False) -> Network:
    """Layers y - H^T T relu(H y + b) of norm 1 and an orthogonal head of 3 rows; `residue` disturbs the transposes.

    T is a multiple of I, or any positive diagonal.
    """
    size, blocks = 6, 3
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((size,))
    z = b.affine([0], [Dense(tensor(np.linalg.qr(rng.normal(size=(size, size)))[0]))], rng.normal(size=size) * 0.1)
    for _ in range(blocks):
        h = rng.normal(size=(size, size))
        inner = b.relu(b.affine([z], [Dense(tensor(h))], rng.normal(size=size) * 0.3))
        t = np.diag(rng.random(size) + 0.5 if diagonal else np.ones(size))
        step = -2 / np.linalg.norm(np.sqrt(t) @ h, 2) ** 2 * h.T @ t + residue * rng.normal(size=h.T.shape)
        z = b.affine([z, inner], [Select.identity(size), Dense(tensor(step))], None)
    head = np.linalg.qr(rng.normal(size=(size, size)))[0][:3]
    return b.finish(b.affine([z], [Dense(tensor(head))], None))


def orthogonal_network(seed: int, size: int = 32, layers: int = 4) -> Network:
    """Dense layers that keep lengths, and a head of 3 orthogonal rows."""
    rng = np.random.default_rng(seed)
    b, node = NetworkBuilder((size,)), 0
    for _ in range(layers):
        weight = np.linalg.qr(rng.normal(size=(size, size)))[0]
        node = b.relu(b.affine([node], [Dense(tensor(weight))], rng.normal(size=size) * 0.1))
    head = np.linalg.qr(rng.normal(size=(size, size)))[0][:3]
    return b.finish(b.affine([node], [Dense(tensor(head))], None))


def any_network(kind: str, seed: int) -> Network:
    if kind == "potential":
        return potential_network(seed, residue=0.1 * (seed % 3), diagonal=bool(seed % 2))
    return random_network(kind, seed)


def ball(network: Network, seed: int, norm: str, radius: float) -> tuple[InputSet, torch.Tensor]:
    """A ball in [0, 1] with balls of nodes, and points of it."""
    rng = np.random.default_rng(seed)
    center = torch.from_numpy(rng.random((1, network.input_size)))
    radii = torch.tensor([radius], dtype=torch.float64)
    whole = InputSet(torch.zeros_like(center), torch.ones_like(center), get_norm(norm), center, radii)
    inputs = whole.with_radius(radii).with_balls(network)
    moves = torch.from_numpy(rng.normal(size=(2000, network.input_size)))
    length = torch.linalg.vector_norm(moves, float(norm), dim=-1, keepdim=True)
    share = torch.from_numpy(rng.random((2000, 1))) ** 0.3
    points = center + moves / length * radius * share
    inside = ((points >= 0) & (points <= 1)).all(-1)
    return inputs, torch.cat([center, points[inside]])


anywhere = given(
    st.sampled_from([*KINDS, "potential"]), st.integers(0, 10_000), st.sampled_from(["1", "2"]), st.floats(0.01, 1.0)
)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([*KINDS, "potential"]), st.integers(0, 10_000))
def test_lipschitz_constants_bound_differences(kind: str, seed: int) -> None:
    network = any_network(kind, seed)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.random((200, network.input_size)))
    y = x + torch.from_numpy(rng.normal(size=x.shape)) * 10.0 ** -rng.integers(0, 6)
    apart = torch.linalg.vector_norm(x - y, dim=-1)
    both = zip(evaluate_all(network, x), evaluate_all(network, y), lipschitz_constants(network), strict=True)
    for a, b, constant in both:
        assert (torch.linalg.vector_norm(a - b, dim=-1) <= constant * apart * (1 + 1e-6) + 1e-12).all()


@pytest.mark.parametrize("seed", range(5))
def test_spectral_norms_are_bounded_and_near(seed: int) -> None:
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder((7,))
    middle = 40 if seed % 2 else 120
    matrices = [rng.normal(size=(110, 7)), rng.normal(size=(middle, 110)), rng.normal(size=(103, middle))]
    node, exact = 0, np.eye(7)
    for matrix in matrices:
        node, exact = builder.affine([node], [Dense(tensor(matrix))], None), matrix @ exact
    constant = lipschitz_constants(builder.finish(node))[-1]
    norm = np.linalg.norm(exact, 2)
    assert norm * (1 - 1e-14) <= constant <= norm * (1 + 1e-8)


@pytest.mark.parametrize("diagonal", [False, True])
def test_layers_of_potentials_have_constant_one(diagonal: bool) -> None:
    constants = lipschitz_constants(potential_network(0, diagonal=diagonal))
    assert constants[-1] == pytest.approx(1.0, abs=1e-6)
    disturbed = lipschitz_constants(potential_network(0, residue=0.1))[-1]
    assert 1.0 < disturbed < lipschitz_constants(random_network("residual", 0))[-1] * 10


def test_shipped_potential_networks_are_recognised() -> None:
    """Of the zoo: one layer after the other adds what float32 weights deviate, no more."""
    for name in names():
        constants = lipschitz_constants(read_onnx(path_of(name)))
        assert all(np.isfinite(constants))
        if "cpl" in name:
            assert constants[4] <= constants[1] * (1 + 1e-4) and constants[7] <= constants[4] * (1 + 1e-4)


@settings(deadline=None, max_examples=40)
@anywhere
def test_balls_hold_the_values(kind: str, seed: int, norm: str, radius: float) -> None:
    network = any_network(kind, seed)
    inputs, points = ball(network, seed, norm, radius)
    values = evaluate_all(network, points)
    for i in network.bounded:
        known = inputs.ball(i)
        assert known is None if i == 0 else known is not None
        if known is not None:
            assert (torch.linalg.vector_norm(values[i] - known.center, dim=-1) <= known.radius).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.05, 3.0), st.sampled_from([torch.float64, torch.float32]))
def test_offsets_are_lower_bounds_and_rise_towards_the_center(seed: int, radius: float, dtype: torch.dtype) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 6))
    center, half = torch.from_numpy(rng.normal(size=(1, size))), torch.from_numpy(rng.random((1, size)) * 2)
    middle = center + torch.from_numpy(rng.normal(size=(1, size))) * 0.3 * half
    lower, upper = middle - half, middle + half
    found = ReluBall.of(lower, upper, ValueBall(center, torch.tensor([radius], dtype=torch.float64), 1.0))
    if found is None:
        return
    c, g = (torch.from_numpy(rng.normal(size=(1, 4, size)) * 10.0 ** rng.integers(-2, 3)) for _ in range(2))
    offset, bend, _ = found.to(dtype).offset(c, g)
    moves = torch.from_numpy(rng.normal(size=(20_000, size)))
    moves = moves / torch.linalg.vector_norm(moves, dim=-1, keepdim=True) * torch.from_numpy(rng.random((20_000, 1)))
    points = (center + moves * radius).clamp(lower, upper)
    points = points[torch.linalg.vector_norm(points - center, dim=-1) <= radius]
    if len(points):
        columns = found.columns
        terms = c[0, :, None, columns] * points[:, columns].clamp(min=0) - g[0, :, None, columns] * points[:, columns]
        room = (1e-4 if dtype == torch.float32 else 1e-12) * (c.abs() + g.abs()).sum(-1)[0, :, None] * 10
        nearer = radius**2 - (points - center).square().sum(-1)
        assert (offset[0, :, None] + bend[0, :, None] * nearer <= terms.sum(-1) + room).all()


@settings(deadline=None, max_examples=40)
@anywhere
def test_bounds_with_balls_hold_and_are_no_worse(kind: str, seed: int, norm: str, radius: float) -> None:
    network = any_network(kind, seed)
    inputs, points = ball(network, seed, norm, radius)
    values = evaluate_all(network, points)
    with torch.no_grad():
        bounds = crown(network, inputs)
    for i in network.bounded:
        assert (values[i] >= bounds[i].lower).all() and (values[i] <= bounds[i].upper).all()
    rng = np.random.default_rng(seed)
    rows = torch.from_numpy(rng.normal(size=(1, 4, network.output_size)))
    start = Start.output(network, rows, torch.zeros(1, 4, dtype=torch.float64))
    least = (evaluate(network, points) @ rows[0].T).amin(0)
    plain = raise_bounds(network, without(inputs), start, bounds, options=AlphaCrown(steps=0)).bound[0]
    for steps in (0, 10):
        float32_network = network.to(torch.float32, network.device) if seed % 2 else None
        found = raise_bounds(
            network, inputs, start, bounds, options=AlphaCrown(steps=steps), float32_network=float32_network
        )
        assert (found.bound[0] <= least).all()
        certified = inputs.certified_radius(found.form.coefficients, found.form.offset, found.form.bend)[0]
        assert (certified >= inputs.certified_radius(found.form.coefficients, found.form.offset)[0]).all()
        lengths = torch.linalg.vector_norm(points - points[0], float(norm), dim=-1)
        unsafe = (evaluate(network, points) @ rows[0].T) < 0
        assert (lengths[:, None] >= certified - 1e-12)[unsafe].all()
        if steps == 0:
            assert (found.bound[0] >= plain - 1e-9).all()


def without(inputs: InputSet) -> InputSet:
    """The same regions without balls."""
    return replace(inputs, balls=None)


def test_lipschitz_networks_gain() -> None:
    """Without balls the bound of a 1-Lipschitz network may be far below what its constant alone proves."""
    network = orthogonal_network(1)
    inputs, points = ball(network, 1, "2", 0.5)
    row = torch.tensor([[[1.0, -1.0, 0.0]]]).double()
    start = Start.output(network, row, torch.zeros(1, 1, dtype=torch.float64))
    margins = evaluate(network, points) @ row[0, 0]  # the first point is the center
    results = []
    for region in (without(inputs), inputs):
        with torch.no_grad():
            bounds = crown(network, region)
        results.append(float(raise_bounds(network, region, start, bounds).bound))
    constant = float(margins[0]) - 0.5 * 2**0.5
    assert results[0] < constant < results[1] <= float(margins.min())


@pytest.mark.parametrize("norm", ["1", "2"])
def test_distances_do_not_depend_on_balls(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees with and without balls close on the same distance; certificates on either side of it agree."""
    network = potential_network(2)
    image = np.random.default_rng(2).random(6)
    label = int(evaluate(network, torch.from_numpy(image)[None]).argmax())
    with_balls = distance(Model(network), image, label, Threat(norm)).bracket
    assert certify(Model(network), image, label, Threat(norm, 0.999 * with_balls.lower)).verdict.value == "robust"
    assert certify(Model(network), image, label, Threat(norm, 1.001 * with_balls.upper)).verdict.value == "adversarial"
    monkeypatch.setattr(InputSet, "with_balls", lambda self, network: self)
    plain = distance(Model(network), image, label, Threat(norm)).bracket
    assert with_balls.lower <= plain.upper and plain.lower <= with_balls.upper


def test_node_balls_select_rows() -> None:
    network = random_network("mlp", 0)
    centers = torch.rand(3, 3, dtype=torch.float64)
    balls = NodeBalls.around(network, centers).rows(torch.tensor([2, 2]))
    node = network.bounded[-1]
    np.testing.assert_allclose(balls.center[node][0], evaluate_all(network, centers)[node][2])
    assert balls.at(node, torch.tensor([0.1, 0.2])).radius.shape == (2,)


@pytest.mark.parametrize("kind", [*KINDS, "potential"])
def test_centers_are_off_by_no_more_than_is_said(kind: str) -> None:
    """Balls without a radius hold the exact values of their centers: rational arithmetic, biases that cancel."""
    for seed in range(4):
        network = scaled(any_network(kind, seed), 1e9)
        center = torch.from_numpy(np.random.default_rng(seed).random((1, network.input_size)))
        exact = forward_exactly(network, [Fraction(float(v)) for v in center[0]])
        balls = NodeBalls.around(network, center)
        for node in balls.center:
            known = balls.at(node, torch.zeros(1, dtype=torch.float64))
            off = sum((Fraction(float(v)) - e) ** 2 for v, e in zip(known.center[0], exact[node], strict=True))
            assert off <= Fraction(float(known.radius[0])) ** 2
            each = zip(known.center[0], exact[node], strict=True)
            assert float(known.radius[0]) > 0 or all(Fraction(float(v)) == e for v, e in each)


def test_balls_reach_what_a_shift_moves() -> None:
    """Weights of size 1e6 that shift values by exactly constant times radius: what the center is off comes on top."""
    builder = NetworkBuilder((2,))
    h = builder.affine([0], [Dense(tensor(np.array([[1e6 + 1 / 3, 0.0], [0.0, 1 / 7]])))], np.array([1e8 / 3, 0.1]))
    network = builder.finish(builder.affine([builder.relu(h)], [Dense(tensor(np.ones((1, 2))))], None))
    node = network.bounded[0]
    for seed in range(50):
        center = torch.from_numpy(np.random.default_rng(seed).random((1, 2)))
        ball = NodeBalls.around(network, center).at(node, torch.tensor([1e-12], dtype=torch.float64))
        moved = [Fraction(float(center[0, 0])) + Fraction(1e-12), Fraction(float(center[0, 1]))]
        value = forward_exactly(network, moved)[node]
        off = sum((Fraction(float(v)) - e) ** 2 for v, e in zip(ball.center[0], value, strict=True))
        assert off <= Fraction(float(ball.radius[0])) ** 2


def test_short_steps_of_potentials_do_not_contract() -> None:
    """Where the ReLUs are off a layer y - H^T relu(H y + b) is the identity, however short its step is."""
    rng = np.random.default_rng(0)
    b = NetworkBuilder((4,))
    z = b.affine([0], [Dense(tensor(np.linalg.qr(rng.normal(size=(4, 4)))[0]))], rng.normal(size=4))
    h = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    inner = b.relu(b.affine([z], [Dense(tensor(h))], np.full(4, -100.0)))
    network = b.finish(b.affine([z, inner], [Select.identity(4), Dense(tensor(-0.5 * h.T))], None))
    x = torch.from_numpy(rng.random((50, 4)))
    moved = torch.linalg.vector_norm(evaluate(network, x) - evaluate(network, x + 0.01), dim=-1)
    assert (moved <= lipschitz_constants(network)[-1] * 0.02 * (1 + 1e-9)).all()
    assert lipschitz_constants(network)[-1] == pytest.approx(1.0)


def test_maxima_over_windows_that_overlap() -> None:
    """One entry that is the maximum of many windows moves all of them."""
    b = NetworkBuilder((3,))
    h = b.maximum(0, np.array([[0, 1], [0, 2], [0, 1], [0, 2]]))
    network = b.finish(b.affine([b.relu(h)], [Select.identity(4)], None))
    x = torch.tensor([[0.9, 0.1, 0.1], [0.8, 0.1, 0.1]]).double()
    moved = float(torch.linalg.vector_norm(evaluate(network, x)[0] - evaluate(network, x)[1]))
    assert moved <= lipschitz_constants(network)[-1] * 0.1 * (1 + 1e-9)


def test_sums_of_parts_that_move_alike() -> None:
    """A residual sum of two equal branches moves twice as far as either."""
    b = NetworkBuilder((3,))
    eye = Dense(tensor(np.eye(3)))
    left, right = b.relu(b.affine([0], [eye], np.ones(3))), b.relu(b.affine([0], [eye], np.full(3, 2.0)))
    network = b.finish(b.affine([left, right], [Select.identity(3), Select.identity(3)], None))
    x = torch.tensor([[0.5, 0.5, 0.5], [0.4, 0.5, 0.5]]).double()
    moved = float(torch.linalg.vector_norm(evaluate(network, x)[0] - evaluate(network, x)[1]))
    assert moved == pytest.approx(0.2) and moved <= lipschitz_constants(network)[-1] * 0.1 * (1 + 1e-9)

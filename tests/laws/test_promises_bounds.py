"""What single lines of norms and bounds promise: faults in them that tests of whole answers are too coarse to notice."""

import importlib
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from convolutional import convolutional, regions, windowed_node
from networks import KINDS, random_network

from advverify.verifier.bounds import InputSet, crown, forward, lipschitz
from advverify.verifier.bounds.activation_balls import NodeBalls, ReluBall
from advverify.verifier.bounds.backward import backward, lower_and_upper
from advverify.verifier.bounds.bounds import Interval
from advverify.verifier.bounds.crown import relaxations
from advverify.verifier.bounds.halfspace import HalfSpaces
from advverify.verifier.bounds.intermediate import tighten_intermediate
from advverify.verifier.bounds.neuron_split import NeuronSplit, tighten_node
from advverify.verifier.bounds.receptive_field import receptive_field_of
from advverify.verifier.bounds.relaxation import relax_relu
from advverify.verifier.bounds.rounding import Losses, RoundingLoss
from advverify.verifier.engines.branch_and_bound.input.search import clip
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Network, predecessors
from advverify.verifier.network.operators import Conv2d, Dense
from advverify.verifier.norms import get_norm
from advverify.verifier.norms.base import ball_box

F64 = torch.float64
backwards = importlib.import_module("advverify.verifier.bounds.backward")


def vector(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=F64)


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("value", [-1.0, -1e-300, math.nan])
def test_nothing_is_certified_around_an_unsafe_center(name: str, value: float) -> None:
    norm, center = get_norm(name), vector(0.5, 0.5, 0.5)
    for a in (vector(0.0, 0.0, 0.0), vector(1.0, -2.0, 0.5), vector(1e-12, 0.0, 0.0)):
        radius = norm.certified_radius(a, torch.tensor([value], dtype=F64), center, center - 0.5, center + 0.5)
        assert float(radius) <= 0


def test_boxes_around_balls_are_rounded_outward_unless_it_is_said() -> None:
    rng = np.random.default_rng(0)
    center, reach = (
        torch.from_numpy(rng.random(500)),
        torch.from_numpy(rng.random(500) * 10.0 ** rng.integers(-9, 1, 500)),
    )
    low, high = ball_box(center, reach)
    inexact = 0
    for c, r, lower, upper in zip(center.tolist(), reach.tolist(), low.tolist(), high.tolist(), strict=True):
        assert Fraction(lower) <= Fraction(c) - Fraction(r) and Fraction(upper) >= Fraction(c) + Fraction(r)
        inexact += Fraction(upper) != Fraction(c) + Fraction(r)
    assert inexact > 100


def test_members_of_a_batch_keep_their_own_half_spaces() -> None:
    box = InputSet(torch.zeros(3, 2, dtype=F64), torch.ones(3, 2, dtype=F64))
    half = HalfSpaces(torch.arange(6, dtype=F64).view(3, 2), torch.tensor([-1.0, -2.0, -3.0], dtype=F64))
    taken = box.within(half).rows(torch.tensor([2, 1])).halfspace
    assert taken is not None
    assert taken.offset.tolist() == [-3.0, -2.0] and taken.coefficients.tolist() == [[4.0, 5.0], [2.0, 3.0]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lines_hold_however_little_a_relu_crosses(dtype: torch.dtype) -> None:
    for lower, upper in (
        (-0.01, 1.0),
        (-1e-9, 2.0),
        (-1.0, 0.01),
        (-3.0, 1e-9),
        (-0.04, 0.03),
        (0.0, 1.0),
        (-1.0, 0.0),
    ):
        lines = relax_relu(Interval(vector(lower), vector(upper)), dtype)
        assert bool(Interval(vector(lower), vector(upper)).unstable) == (lower < 0 < upper)
        for x in np.linspace(lower, upper, 21):
            assert float(lines.lower_slope) * x <= max(x, 0.0) + 1e-15
            assert float(lines.upper_slope) * x + float(lines.upper_offset) >= max(x, 0.0)


def test_constant_bands_are_rounded_outward() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 400)) * 1e3)
    band = forward._constant(Interval(values, values), 3, torch.float32)
    assert (band.lower[:, -1].double() <= values).all() and (band.upper[:, -1].double() >= values).all()
    assert (band.lower[:, :-1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_linear_nodes_have_no_relu_before_them(kind: str) -> None:
    network = random_network(kind, 0)
    x, y = (torch.from_numpy(np.random.default_rng(s).random((1, network.input_size)) * 4 - 2) for s in (1, 2))
    first, second, middle = (evaluate_all(network, point) for point in (x, y, (x + y) / 2))
    for i in network.linear_nodes:
        assert torch.allclose((first[i] + second[i]) / 2, middle[i], atol=1e-12)
    assert network.output not in network.linear_nodes and 0 in network.linear_nodes


def test_sums_of_relus_and_inputs_are_not_linear() -> None:
    b = NetworkBuilder((2,))
    eye = Dense(tensor(np.eye(2)))
    both = b.affine([0, b.relu(b.affine([0], [eye], np.zeros(2)))], [eye, eye], np.zeros(2))
    assert both not in b.finish(both).linear_nodes


def test_centers_lose_what_the_theory_of_sums_says() -> None:
    """gamma_n |A| |x| a layer (Higham, Accuracy and Stability, section 3.1), carried on by |A| of the next one."""
    rng, n = np.random.default_rng(0), 200
    first, second = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    b = NetworkBuilder((n,))
    hidden = b.relu(b.affine([0], [Dense(tensor(first))], np.zeros(n)))
    last = b.relu(b.affine([hidden], [Dense(tensor(second))], np.zeros(n)))
    network = b.finish(b.affine([last], [Dense(tensor(np.ones((1, n))))], np.zeros(1)))
    x = rng.random(n)
    balls, unit = NodeBalls.around(network, torch.from_numpy(x[None])), 2.0**-53
    error = n * unit * np.abs(first) @ np.abs(x)
    assert float(balls.error[1]) >= np.linalg.norm(error)
    carried = np.abs(second) @ error
    own = n * unit * np.abs(second) @ np.maximum(first @ x, 0)
    assert float(balls.error[3]) >= np.linalg.norm(carried + own) and np.linalg.norm(carried) > np.linalg.norm(own)


def test_rough_norms_bound_norms() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        entries = rng.normal(size=(3 + seed % 4, 5)) * (rng.random((3 + seed % 4, 5)) < 0.6)
        matrix = lipschitz._Matrix.of(Dense(tensor(entries)))
        assert matrix.rough_norm() >= np.linalg.norm(entries, 2) * (1 - 1e-12)
    ones = lipschitz._Matrix.of(Dense(tensor(np.ones((4, 4)))))
    assert ones.rough_norm() >= 4.0


def test_an_eigenvalue_counts_only_where_its_factorisation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = np.diag([1.0, 4.0, 9.0])
    monkeypatch.setattr(lipschitz, "_guess", lambda _: 2.0)  # wrong: below the largest eigenvalue
    assert lipschitz._largest_eigenvalue(gram) >= 9.0


def windowed(seed: int) -> tuple[Network, int] | None:
    network = convolutional(seed, bool(seed % 2))
    node = windowed_node(network)
    return None if receptive_field_of(network, node) is None else (network, node)


def test_windows_carry_rounding_losses() -> None:
    """Losses a billion times as large, so that they show."""
    seen = 0
    for seed in range(30):
        if (found := windowed(seed)) is None:
            continue
        (network, node), inputs = found, regions(found[0], seed, count=1)
        window = receptive_field_of(network, node)
        assert window is not None
        with torch.no_grad():
            bounds = crown(network, inputs)
            true = RoundingLoss.of(network, inputs, bounds)
            losses, none = (Losses([loss * times for loss in true.vectors], true.floor) for times in (1e9, 0.0))
            relaxed = relaxations(network, bounds, node)
            index = torch.arange(network.nodes[node].size)[None]
            form = backward(network, lower_and_upper(network, node, index, losses[node]), relaxed, losses=losses)
            whole = inputs.minimum(form.coefficients, form.offset)
            plain = window.lower_bounds(inputs, index, relaxed, none)
            local = window.lower_bounds(inputs, index, relaxed, losses)
        lost = plain - whole
        assert ((plain - local) >= 0.5 * lost - 1e-12).all() and float(lost.max()) > 1e-8
        seen += 1
    assert seen >= 5


def test_what_an_affine_node_reads_from_another_has_no_window() -> None:
    """Beyond the borders the inner convolution would show its bias, where the whole network reads zeros."""
    rng = np.random.default_rng(0)
    b = NetworkBuilder((1, 12, 12))
    pads = (1, 1, 1, 1)
    first = Conv2d(tensor(rng.normal(size=(1, 1, 3, 3))), (1, 12, 12), (1, 1), pads)
    node = b.relu(b.affine([0], [first], np.full(144, 0.5)))
    inner = b.affine([node], [first], np.full(144, 5.0))
    outer = b.relu(b.affine([inner, b.relu(inner)], [first, first], np.zeros(144)))
    network = b.finish(b.affine([outer], [Dense(tensor(rng.normal(size=(2, 144))))], np.zeros(2)))
    assert receptive_field_of(network, windowed_node(network)) is None
    assert any(len(predecessors(n)) > 1 for n in network.nodes)


def test_intermediate_bounds_of_windows_hold() -> None:
    seen = 0
    for seed in range(30):
        if (found := windowed(seed)) is None:
            continue
        network, inputs = found[0], regions(found[0], seed, count=1)
        with torch.no_grad():
            known = crown(network, inputs)
        bounds = tighten_intermediate(network, inputs, known)
        share = torch.from_numpy(np.random.default_rng(seed).random((500, network.input_size)))
        values = evaluate_all(network, inputs.lower + torch.cat([share, share.round()]) * (inputs.upper - inputs.lower))
        for node in network.bounded:
            assert (values[node] >= bounds[node].lower).all() and (values[node] <= bounds[node].upper).all()
        seen += 1
    assert seen >= 5


def test_neurons_lose_by_rounding_in_their_own_layer() -> None:
    """With a loss that large nothing can be gained."""
    network = random_network("mlp", 0)
    inputs = InputSet(torch.zeros(1, 3, dtype=F64), torch.ones(1, 3, dtype=F64))
    bounds, node = crown(network, inputs), network.bounded[-1]
    assert bool(bounds[node].unstable.any())
    vectors = [torch.zeros(1, n.size, dtype=F64) for n in network.nodes]
    vectors[node] = torch.full_like(vectors[node], 100.0)
    losses = Losses(vectors, torch.zeros(1, dtype=F64))
    found = tighten_node(network, inputs, bounds, node, 5.0, NeuronSplit(seconds=5.0), losses=losses)
    assert torch.equal(found[node].lower, bounds[node].lower) and torch.equal(found[node].upper, bounds[node].upper)


def test_adding_a_bias_rounds() -> None:
    """A bias of 1e12 beside weights of 1 loses the unit of 1e12."""
    b = NetworkBuilder((2,))
    hidden = b.relu(b.affine([0], [Dense(tensor(np.eye(2)))], np.full(2, 1e12)))
    network = b.finish(b.affine([hidden], [Dense(tensor(np.ones((1, 2))))], np.full(1, -2e12)))
    inputs = InputSet(torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64))
    losses = RoundingLoss.of(network, inputs, crown(network, inputs))
    assert (losses[1] >= 1e12 * 2.0**-53).all() and (losses[3] >= 2e12 * 2.0**-53).all()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200, 997, 4096])
def test_inner_products_count_every_term(size: int) -> None:
    """Blocks of a wide layer, one vector for all rows or one for each."""
    rng = np.random.default_rng(size)
    weights, value = rng.normal(size=(1, 2, size)).astype(np.float32), rng.normal(size=size).astype(np.float32)
    exact = weights.astype(np.float64) @ value.astype(np.float64)
    for shape in ((size,), (1, 1, size), (1, 2, size)):
        values = torch.from_numpy(np.broadcast_to(value, shape).copy())
        found = backwards._inner(torch.from_numpy(weights), values, F64)
        np.testing.assert_allclose(found.numpy(), exact, rtol=0, atol=1e-5 * size)


def test_relu_balls_keep_their_own_radii() -> None:
    many = torch.arange(6.0, dtype=F64).view(3, 1, 2)
    ball = ReluBall(torch.tensor([0, 1]), many - 9, many + 9, many, torch.tensor([[1.0], [2.0], [3.0]], dtype=F64), 1.0)
    taken = ball.rows(torch.tensor([2, 1]))
    assert taken.radius.tolist() == [[3.0], [2.0]]
    for whole, part in ((ball.center, taken.center), (ball.lower, taken.lower), (ball.upper, taken.upper)):
        assert torch.equal(part, whole[[2, 1]])


def test_boxes_are_not_clipped_inward_by_rounding() -> None:
    """Vertices of the allowed part, where rows are exactly 0, stay inside."""
    rng, kept = np.random.default_rng(0), 0
    for _ in range(300):
        a, limit = rng.integers(1, 9, 2).astype(float), rng.integers(1, 9) / 8
        rows, offset = torch.tensor([[[a[0], a[1]]]], dtype=F64), torch.tensor([[-limit * a[0]]], dtype=F64)
        zero, one = torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64) * 8
        low, high, empty = clip(zero, one, rows, offset)
        corner = torch.tensor([[limit, 0.0]], dtype=F64)  # a x = limit a[0]
        assert not bool(empty) and bool(((corner >= low) & (corner <= high)).all())
        kept += float(high[0, 0]) < 8
    assert kept > 200

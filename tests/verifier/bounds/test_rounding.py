"""Rounding losses: at least what theory demands, and at least what exact rational arithmetic finds."""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from networks import KINDS, forward_exactly, random_network, scaled, with_scales

from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import Start, backward, lower_and_upper
from advverify.verifier.bounds.bounds import Bounds
from advverify.verifier.bounds.crown import relaxations
from advverify.verifier.bounds.halfspace import HalfSpaces, added
from advverify.verifier.bounds.rounding import RoundingLoss, gamma
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Affine, Max, Network, Relu, predecessors
from advverify.verifier.network.operators import Compose, Dense, Scale

DTYPES = [torch.float32, torch.float64]


def region(network: Network, seed: int, reach: float = 0.7) -> InputSet:
    """Two boxes of which some sides are negative, others not."""
    rng = np.random.default_rng(seed)
    center = torch.from_numpy(rng.normal(size=(2, network.input_size)) * 0.5)
    return InputSet(center - reach, center + reach)


def samples(inputs: InputSet, member: int, seed: int) -> torch.Tensor:
    """Corners and other points of a box."""
    rng = np.random.default_rng(seed)
    share = torch.from_numpy(
        np.concatenate([rng.integers(0, 2, (100, inputs.lower.shape[1])), rng.random((100, inputs.lower.shape[1]))])
    )
    return inputs.lower[member] + share * (inputs.upper[member] - inputs.lower[member])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_at_least_what_theory_demands(kind: str, dtype: torch.dtype) -> None:
    """gamma_n |A| X for n roundings, X at least what every node takes; both known bounds and none."""
    unit = torch.finfo(dtype).eps / 2
    for seed in range(3):
        network = random_network(kind, seed)
        low, inputs = network.to(dtype), region(network, seed)
        readers = [sum(predecessors(node).count(i) for node in network.nodes) for i in range(len(network.nodes))]
        for bounds in (Bounds(), crown(network, inputs)):
            found = RoundingLoss.along(low, inputs, bounds)
            for member in range(2):
                values = evaluate_all(network, samples(inputs, member, seed))
                for i, node in enumerate(network.nodes):
                    assert (values[i].abs() <= found.magnitude[i][member].double() * (1 + 1e-9)).all(), (i, node.name)
                    if i == 0:
                        continue
                    if isinstance(node, Affine):
                        demanded = node.bias.abs() * unit
                        for j, operator in zip(node.inputs, node.operators, strict=True):
                            matrix = abs(operator.to_sparse())
                            n = int((matrix > 0).sum(0).max()) + readers[j] - 1  # products and sums for an entry
                            size = found.magnitude[j][member].double().numpy()
                            demanded = demanded + gamma(max(n, 1), dtype) * torch.from_numpy(matrix @ size)
                    elif isinstance(node, Relu):
                        demanded = unit * values[node.input].abs().amax(0)
                    else:
                        assert isinstance(node, Max)
                        demanded = unit * values[i].abs().amax(0)
                    assert (found.losses[i][member].double() >= demanded * (1 - 1e-6)).all(), (i, node.name)


def test_members_of_a_batch_have_losses_of_their_own() -> None:
    network = random_network("mlp", 0)
    inputs = InputSet(torch.tensor([[0.0] * 3, [-90.0] * 3]).double(), torch.tensor([[0.1] * 3, [-80.0] * 3]).double())
    together = RoundingLoss.of(network, inputs, Bounds())
    for member in range(2):
        alone = RoundingLoss.of(network, inputs.rows(torch.tensor([member])), Bounds())
        for i in range(len(network.nodes)):
            torch.testing.assert_close(together[i][member], alone[i][0])
    assert (together[1][1] > 100 * together[1][0]).all()


def exact(values: torch.Tensor) -> list[Fraction]:
    return [Fraction(float(v)) for v in values]


def inner(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


@pytest.mark.parametrize("factor", [1.0, 1e7, "underflow"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_bounds_hold_in_rational_arithmetic(kind: str, dtype: torch.dtype, factor: float | str) -> None:
    """At points, regions without width, nothing but rounding lies between a bound and a value; both sides of every node.

    Layers whose products lie below the smallest numbers of a precision have bounds that say so, also where a later layer is large.
    """
    settled, shift = 0, factor if isinstance(factor, float) else 1.0
    for seed in range(6):
        network = scaled(random_network(kind, seed), shift)
        if factor == "underflow":
            small = {torch.float32: 2.0**-76, torch.float64: 2.0**-535}[dtype]
            large = 1 / small
            smallest = {torch.float32: 2.0**-145, torch.float64: 2.0**-1070}[
                dtype
            ]  # most of a weight's digits are gone
            chains = (
                [small, small, large, large],
                [small, large],
                [large, small, small, large],
                [large, smallest, large],
            )
            network = with_scales(network, chains[seed % 4])
        low = network.to(dtype)
        if factor != "underflow":  # what a precision loses of weights counts as well
            network = low.to(torch.float64)
        rng = np.random.default_rng(seed)
        x = torch.from_numpy(rng.random((1, network.input_size))) - 0.3
        values = forward_exactly(network, exact(x[0]))
        inputs = InputSet(x, x)
        bounds = crown(low, inputs)
        losses = RoundingLoss.of(low, inputs, bounds)
        for node in network.bounded:
            index = torch.arange(network.nodes[node].size)[None]
            start = lower_and_upper(low, node, index, losses[node])
            proved = inputs.minimum(*_line(backward(low, start, relaxations(low, bounds, node + 1), losses=losses)))[0]
            ends = [proved[: len(index[0])], -proved[len(index[0]) :]]
            for least, most in ((bounds[node].lower[0], bounds[node].upper[0]), ends):
                for value, below, above in zip(values[node], least.tolist(), most.tolist(), strict=True):
                    if not math.isfinite(below) or not math.isfinite(above):  # float32 has no numbers of that size
                        continue
                    assert Fraction(below) <= value <= Fraction(above), (node, float(value - Fraction(below)))
                    settled += 1
        rows = torch.from_numpy(rng.normal(size=(1, 4, network.output_size)).astype(np.float32)).double()
        offset = torch.from_numpy(rng.normal(size=(1, 4))) * (shift if factor != "underflow" else 1e-30 ** (seed % 3))
        start = Start.output(low, rows, offset)
        reads = {i: node.input for i, node in enumerate(network.nodes) if isinstance(node, Relu)}
        splits = {i: torch.where(bounds[j].lower > 0, 1.0, -1.0) for i, j in reads.items()}
        for steps, cut in ((0, None), (3, None), (3, splits)):
            best = raise_bounds(
                low, inputs, start, bounds, cut, options=AlphaCrown(steps=steps), threshold=np.inf
            ).bound[0]
            for k in range(4):
                if not math.isfinite(best[k]):
                    continue
                assert Fraction(float(best[k])) <= inner(exact(rows[0, k]), values[-1]) + Fraction(float(offset[0, k]))
    assert settled > 0


def _line(form: object) -> tuple[torch.Tensor, torch.Tensor]:
    return form.coefficients, form.offset  # type: ignore[attr-defined]


def test_wide_layers_and_split_multipliers_lose_what_they_must() -> None:
    """A bias of a hundred entries in float32, and multipliers of splits far larger than what is bounded."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder((4,))
    h = builder.relu(builder.affine([0], [Dense(tensor(rng.normal(size=(200, 4))))], rng.normal(size=200) * 1e3))
    network = builder.finish(builder.affine([h], [Dense(tensor(rng.normal(size=(2, 200))))], rng.normal(size=2)))
    low = network.to(torch.float32)
    network = low.to(torch.float64)
    for seed in range(4):
        x = torch.from_numpy(np.random.default_rng(seed).random((1, 4)))
        inputs, values = InputSet(x, x), forward_exactly(network, exact(x[0]))
        bounds = crown(low, inputs)
        losses = RoundingLoss.of(low, inputs, bounds)
        start = Start.output(low, torch.eye(2)[None].double(), torch.zeros(1, 2).double())
        active = torch.tensor([v > 0 for v in values[1]])
        for size in (0.0, 1e6):
            beta = torch.where(active, -1.0, 1.0).float()[None, None] * size * torch.rand(200)
            form = backward(low, start, relaxations(low, bounds), {2: beta}, losses=losses)
            proved = inputs.minimum(form.coefficients, form.offset)[0]
            for k in range(2):
                assert Fraction(float(proved[k])) <= values[-1][k]


@pytest.mark.parametrize("seed", range(20))
def test_half_spaces_are_added_from_below(seed: int) -> None:
    """(a + t f) x + c + t g, as rounded, lies below a x + c wherever f x + g <= 0: by rational arithmetic at such points."""
    rng = np.random.default_rng(seed)
    n = 6
    a, f = (
        torch.from_numpy(rng.normal(size=shape) * 10.0 ** rng.integers(-3, 4, size=shape))
        for shape in ((1, 3, n), (1, n))
    )
    x = torch.from_numpy(rng.normal(size=n))
    at = inner(exact(f[0]), exact(x))
    g = torch.tensor([float(-at)], dtype=torch.float64)  # the border goes through x, but for rounding
    if at + Fraction(float(g)) > 0:
        g = torch.nextafter(g, torch.tensor([-np.inf], dtype=torch.float64))
    c = torch.from_numpy(rng.normal(size=(1, 3)))
    times = torch.from_numpy(rng.random((1, 3)) * 10.0 ** rng.integers(-2, 3, size=(1, 3)))
    coefficients, offset = added(a, c, HalfSpaces(f, g), times, x.abs()[None])
    for k in range(3):
        before = inner(exact(a[0, k]), exact(x)) + Fraction(float(c[0, k]))
        after = inner(exact(coefficients[0, k]), exact(x)) + Fraction(float(offset[0, k]))
        assert after <= before


def test_intervals_of_float32_networks_are_wide_enough() -> None:
    """Interval propagation at points, by rational arithmetic."""
    for kind in KINDS:
        for seed in range(3):
            low = scaled(random_network(kind, seed), 1e4).to(torch.float32)
            network = low.to(torch.float64)
            x = torch.from_numpy(np.random.default_rng(seed).random((1, network.input_size)))
            values, bounds = forward_exactly(network, exact(x[0])), ibp(low, InputSet(x, x))
            for node in network.bounded:
                for value, below, above in zip(values[node], bounds[node].lower[0], bounds[node].upper[0], strict=True):
                    assert Fraction(float(below)) <= value <= Fraction(float(above))


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_operators_are_rounded_on_both_sides(dtype: torch.dtype) -> None:
    """Coefficients of a composition are themselves rounded: at points, lower and upper sides of the node that it fills."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        factors = [tensor(rng.normal(size=6).astype(np.float32)) for _ in range(2)]
        builder = NetworkBuilder((6,))
        h = builder.affine([0], [Compose((Scale(factors[0]), Scale(factors[1])))], None)
        network = replace(builder.finish(builder.affine([builder.relu(h)], [Dense(torch.ones(1, 6).double())], None)))
        node = network.bounded[0]
        operators = (Compose((Scale(factors[0]), Scale(factors[1]))),)  # not multiplied out
        nodes = [
            replace(n, operators=operators) if isinstance(n, Affine) and i == node else n
            for i, n in enumerate(network.nodes)
        ]
        low = replace(network, nodes=tuple(nodes)).to(dtype)
        x = torch.from_numpy(rng.random((1, 6)))
        values = [a * b * c for a, b, c in zip(exact(factors[0]), exact(factors[1]), exact(x[0]), strict=True)]
        inputs = InputSet(x, x)
        losses = RoundingLoss.of(low, inputs, Bounds())
        form = backward(low, lower_and_upper(low, node, torch.arange(6)[None], losses[node]), {}, losses=losses)
        proved = inputs.minimum(form.coefficients, form.offset)[0]
        for k, value in enumerate(values):
            assert Fraction(float(proved[k])) <= value <= Fraction(-float(proved[6 + k]))

"""Linear lower bounds, input by input: below what they stand for at every point, not only in their minimum.

Both backward passes, the verifier's and the checker's, with any slopes, multipliers and phases; and what regions make of them.
"""

from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, forward_exactly, random_network, scaled
from onnx import numpy_helper
from onnx_networks import FILE_KINDS, write_network
from proof_files import checked_values

from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.bounds.backward import Start, backward
from advverify.verifier.bounds.crown import relaxations
from advverify.verifier.bounds.relaxation import ReluRelaxation
from advverify.verifier.bounds.rounding import RoundingLoss
from advverify.verifier.checker.arithmetic import Bounds as CheckedBounds
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.network import Network as CheckedNetwork
from advverify.verifier.checker.region import Region
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Network, Relu
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.norms import get_norm

SEEDS = st.integers(0, 10**6)


def box(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    center, reach = rng.normal(size=n) * 0.5, rng.random(n) * rng.choice([0.05, 0.5, 1.0])
    return center - reach, center + reach


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KINDS), SEEDS)
def test_backward_lies_below_at_every_point(kind: str, seed: int) -> None:
    """From random sums over all nodes; intermediate bounds by intervals or CROWN, cut to random phases."""
    rng = np.random.default_rng(seed)
    network = random_network(kind, seed % 20)
    low, high = box(rng, network.input_size)
    inputs = InputSet(torch.from_numpy(low)[None], torch.from_numpy(high)[None])
    points = torch.from_numpy(low + rng.random((500, len(low))) * (high - low))
    values = evaluate_all(network, points)
    bounds = crown(network, inputs) if rng.random() < 0.5 else ibp(network, inputs)
    inside = torch.ones(len(points), dtype=torch.bool)
    phases, multipliers = {}, {}
    for i in network.relus:
        node = network.nodes[i]
        assert isinstance(node, Relu)
        phase = torch.from_numpy(rng.choice([-1, 0, 0, 1], (1, node.size))) * bounds[node.input].unstable
        phase = phase * (rng.random() < 0.5)
        inside &= (values[node.input] * phase >= 0).all(-1)
        phases[i], multipliers[i] = phase, (-phase * torch.from_numpy(rng.exponential(size=(1, node.size))))[:, None]
    bounds = bounds.clipped(network, phases)
    relaxed = relaxations(network, bounds)
    for i in network.relus:
        node, relaxation = network.nodes[i], relaxed[i]
        assert isinstance(node, Relu) and isinstance(relaxation, ReluRelaxation)
        slopes = torch.from_numpy(rng.random((1, 3, node.size)) * 2 - 0.5)
        relaxed[i] = relaxation.with_slopes(slopes, bounds[node.input].unstable.unsqueeze(1))
    weights = {
        i: torch.from_numpy(rng.normal(size=(1, 3, node.size)))
        for i, node in enumerate(network.nodes)
        if i and (i == network.output or rng.random() < 0.4)
    }
    offset = torch.from_numpy(rng.normal(size=(1, 3)))
    form = backward(
        network, Start(weights, offset), relaxed, multipliers, losses=RoundingLoss.of(network, inputs, bounds)
    )
    line = points @ form.coefficients[0].T + form.offset[0]
    value = sum((values[i] @ weight[0].T for i, weight in weights.items()), torch.zeros(1)) + offset[0]
    assert (line[inside] <= value[inside] + 1e-9).all()


@cache
def files(kind: str, seed: int, factor: float = 1.0) -> tuple[Network, CheckedNetwork]:
    """A network as both readers see its file, with its biases multiplied by a factor."""
    path = write_network(Path(mkdtemp()) / "m.onnx", kind, seed)
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.ndim == 1 and array.dtype.kind == "f":
            tensor.CopyFrom(numpy_helper.from_array((array * factor).astype(array.dtype), tensor.name))
    onnx.save(model, str(path))
    return read_onnx(path), CheckedNetwork(onnx.load(str(path)))


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(FILE_KINDS), SEEDS)
def test_the_checkers_lines_lie_below_at_every_point(kind: str, seed: int) -> None:
    """Three members side by side, each with phases, slopes, multipliers, and coefficients that go on, of its own."""
    rng = np.random.default_rng(seed)
    _, network = files(kind, seed % 6)
    low, high = box(rng, network.nodes[0].size)
    relaxation = Relaxation(network, Region(low, high))
    points = low + rng.random((400, len(low))) * (high - low)
    values = checked_values(network, points)
    for i, (below, above) in enumerate(relaxation.intervals):
        assert (values[i] >= below - 1e-9).all() and (values[i] <= above + 1e-9).all()
    known = relaxation.crown(relaxation.start()) if rng.random() < 0.5 else relaxation.start()
    bounds = CheckedBounds([np.repeat(b, 3, 0) for b in known.lower], [np.repeat(b, 3, 0) for b in known.upper])
    inside = np.ones((3, len(points)), dtype=bool)
    phases, betas, slopes, passed = [], {}, {}, {}
    for k, i in enumerate(network.relus):
        read = values[network.nodes[i].relu]
        phase = rng.choice([-1, 0, 0, 1], bounds.lower[k].shape).astype(np.int8) * (rng.random() < 0.5)
        inside &= (read[None] * phase[:, None] >= 0).all(-1)
        phases.append(phase)
        betas[k], slopes[k] = -phase * rng.exponential(size=phase.shape), rng.random(phase.shape) * 3 - 1
        if rng.random() < 0.5:
            passed[k] = np.where(rng.random(phase.shape) < 0.7, rng.normal(size=phase.shape) * 3, np.nan)
    bounds = bounds.split(phases)
    if rng.random() < 0.3:
        bounds = relaxation.crown(bounds)
        for k, i in enumerate(network.relus):
            read = values[network.nodes[i].relu]
            for member in range(3):
                assert (read[inside[member]] >= bounds.lower[k][member] - 1e-9).all()
                assert (read[inside[member]] <= bounds.upper[k][member] + 1e-9).all()
    start = {
        i: rng.normal(size=(3, node.size))
        for i, node in enumerate(network.nodes)
        if i and (i == len(network.nodes) - 1 or rng.random() < 0.4)
    }
    offset = rng.normal(size=3)
    a, c, _ = relaxation.lower_lines(start, offset, bounds, np.arange(3), slopes, betas, passed)
    line = points @ a.T + c
    value = sum((values[i] @ rows.T for i, rows in start.items()), np.zeros(1)) + offset
    assert (line.T[inside] <= value.T[inside] + 1e-9).all()


@pytest.mark.parametrize("factor", [1.0, 1e7])
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_the_checkers_bounds_hold_in_rational_arithmetic(kind: str, factor: float) -> None:
    """At points nothing but rounding lies between a bound and a value: every node from both sides, and sums of outputs."""
    for seed in range(4):
        read, network = files(kind, seed, factor)
        rng = np.random.default_rng(seed)
        x = rng.random(read.input_size) - 0.3
        output = forward_exactly(read, [Fraction(float(v)) for v in x])[-1] if kind in EXACT else None
        relaxation = Relaxation(network, Region(x, x))
        bounds = relaxation.crown(relaxation.start())
        exact = checked_exactly(network, x)
        if output is not None:
            close = [abs(a - b) <= Fraction(1e-9) * (1 + abs(b)) for a, b in zip(output, exact[-1], strict=True)]
            assert all(close)
        for i, (below, above) in enumerate(relaxation.intervals):
            for value, b, a in zip(exact[i], below, above, strict=True):
                assert Fraction(float(b)) <= value <= Fraction(float(a))
        for k, i in enumerate(network.relus):
            for value, b, a in zip(exact[network.nodes[i].relu], bounds.lower[k][0], bounds.upper[k][0], strict=True):
                assert Fraction(float(b)) <= value <= Fraction(float(a))
        for i in range(1, len(network.nodes)):
            size = network.nodes[i].size
            rows = rng.normal(size=(4, size))
            phases = [np.where(bounds.lower[k] > 0, 1, -1) for k in range(len(network.relus))]
            betas = {k: np.repeat(-p * rng.exponential(1e3, size=p.shape), 4, 0) for k, p in enumerate(phases)}
            passed = {k: np.repeat(rng.normal(size=p.shape) * 1e3, 4, 0) for k, p in enumerate(phases)}
            for multipliers, named in ((None, None), (betas, None), (None, passed)):
                found = relaxation.lower_bounds(
                    {i: rows},
                    np.zeros(4),
                    bounds,
                    np.zeros(4, int),
                    None,
                    multipliers if i == len(network.nodes) - 1 else None,
                    passed=named,
                )
                for row, value in zip(rows, found, strict=True):
                    truth = sum((Fraction(float(r)) * v for r, v in zip(row, exact[i], strict=True)), Fraction(0))
                    assert Fraction(float(value)) <= truth, (i, multipliers is None, named is None)


EXACT = ("mlp",)


def checked_exactly(network: CheckedNetwork, x: np.ndarray) -> list[list[Fraction]]:
    """The checker's nodes in rational arithmetic, by the matrices that unit vectors give."""
    values = [[Fraction(float(v)) for v in x]]
    for node in network.nodes[1:]:
        if node.relu >= 0:
            values.append([max(v, Fraction(0)) for v in values[node.relu]])
        elif node.pool >= 0:
            values.append([max(values[node.pool][m] for m in window) for window in node.windows])
        else:
            total = [Fraction(float(b)) for b in node.bias]
            for j, term in node.terms:
                matrix = term.apply(np.eye(network.nodes[j].size))
                for k, o in zip(*np.nonzero(matrix), strict=True):
                    total[o] += Fraction(float(matrix[k, o])) * values[j][k]
            values.append(total)
    return values


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.sampled_from(["box", "1", "2", "0"]))
def test_minima_are_rounded_down(seed: int, shape: str) -> None:
    """The verifier's and the checker's, by rational arithmetic: of boxes anywhere, of balls at the points that attain them."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 6))
    a, offset = rng.normal(size=(4, n)) * 10.0 ** rng.integers(-3, 4, (4, n)), rng.normal(size=4)
    low, high = box(rng, n)
    low, high = low - rng.choice([0.0, 50.0]), high - rng.choice([0.0, 0.01])
    low = np.minimum(low, high)
    center = low + rng.random(n) * (high - low)
    t = torch.from_numpy
    if shape == "box":
        inputs, region = InputSet(t(low)[None], t(high)[None]), Region(low, high)
        points = np.where(a > 0, low, high)
    else:
        radius = float(rng.integers(0, 3)) if shape == "0" else float(rng.choice([0.0, 0.3, 1e4]))
        whole = InputSet(
            t(low)[None], t(high)[None], get_norm(shape), t(center)[None], torch.tensor([radius], dtype=torch.float64)
        )
        inputs = whole.with_radius(torch.tensor([radius], dtype=torch.float64))
        region = Region.of(low, high, shape, center, radius)
        if radius == 1e4:
            points = np.where(a > 0, low, high)
        elif radius == 0.0:
            points = np.repeat(center[None], 4, 0)
        else:
            points = inputs.minimizer(t(a)[None])[0].numpy()
            delta = points - center
            if shape != "0":
                points = np.clip(center + delta * (1 - 1e-12), low, high)
    for found in (inputs.minimum(t(a)[None], t(offset)[None])[0].numpy(), region.minimum(a, offset, np.abs(offset))):
        for row, c, x, value in zip(a, offset, points, found, strict=True):
            terms = (Fraction(float(r)) * Fraction(float(v)) for r, v in zip(row, x, strict=True))
            assert Fraction(float(value)) <= sum(terms, Fraction(0)) + Fraction(float(c))


@settings(deadline=None, max_examples=80)
@given(SEEDS, st.sampled_from(["0", "1", "2", "inf"]))
def test_certified_radii_hold(seed: int, name: str) -> None:
    """Of a batch with centers, radii and bends of their own: at every point within r the bent line is not negative."""
    rng = np.random.default_rng(seed)
    norm, n, batch = get_norm(name), 4, 3
    center, radius = torch.from_numpy(rng.random((batch, n))), torch.from_numpy(rng.random(batch) + 0.2)
    if name == "0":
        radius = torch.from_numpy(rng.integers(1, 4, batch)).double()
    zeros, ones = torch.zeros_like(center), torch.ones_like(center)
    inputs = InputSet(zeros, ones, norm, center, radius).with_radius(radius)
    a, c = torch.from_numpy(rng.normal(size=(batch, 2, n))), torch.from_numpy(rng.normal(size=(batch, 2)) * 0.7)
    bend = torch.from_numpy(rng.random((batch, 2))) if name == "2" and rng.random() < 0.7 else None
    found = inputs.certified_radius(a, c, bend)
    order = torch.tensor([2, 0, 1])
    again = inputs.rows(order).certified_radius(a[order], c[order], None if bend is None else bend[order])
    torch.testing.assert_close(again, found[order])
    torch.testing.assert_close(inputs.rows(order).minimum(a[order], c[order]), inputs.minimum(a, c)[order])
    for k in range(batch):
        moves = torch.from_numpy(rng.normal(size=(3000, n)))
        sizes = torch.from_numpy(rng.random(3000)) * radius[k]
        points = (center[k] + norm.project(moves, torch.floor(sizes + 1) if name == "0" else sizes)).clamp(0, 1)
        length = norm.length(points - center[k])
        line = points @ a[k].T + c[k]
        if bend is not None:
            line = line + bend[k] * (radius[k] ** 2 - length.square()).clamp(min=0)[:, None]
        at_center = center[k] @ a[k].T + c[k] + (0 if bend is None else bend[k] * radius[k] ** 2)
        for row in range(2):
            if float(at_center[row]) < 0:
                assert float(found[k, row]) == (-1.0 if name == "0" else 0.0)
            else:
                within = length <= torch.minimum(found[k, row], radius[k])
                assert (line[within, row] >= -1e-9).all()


def test_intervals_around_balls_are_rounded_outwards() -> None:
    """Sums and differences that do not fit into 53 bits."""
    from advverify.verifier.bounds.bounds import Interval

    center = torch.tensor([[1.0, 0.1, -1e9, 3.0]]).double()
    reach = torch.tensor([[1e-17, 0.3, 1e-9, 1 / 3]]).double()
    found = Interval.around(center, reach)
    for k in range(4):
        c, r = Fraction(float(center[0, k])), Fraction(float(reach[0, k]))
        assert Fraction(float(found.lower[0, k])) <= c - r and Fraction(float(found.upper[0, k])) >= c + r


def test_large_biases_of_wide_networks() -> None:
    """`scaled` networks in float32 over wide regions: lines below at every point."""
    for kind in KINDS:
        for seed in range(3):
            network = scaled(random_network(kind, seed), 100.0)
            low = network.to(torch.float32)
            network = low.to(torch.float64)
            n = network.input_size
            inputs = InputSet(-torch.ones(1, n).double(), torch.ones(1, n).double())
            bounds = crown(low, inputs)
            rows = torch.eye(3)[None].double()
            start = Start.output(low, rows, torch.zeros(1, 3).double())
            form = backward(low, start, relaxations(low, bounds), losses=RoundingLoss.of(low, inputs, bounds))
            points = torch.from_numpy(np.random.default_rng(seed).random((500, n))) * 2 - 1
            line = points @ form.coefficients[0].double().T + form.offset[0]
            assert (line <= evaluate_all(network, points)[-1] + 1e-9).all()

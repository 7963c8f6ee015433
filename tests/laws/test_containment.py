"""Activations of inputs of a region lie within every claimed bound of every node: all node kinds, norms and methods.

Activations are computed in long double, from the float64 weights; what that may be off by is far below the float64 rounding
that bounds have to allow for, so that no slack is given but 64 units of long double in the sizes that were summed.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import KINDS, random_network, scaled

from advverify.verifier.bounds import Bounds, InputSet, crown, ibp, output_lower_bounds
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import Start
from advverify.verifier.bounds.intermediate import tighten_intermediate
from advverify.verifier.bounds.neuron_split import NeuronSplit
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.nodes import Affine, Input, Max, Network, Relu
from advverify.verifier.network.operators import Dense, Operator
from advverify.verifier.norms import get_norm
from advverify.verifier.specification import NormBall, Region, Threat, robustness
from advverify.verifier.tightening import tighten

NORMS = ("0", "1", "2", "inf", "box")
EXTENDED = np.finfo(np.longdouble).eps


def activations(network: Network, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Values (samples, size) of every node in long double, and the sizes of what was summed for them."""
    values: list[tuple[np.ndarray, np.ndarray]] = []
    for node in network.nodes:
        match node:
            case Input():
                values.append((x, np.zeros_like(x)))
            case Affine():
                total = np.broadcast_to(node.bias.numpy().astype(np.longdouble), (len(x), node.size))
                size = np.abs(total)
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    dense = operator.to_sparse().toarray().astype(np.longdouble)
                    total = total + values[j][0] @ dense.T
                    size = size + (np.abs(values[j][0]) + values[j][1]) @ np.abs(dense).T
                values.append((total, size))
            case Relu():
                before = values[node.input]
                values.append((np.maximum(before[0], 0), before[1]))
            case Max():
                windows = node.windows.numpy()
                values.append(tuple(part[:, windows].max(-1) for part in values[node.input]))
    return values


def pruned(seed: int) -> Network:
    """Rows and whole layers of zeros, and a way past them."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((3,))
    weight = rng.normal(size=(4, 3))
    weight[: 1 + seed % 3] = 0
    h = b.relu(b.affine([0], [Dense(tensor(weight))], rng.normal(size=4) * (seed % 2)))
    zero = b.relu(b.affine([h], [Dense(tensor(np.zeros((3, 4))))], np.zeros(3)))
    parts: list[Operator] = [Dense(tensor(rng.normal(size=(3, 3)))), Dense(tensor(rng.normal(size=(3, 4))))]
    return b.finish(b.affine([zero, h], parts, rng.normal(size=3)))


def badly_scaled(seed: int) -> Network:
    """Neighbouring neurons of sizes from 1e-6 to 1e6."""
    rng = np.random.default_rng(seed)
    b = NetworkBuilder((3,))
    factor = 10.0 ** rng.integers(-6, 7, size=5)
    first = Dense(tensor(rng.normal(size=(5, 3)) * factor[:, None]))
    h = b.relu(b.affine([0], [first], rng.normal(size=5) * factor))
    return b.finish(b.affine([h], [Dense(tensor(rng.normal(size=(3, 5)) / factor))], rng.normal(size=3)))


def network_of(kind: str, seed: int) -> Network:
    if kind == "pruned":
        return pruned(seed)
    if kind == "badly scaled":
        return badly_scaled(seed)
    return scaled(random_network("mlp", seed), 1e6) if kind == "large" else random_network(kind, seed)


def region_of(norm: str, n: int, seed: int, radius: float) -> Region:
    rng = np.random.default_rng(seed)
    center = np.where(rng.random(n) < 0.2, np.round(rng.random(n)), rng.random(n))  # some values on the border
    if norm == "box":
        low = np.maximum(center - 0.2, 0)
        return Region(low, np.where(rng.random(n) < 0.3, low, np.minimum(low + 0.3, 1)))  # some of no width
    if norm == "0":
        radius = min(2.0, n) if np.isfinite(radius) else radius
    return Region(np.zeros(n), np.ones(n), NormBall(center, get_norm(norm), radius))


def samples(region: Region, seed: int, count: int = 200) -> np.ndarray:
    """Points of the region, many of them at its rim, as long double."""
    rng = np.random.default_rng(seed)
    n, ball = region.size, region.ball
    if ball is None:
        corner = rng.integers(0, 2, size=(count, n)) if seed % 2 else rng.random((count, n))
        return (region.lower + corner * (region.upper - region.lower)).clip(region.lower, region.upper)  # type: ignore
    center = ball.center.astype(np.longdouble)
    if ball.norm.name == "0":
        changed = rng.random((count, n)).argsort(1) < min(ball.radius, n)
        return np.where(changed, np.round(rng.random((count, n)) * 4) / 4, center)
    step = rng.normal(size=(count, n)).astype(np.longdouble)
    if ball.norm.name == "inf":
        step = np.sign(step) * np.where(rng.random((count, n)) < 0.8, 1, rng.random((count, n)))
        length = np.ones((count, 1))
    elif ball.norm.name == "1":
        step = step * (rng.random((count, n)) < 0.6)
        length = np.maximum(np.abs(step).sum(1, keepdims=True), 1e-30)
    else:
        length = np.sqrt((step**2).sum(1, keepdims=True))
    if np.isfinite(ball.radius):
        reach = np.longdouble(ball.radius) * (1 - 4 * EXTENDED)
        moved = center + step / length * reach
    else:
        moved = rng.random((count, n)).round(1).astype(np.longdouble)
    inside: np.ndarray = np.minimum(
        np.maximum(moved, region.lower), region.upper
    )  # towards the center, thus still in the ball
    return inside


def check(network: Network, bounds: Bounds, values: list[tuple[np.ndarray, np.ndarray]], what: object) -> int:
    """How many sides were compared; each holds, and none is NaN."""
    count = 0
    for node in network.bounded:
        lower, upper = (side[0].numpy() for side in (bounds[node].lower, bounds[node].upper))
        value, slack = values[node][0], values[node][1] * (64 * EXTENDED)
        assert not np.isnan(lower).any() and not np.isnan(upper).any(), (what, node)
        assert (value >= lower - slack).all(), (what, node, float((lower - value).max()))
        assert (value <= upper + slack).all(), (what, node, float((value - upper).max()))
        count += lower.size
    return count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", [*KINDS, "pruned", "badly scaled", "large"])
def test_every_method_holds(kind: str, norm: str) -> None:
    compared = 0
    for seed, radius in enumerate((0.1, 0.3, np.inf)):  # neither 0.1 nor 0.3 is a float32 number
        network = network_of(kind, seed)
        region = region_of(norm, network.input_size, seed, radius)
        values = activations(network, samples(region, seed))
        inputs = InputSet.from_regions([region])
        found = {"ibp": ibp(network, inputs), "crown": crown(network, inputs)}
        found["balls"] = crown(network, inputs.with_balls(network))
        found["float32"] = crown(network.to(torch.float32), inputs)
        found["alpha"] = tighten_intermediate(network, inputs, found["crown"], AlphaCrown(steps=3))
        trees = NeuronSplit(seconds=0.2, rounds=4)
        found["trees"] = tighten_intermediate(network, inputs, found["crown"], AlphaCrown(steps=2), trees=trees)
        for name, bounds in found.items():
            compared += check(network, bounds, values, (name, kind, norm, seed))
        rows, offset = torch.eye(3, dtype=torch.float64)[None], torch.zeros(1, 3, dtype=torch.float64)
        plain = output_lower_bounds(network, inputs, rows, offset, found["crown"])
        start = Start.output(network, rows, offset)
        best = raise_bounds(network, inputs, start, found["alpha"], threshold=torch.inf).bound
        slack = values[-1][1] * (64 * EXTENDED)
        for lower in (plain, best):
            assert not lower.isnan().any()
            assert (values[-1][0] >= lower[0].detach().numpy() - slack).all(), (kind, norm, seed)
    assert compared >= 3 * 6 * 4


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("kind", ["mlp", "maxpool", "pruned"])
def test_bounds_from_solves_hold_where_inputs_are_unsafe(kind: str, norm: str) -> None:
    met = 0
    for seed in range(3):
        network = network_of(kind, seed)
        n = network.input_size
        region = region_of(norm, n, seed, 0.7)
        assert region.ball is not None
        unsafe = robustness(region.ball.center, 0, Threat(norm, region.ball.radius), 3).disjuncts[0].unsafe[:1]
        after = tighten(network, ibp(network, InputSet.from_regions([region])), region, unsafe, 2.0, "lp", depth=0.2)
        x = samples(region, seed, 400)
        output = activations(network, x)[-1][0].astype(np.float64)
        x = x[[unsafe[0].violation(y) <= 0.2 for y in output]]
        if len(x):
            met += 1
            check(network, after, activations(network, x), (kind, norm, seed))
    assert met >= 1


def test_a_bound_that_is_too_tight_is_noticed() -> None:
    network, region = network_of("mlp", 0), region_of("inf", 3, 0, 0.3)
    values, bounds = activations(network, samples(region, 0)), ibp(network, InputSet.from_regions([region]))
    node = network.bounded[0]
    highest = torch.from_numpy(values[node][0].max(0).astype(np.float64))
    wrong = dict.fromkeys((node,), replace(bounds[node], upper=(highest - 1e-9)[None]))
    with pytest.raises(AssertionError):
        check(network, Bounds({**{i: bounds[i] for i in network.bounded}, **wrong}, "wrong"), values, "")

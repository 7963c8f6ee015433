"""Linear operators, their products, and activations: against dense matrices and definitions."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from networks import random_network

from advverify.verifier.network.activations import ABS, PiecewiseLinear, clip, leaky_relu
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.compose import max_to_relu
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.operators import Compose, Conv2d, Dense, MeanAxes, Operator, Scale, Select, Transposed
from advverify.verifier.network.simplify import fuse


def six_to_six(rng: np.random.Generator) -> list[Operator]:
    """One of each elementary kind, from 6 entries to 6; selections with gaps and repeats, factors of both signs."""
    return [
        Dense(tensor(rng.normal(size=(6, 6)))),
        Dense(tensor(rng.normal(size=(3, 3))), 2),
        Scale(tensor(rng.normal(size=6))),
        Scale(tensor(np.repeat(rng.normal(size=2), 3))),
        Select(torch.tensor([0, 0, 0, 3, -1, 2]), 6),
        Select(torch.tensor([5, 4, 3, 2, 1, 0]), 6),
        Select.identity(6),
        Conv2d(tensor(rng.normal(size=(2, 2, 1, 2))), (2, 1, 3), (1, 1), (0, 1, 0, 0)),
    ]


def others(rng: np.random.Generator) -> list[Operator]:
    """Convolutions of every form, means, compositions and transposes."""
    convolutions: list[Operator] = [
        Conv2d(
            tensor(rng.normal(size=(4, 4 // groups, kernel, 2))), (4, 5, 6), (stride, 1), pads, (dilation, 1), groups
        )
        for kernel, stride, dilation, groups, pads in (
            (3, 1, 1, 1, (0, 0, 0, 0)),
            (3, 2, 1, 1, (1, 1, 1, 1)),
            (2, 2, 1, 2, (1, 0, 0, 2)),
            (2, 1, 2, 1, (0, 1, 0, 2)),
            (2, 3, 2, 2, (2, 0, 1, 1)),
            (2, 1, 1, 1, (-1, 0, 0, -1)),
        )
    ]
    dense, scale = Dense(tensor(rng.normal(size=(5, 6)))), Scale(tensor(rng.normal(size=6)))
    repeats = Select(torch.tensor([0, 0, 0, 0, 0, 0, 1, 2]), 6)
    last = Dense(tensor(rng.normal(size=(3, 8))))
    return [
        *convolutions,
        MeanAxes((2, 3), (1,)),
        MeanAxes((2, 3, 4), (0, 2)),
        Compose((dense, Scale(tensor(rng.normal(size=5))), Dense(tensor(rng.normal(size=(4, 5)))))),
        Compose((scale, dense)),
        Compose((Dense(tensor(rng.normal(size=(6, 6)))), dense)),
        Compose((repeats, Scale(tensor(rng.normal(size=8))), last)),
        Transposed(dense),
        Transposed(convolutions[2]),
        Transposed(Compose((dense, Dense(tensor(rng.normal(size=(5, 5))))))),
    ]


def by_columns(operator: Operator) -> np.ndarray:
    """The matrix, from what `apply` makes of unit vectors."""
    return operator.apply(torch.eye(operator.in_size, dtype=torch.float64)).numpy().T


@pytest.mark.parametrize("seed", range(3))
def test_one_matrix_seen_from_every_side(seed: int) -> None:
    """apply, adjoint, the sparse matrix and |A|, which intervals rest on; roundings no fewer than sums and products."""
    rng = np.random.default_rng(seed)
    for operator in (*six_to_six(rng), *others(rng)):
        matrix = by_columns(operator)
        assert matrix.shape == (operator.out_size, operator.in_size)
        np.testing.assert_allclose(operator.to_sparse().toarray(), matrix, atol=1e-12, err_msg=repr(operator))
        y = torch.eye(operator.out_size, dtype=torch.float64)
        np.testing.assert_allclose(operator.adjoint(y).numpy(), matrix, atol=1e-12, err_msg=repr(operator))
        largest = by_columns(operator.absolute)
        assert (largest >= abs(matrix) - 1e-12).all(), operator
        np.testing.assert_allclose(operator.absolute.to_sparse().toarray(), largest, atol=1e-12)
        if not isinstance(operator, Compose) and not isinstance(operator, Transposed):
            np.testing.assert_allclose(largest, abs(matrix), atol=1e-12)
        assert operator.fan_in >= roundings(operator, 1) and operator.fan_out >= roundings(operator, 0), operator


def roundings(operator: Operator, axis: int) -> int:
    """A sum of n products takes n roundings; copies take none; compositions one after the other."""
    if isinstance(operator, Compose):
        return sum(roundings(factor, axis) for factor in operator.factors)
    if isinstance(operator, Transposed):
        return roundings(operator.inner, 1 - axis)
    terms = int((by_columns(operator) != 0).sum(axis).max())
    return terms - 1 if isinstance(operator, Select) else terms


@pytest.mark.parametrize("seed", range(2))
def test_convolutions_are_what_they_are_called(seed: int) -> None:
    """Entry by entry, from the definition: which pixel each place of the kernel meets."""
    rng = np.random.default_rng(seed)
    for operator in others(rng):
        if not isinstance(operator, Conv2d):
            continue
        channels, height, width = operator.in_shape
        image = rng.normal(size=operator.in_shape)
        found = operator.apply(torch.from_numpy(image).flatten()).reshape(operator.out_shape).numpy()
        weight, group = operator.weight.numpy(), operator.weight.shape[0] // operator.groups
        for o, row, column in np.ndindex(*operator.out_shape):
            total = 0.0
            for c, i, j in np.ndindex(*weight.shape[1:]):
                y = row * operator.stride[0] - operator.pads[0] + i * operator.dilation[0]
                x = column * operator.stride[1] - operator.pads[1] + j * operator.dilation[1]
                if 0 <= y < height and 0 <= x < width:
                    total += weight[o, c, i, j] * image[o // group * weight.shape[1] + c, y, x]
            assert found[o, row, column] == pytest.approx(total)


@pytest.mark.parametrize("seed", range(3))
def test_products_of_operators(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for first, second in itertools.product(six_to_six(rng), six_to_six(rng)):
        product = fuse(first, second)
        np.testing.assert_allclose(by_columns(product), by_columns(second) @ by_columns(first), atol=1e-12)
        third = fuse(product, first)
        np.testing.assert_allclose(by_columns(third), by_columns(first) @ by_columns(product), atol=1e-12)


FUNCTIONS: dict[str, tuple[PiecewiseLinear, Callable[[float], float] | None]] = {
    "relu": (PiecewiseLinear((0.0,), (0.0, 1.0)), lambda x: max(x, 0.0)),
    "abs": (ABS, abs),
    "leaky": (leaky_relu(0.1), lambda x: x if x > 0 else 0.1 * x),
    "clip": (clip(-0.5, 1.5), lambda x: min(max(x, -0.5), 1.5)),
    "at least": (clip(0.25, None), lambda x: max(x, 0.25)),
    "at most": (clip(None, 0.75), lambda x: min(x, 0.75)),
    "constant": (clip(2.0, 1.0), lambda x: 1.0),
    "identity": (clip(None, None), lambda x: x),
    "hard tanh": (clip(-1.0, 1.0), lambda x: min(max(x, -1.0), 1.0)),
    "odd": (PiecewiseLinear((-1.0, 0.5, 2.0), (-2.0, 1.0, -0.5, 3.0), 0.3), None),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_activations_are_their_definitions(name: str) -> None:
    function, definition = FUNCTIONS[name]
    points = np.linspace(-4.0, 4.0, 33)
    builder = NetworkBuilder((len(points),))
    network = builder.finish(builder.activation(0, function))
    found = evaluate(network, torch.from_numpy(points)[None])[0].numpy()
    expected = [function(x) if definition is None else definition(x) for x in points]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose([function(x) for x in points], expected, atol=1e-12)


def test_sums_and_differences() -> None:
    """Also where they are folded: biases pass through what follows."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder((4,))
    left = builder.affine([0], [Dense(tensor(rng.normal(size=(4, 4))))], rng.normal(size=4))
    scaled = builder.affine([left], [Scale(tensor(rng.normal(size=4)))], rng.normal(size=4))
    x = torch.from_numpy(rng.random((5, 4)))
    for sign in (1.0, -1.0):
        b = NetworkBuilder((4,))
        b.nodes = list(builder.nodes)
        network = b.finish(b.add(left, scaled, sign))
        one = evaluate(builder.finish(left), x)
        other = evaluate(builder.finish(scaled), x)
        torch.testing.assert_close(evaluate(network, x), one + sign * other)
    first, second = builder.nodes[left], builder.nodes[scaled]
    expected = first.operators[0].apply(x) + first.bias  # type: ignore[union-attr]
    expected = second.operators[0].apply(expected) + second.bias  # type: ignore[union-attr]
    torch.testing.assert_close(evaluate(builder.finish(scaled), x), expected)


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5])
def test_maxima_as_tournaments(members: int) -> None:
    rng = np.random.default_rng(members)
    builder = NetworkBuilder((6,))
    windows = np.stack([rng.permutation(6)[:members] for _ in range(4)])
    network = builder.finish(builder.maximum(0, windows))
    x = torch.from_numpy(rng.normal(size=(50, 6)))
    expected = x[:, torch.from_numpy(windows)].amax(-1)
    torch.testing.assert_close(evaluate(network, x), expected)
    torch.testing.assert_close(evaluate(max_to_relu(network), x), expected)


def test_affine_functions_of_the_input_end_at_the_first_relu() -> None:
    for kind in ("mlp", "residual", "maxpool"):
        network = random_network(kind, 0)
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, network.input_size)) * 3)
        for node in network.linear_nodes:
            if node:
                b = NetworkBuilder(network.input_shape)
                b.nodes = list(network.nodes)
                part = b.finish(node)
                ends = evaluate(part, x)
                middle = evaluate(part, x.mean(0, keepdim=True))
                torch.testing.assert_close(middle[0], ends.mean(0))

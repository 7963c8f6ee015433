"""What is folded is the same function, to the last bit: bounds and programs are about the folded weights."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from networks import forward_exactly

from advverify.verifier.api import distance
from advverify.verifier.engines import Settings
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.exact import exact_product
from advverify.verifier.network.nodes import Affine
from advverify.verifier.network.operators import Conv2d, Dense, Operator, Scale, Select
from advverify.verifier.network.simplify import simplify
from advverify.verifier.specification import Threat

KINDS = ("dense", "scale", "select", "conv")


def operator(kind: str, size: int, rng: np.random.Generator) -> Operator:
    """Of numbers whose products and sums need more digits than there are, or not."""
    few = rng.random() < 0.4
    numbers = rng.integers(-8, 9, 200) / 4 if few else rng.normal(size=200) * 10.0 ** rng.integers(-9, 10, 200)
    if kind == "scale":
        return Scale(tensor(numbers[:size]))
    if kind == "select":
        return Select(torch.from_numpy(rng.integers(-1, size, rng.integers(2, 7))), size)
    if kind == "conv" and size == 9:
        return Conv2d(tensor(numbers[:8].reshape(2, 1, 2, 2)), (1, 3, 3), (1, 1), (0, 0, 0, 0))
    count = int(rng.integers(1, 9))
    return Dense(tensor(numbers[: count * size].reshape(count, size)))


def test_chains_of_affine_nodes_keep_their_function() -> None:
    """In rational arithmetic, at a point with a long expansion."""
    folded = kept = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        builder, node = NetworkBuilder((9,)), 0
        for _ in range(3):
            for _ in range(rng.integers(1, 4)):
                step = operator(str(rng.choice(KINDS)), builder.size(node), rng)
                bias = rng.normal(size=step.out_size) * rng.integers(0, 2) * 10.0 ** rng.integers(-9, 10)
                node = builder.affine([node], [step], bias)
            node = builder.relu(node)
        plain = builder.plain(node)
        simple = simplify(plain)
        x = [Fraction(int(k), 7) for k in rng.integers(-9, 10, 9)]
        assert forward_exactly(simple, x)[-1] == forward_exactly(plain, x)[-1], seed
        affine = [sum(isinstance(node, Affine) for node in network.nodes) for network in (plain, simple)]
        folded, kept = folded + (affine[1] < affine[0]), kept + (affine[1] > 4)
    assert folded >= 100 and kept >= 50, (folded, kept)


def test_products_are_exact_or_none() -> None:
    rng, found = np.random.default_rng(0), 0
    for seed in range(2000):
        bits = int(rng.integers(2, 54))
        a, b = (float(int(rng.integers(1, 2**bits)) * 2.0 ** float(rng.integers(-40, 40))) for _ in range(2))
        product = exact_product(tensor(np.array([a])), tensor(np.array([b])))
        assert (product is not None) == (Fraction(a) * Fraction(b) == Fraction(a * b)), (seed, a, b)
        found += product is not None
    assert 500 <= found <= 1500
    for a, b in ((1e-200, 1e-200), (1e200, 1e-200), (np.inf, 0.5), (np.nan, 1.0)):
        assert exact_product(tensor(np.array([a])), tensor(np.array([b]))) is None
    assert exact_product(tensor(np.array([0.0])), tensor(np.array([1e-320]))) is not None


@pytest.mark.parametrize("engines", [(), ("milp",), ("lp-split",), ("relu-split",)])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_what_cancels_in_a_product_of_layers_is_not_lost(order: int, engines: tuple[str, ...]) -> None:
    """1e16 + 1 - 1e16: the first output is the first input, the second is 1/2, and their order changes at 1/2."""
    large = np.roll([1e8, -1e8, 1.0], order)
    builder = NetworkBuilder((2,))
    first = builder.affine([0], [Dense(tensor(np.stack([large, np.zeros(3)], 1)))], np.zeros(3))
    second = builder.affine([first], [Dense(tensor(np.stack([np.abs(large), np.zeros(3)])))], np.array([0.0, 0.5]))
    network = builder.finish(builder.relu(second))
    for x, label in ((0.2, 1), (0.9, 0)):
        found = distance(
            network, np.array([x, 0.5]), label, Threat("inf"), settings=Settings(timeout=0.4), engines=engines
        )
        assert found.lower <= abs(0.5 - x), (x, found)

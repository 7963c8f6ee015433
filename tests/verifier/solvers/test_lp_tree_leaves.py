"""Leaves that are kept: they cover all decisions, and the multipliers of each prove the target; by none if one does not."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from networks import random_network

from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, MixedIntegerProgram, encode
from advverify.verifier.query import Objective
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.solvers.safe_dual import SafeDual
from advverify.verifier.specification import Threat, robustness


def program_of(kind: str, seed: int, eps: float) -> MixedIntegerProgram:
    """Of the least margin over one other class of a network around a random image."""
    network = random_network(kind, seed)
    image = np.random.default_rng(seed).random(network.input_size)
    disjunct = robustness(image, 0, Threat("inf", eps), network.output_size).disjuncts[0]
    bounds = crown(network, InputSet.from_regions([disjunct.region]))
    return encode(
        network,
        bounds,
        disjunct.region,
        disjunct.unsafe[:1],
        Objective.MAX_MARGIN,
        Formulation(substitute=seed % 2 == 0),
    )


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_leaves_cover_everything_and_prove_the_target(kind: str) -> None:
    split = 0
    for seed in range(12):
        program = program_of(kind, seed, 0.3)
        optimum = LpTree(program).minimum(10.0)
        assert optimum.finished and optimum.leaves is None
        room = 1e-6 * (1 + abs(optimum.bound))
        target = optimum.bound - room
        found = LpTree(program).minimum(10.0, target, keep=True)
        assert found.finished and found.leaves is not None and found.bound >= target
        paths = [dict(leaf.path) for leaf in found.leaves]
        assert sum(Fraction(1, 2 ** len(path)) for path in paths) == 1
        for one, other in itertools.combinations(paths, 2):
            assert any(other.get(column, value) != value for column, value in one.items())
        safe = SafeDual(program)
        for leaf in found.leaves:
            low, high = program.col_lower.copy(), program.col_upper.copy()
            for column, value in leaf.path:
                low[column] = high[column] = value
            assert math.isfinite(np.abs(leaf.multipliers).max(initial=0.0))
            assert safe.bound(leaf.multipliers, program.cost, low, high) + program.offset >= target - 1e-12 * (
                1 + abs(target)
            )
        split += len(found.leaves) > 1
        assert LpTree(program).minimum(10.0, optimum.objective + room, keep=True).leaves is None
    assert split >= 4

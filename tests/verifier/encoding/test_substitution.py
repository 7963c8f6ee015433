"""Programs without stable ReLUs: the same optima as with them, and rows that are off by no more than they say."""

import itertools

import numpy as np
import pytest
import torch
from networks import random_network

from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import FORMULATIONS, Formulation, MixedIntegerProgram, encode
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Network, Relu
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness
from advverify.verifier.tightening import tighten

KINDS = ("mlp", "conv", "residual", "leaky", "maxpool")
NAMES = [name.replace("-N", "-2") for name in FORMULATIONS]


def solved(program: MixedIntegerProgram) -> float:
    result = Highs().solve(program, SolveOptions(time_limit=20.0))
    assert result.status in (SolverStatus.OPTIMAL, SolverStatus.INFEASIBLE)
    return result.objective if result.status is SolverStatus.OPTIMAL else np.inf


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_optima(kind: str, name: str) -> None:
    fewer = 0
    for seed, eps in itertools.product(range(2), (0.05, 0.25)):
        network = random_network(kind, seed)
        image = np.random.default_rng(seed).random(network.input_size)
        for norm in ("inf", "1"):
            disjunct = robustness(image, 0, Threat(norm, eps), network.output_size, "").disjuncts[0]
            bounds = crown(network, InputSet.from_regions([disjunct.region]))
            for objective in (Objective.MAX_MARGIN, Objective.MIN_DISTORTION):
                plain, without = (
                    encode(network, bounds, disjunct.region, disjunct.unsafe[:1], objective, Formulation(name, True, s))
                    for s in (False, True)
                )
                assert without.binaries == plain.binaries
                fewer += without.matrix.shape[1] < plain.matrix.shape[1]
                if name == "asymmetric" or objective is Objective.MAX_MARGIN:
                    assert solved(without) == pytest.approx(solved(plain), abs=1e-6)
                if name in (
                    "symmetric",
                    "asymmetric",
                ):  # columns of stable ReLUs have bounds, which may cut a little more
                    low, high = solved(without.relaxed()), solved(plain.relaxed())
                    assert low <= high + 1e-6 and (low >= high - 0.05 * (1 + abs(high)) or np.isinf(high))
    assert fewer > 0 or kind == "maxpool"


@pytest.mark.parametrize("tightened", [False, True])
@pytest.mark.parametrize("kind", ["mlp", "conv", "residual", "leaky"])
def test_unsafe_inputs_are_points_within_the_loss(kind: str, tightened: bool) -> None:
    """Rows hold at the values that the network computes, as far as the rows' loss says."""
    points = 0
    for seed in range(4):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        image = rng.random(network.input_size)
        disjunct = robustness(image, 0, Threat("inf", 0.3), network.output_size, "").disjuncts[0]
        region, polytope = disjunct.region, disjunct.unsafe[0]
        whole = crown(network, InputSet.from_regions([region]))
        bounds = tighten(network, whole, region, (polytope,), 5.0) if tightened else whole
        form = Formulation(substitute=True)
        program = encode(network, bounds, region, (polytope,), Objective.FEASIBILITY, form, whole=whole)
        for _ in range(200):
            x = rng.uniform(*region.bounding_box())
            point, violation = lifted(network, program, x), 0.0
            with torch.no_grad():
                violation = polytope.violation(evaluate_all(network, torch.tensor(x)[None])[-1][0].numpy())
            loss = np.zeros(len(program.row_upper)) if program.row_loss is None else program.row_loss
            activity = program.matrix @ point
            assert (loss < 1e-9).all()
            off = np.maximum(activity - program.row_upper, program.row_lower - activity) - loss
            if violation <= 0:
                points += 1
                assert off.max() <= 1e-12, (seed, off.max())
            else:
                assert off.max() > 0  # the unsafe set's own row, at least
    assert points >= 20, points


def lifted(network: Network, program: MixedIntegerProgram, x: np.ndarray) -> np.ndarray:
    """An input with the values of all columns there."""
    point = np.zeros(len(program.cost))
    point[program.columns.inputs] = x
    with torch.no_grad():
        values = evaluate_all(network, torch.tensor(x)[None])
    for reading in program.preactivations:
        h = values[reading.node][0].numpy()[reading.neurons]
        point[reading.output] = np.maximum(h, 0)
        point[reading.phase] = h > 0
        slack = reading.output + len(reading.output)  # the formulation writes them next
        point[slack] = np.maximum(-h, 0)
    assert all(isinstance(network.nodes[i], Relu) for i in program.columns.phase)
    return point

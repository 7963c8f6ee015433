"""The encoding's universal law: with the input fixed, the program's network values are those of the forward pass."""

import itertools

import numpy as np
import pytest
import torch
from networks import KINDS, random_network
from oracle import nearest

from advverify.verifier.api import distance
from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.encoding import Formulation, encode
from advverify.verifier.encoding.ideal_relu import separate
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.engines.milp.root_cuts import strengthened
from advverify.verifier.network.evaluate import evaluate_all, predict
from advverify.verifier.network.nodes import Relu
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus, get_solver
from advverify.verifier.specification import Threat, robustness

NAMES = ("symmetric", "asymmetric", "partition-1", "partition-2", "partition-3", "extended")
FORMS = [Formulation(name, fix_stable) for name, fix_stable in itertools.product(NAMES, (True, False))]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_fixed_input_gives_the_forward_pass(kind: str, form: Formulation) -> None:
    for seed, method in itertools.product(range(3), (ibp, crown)):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        center = rng.random(network.input_size)
        disjunct = robustness(center, 0, Threat("inf", 0.4), 3).disjuncts[0]
        bounds = method(network, InputSet.from_regions([disjunct.region]))
        program = encode(network, bounds, disjunct.region, disjunct.unsafe, Objective.MAX_MARGIN, form)
        low, high = disjunct.region.bounding_box()
        x = low + rng.random(len(low)) * (high - low)
        result = get_solver("highs").solve(program.fixed(program.columns.inputs, x), SolveOptions(time_limit=20))
        assert result.status is SolverStatus.OPTIMAL and result.point is not None
        values = evaluate_all(network, torch.tensor(x)[None])
        expected = min(p.violation(values[-1][0].numpy()) for p in disjunct.unsafe)
        assert result.objective == pytest.approx(expected, abs=1e-6)
        for i, node in enumerate(network.nodes):
            if isinstance(node, Relu):
                columns = program.columns.positive[i]
                found = np.where(columns >= 0, result.point[columns], 0.0)
                np.testing.assert_allclose(found, values[i][0].numpy(), atol=1e-6)


def test_scip_agrees_on_the_quadratic_program() -> None:
    pytest.importorskip("pyscipopt")
    for seed in range(3):
        network = random_network("mlp", seed)
        image = np.random.default_rng(1000 + seed).random(3)
        label = int(predict(network, torch.tensor(image)[None]))
        truth = nearest(network, image, label, "2")
        # Where there is an optimum, a ball that holds it and not the whole box too: SCIP takes 80 times as long in that.
        radius = 2.0 if np.isinf(truth) else 1.0
        assert np.isinf(truth) or truth < radius
        disjunct = robustness(image, label, Threat("2", radius), 3).disjuncts[0]
        bounds = crown(network, InputSet.from_regions([disjunct.region]))
        program = encode(network, bounds, disjunct.region, disjunct.unsafe, Objective.MIN_DISTORTION)
        result = get_solver("scip").solve(program, SolveOptions(time_limit=60))
        if np.isinf(truth):
            assert result.status is SolverStatus.INFEASIBLE
        else:
            assert np.sqrt(max(result.objective, 0)) == pytest.approx(truth, abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_ideal_rows_hold_wherever_the_network_goes_and_cut_the_relaxation(kind: str) -> None:
    raised = 0
    for seed in range(6):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        disjunct = robustness(rng.random(network.input_size), 0, Threat("inf", 0.4), 3).disjuncts[0]
        bounds = crown(network, InputSet.from_regions([disjunct.region]))
        program = encode(network, bounds, disjunct.region, disjunct.unsafe[:1], Objective.MAX_MARGIN)
        low, high = disjunct.region.bounding_box()
        solver, options = get_solver("highs"), SolveOptions(time_limit=20)
        relaxed = solver.solve(program.relaxed(), options)
        assert relaxed.point is not None
        somewhere = program.col_lower + rng.random(len(program.cost)) * (program.col_upper - program.col_lower)
        known = program.preactivations
        rows = [separate(known, program, point) for point in (relaxed.point, somewhere)]
        for _ in range(10):
            x = low + rng.random(len(low)) * (high - low)
            solution = solver.solve(program.fixed(program.columns.inputs, x), options).point
            assert solution is not None
            assert all((matrix @ solution <= limit + 1e-9).all() for matrix, limit in rows)
        cut = strengthened(program, 20.0)
        better = solver.solve(cut.relaxed(), options).objective
        exact, again = solver.solve(program, options), solver.solve(cut, options)
        assert relaxed.objective - 1e-9 <= better <= exact.objective + 1e-7
        assert again.objective == pytest.approx(exact.objective, abs=1e-7)
        raised += better > relaxed.objective + 1e-4
    assert raised or kind == "maxpool"


def test_the_distance_is_the_same_with_ideal_rows() -> None:
    for seed in range(4):
        network = random_network("mlp", seed)
        image = np.random.default_rng(1000 + seed).random(network.input_size)
        label = int(predict(network, torch.tensor(image)[None]))
        truth = nearest(network, image, label, "inf")
        for cuts in ("none", "root"):
            settings = Settings(timeout=20, gap=5e-7, threads=1, milp=MilpOptions(cuts=cuts))
            bracket = distance(
                network, image, label, Threat("inf"), settings=settings, engines=("falsify", "milp")
            ).bracket
            assert bracket.lower == pytest.approx(truth, abs=1e-6)

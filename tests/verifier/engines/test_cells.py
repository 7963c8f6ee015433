"""Cells over the inputs alone are the cells that the encoding has: the same nearest points."""

import itertools

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import nearest

from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import encode
from advverify.verifier.engines import SearchState, Settings, get_engine, polish
from advverify.verifier.engines.cells import Cells
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import SolveOptions, SolverStatus, convex_solver
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness

KINDS = ("mlp", "conv", "residual", "leaky")


def opened(network: Network, image: np.ndarray, norm: str) -> SearchState:
    label = int(predict(network, torch.tensor(image)[None]))
    specification = robustness(image, label, Threat(norm), network.output_size, "")
    query = Query(network, specification, Objective.MIN_DISTORTION)
    return SearchState.open(query, Settings(timeout=20, threads=1), NetworkExecutor(network))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_the_nearest_point_of_a_cell(kind: str, norm: str) -> None:
    reached = 0
    for seed in range(6):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        image = rng.random(network.input_size)
        state = opened(network, image, norm)
        region = state.query.specification.with_radius(1.0 if norm == "inf" else 2.0).region
        bounds = crown(network, InputSet.from_regions([region]))
        points = np.clip(image + rng.uniform(-0.6, 0.6, (4, len(image))), 0, 1)
        for point, subproblem in itertools.product(points, state.subproblems):
            whole = encode(network, bounds, region, (subproblem.polytope,), Objective.MIN_DISTORTION, None, 1e-6)
            found = []
            cells = Cells(network, bounds, region, subproblem.polytope)
            for program in (
                polish.cell_program(state, whole, point),
                cells.program(cells.look(point)[0], Objective.MIN_DISTORTION, 1e-6),
            ):
                result = convex_solver(program).solve(program, SolveOptions(threads=1))
                solved = result.status in (SolverStatus.OPTIMAL, SolverStatus.LIMIT_WITH_INCUMBENT)
                found.append(result.objective if solved else np.inf)
            assert found[0] == pytest.approx(found[1], abs=1e-6), (seed, subproblem.polytope.label)
            reached += np.isfinite(found[0])
    assert reached >= 3


@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_polishing_over_inputs_keeps_to_the_truth(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never below the distance, and nearer than the attack alone."""
    ratios: dict[int, list[float]] = {-1: [], 600: []}  # by the most unstable ReLUs that are polished
    for seed in range(6):
        network = random_network("mlp", seed)
        image = np.random.default_rng(1000 + seed).random(network.input_size)
        truth = nearest(network, image, int(predict(network, torch.tensor(image)[None])), norm)
        if not np.isfinite(truth):
            continue
        for most, found in ratios.items():
            monkeypatch.setattr(polish, "_MOST_UNSTABLE", most)
            state = opened(network, image, norm)
            get_engine("falsify").run(state, 10.0)
            assert state.upper >= truth * (1 - 1e-6)
            found.append(state.upper / truth)
    attacked, polished = ratios[-1], ratios[600]
    assert len(polished) >= 3
    assert sum(polished) <= sum(attacked) + 1e-9 and np.median(polished) <= 1 + 1e-4


@pytest.mark.parametrize("norm", ["inf", "1"])
def test_a_walk_over_cells_only_gains(norm: str) -> None:
    """Every step is a point of the region that is as unsafe as it says, and some walks leave their first cell."""
    walked = 0
    for kind, seed in itertools.product(KINDS, range(4)):
        network = random_network(kind, seed)
        rng = np.random.default_rng(seed)
        image = rng.random(network.input_size)
        state = opened(network, image, norm)
        region = state.query.specification.with_radius(0.3).region
        bounds = crown(network, InputSet.from_regions([region]))
        for subproblem in state.subproblems:
            cells = Cells(network, bounds, region, subproblem.polytope)
            first = cells.best(cells.look(image)[0], Objective.MAX_MARGIN)
            assert first is not None  # the image's own cell
            last = cells.descend(first, Objective.MAX_MARGIN)
            assert last.value <= first.value <= cells.look(image)[1] + 1e-7
            assert region.distance(last.point) <= 0.3 + 1e-6
            assert cells.look(last.point)[1] == pytest.approx(last.value, abs=1e-5)
            walked += last.value < first.value - 1e-6
    assert walked >= 4

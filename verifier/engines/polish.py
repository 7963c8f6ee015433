"""Polishing: the nearest or the most unsafe point inside one cell of the network, the inputs that share a point's ReLU pattern.

It is the solution of an LP (norms inf and 1) or a convex QP (norm 2): the "fix b" upper bound of the MIP.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ..bounds import Bounds
from ..encoding import Formulation, MixedIntegerProgram, encode
from ..network.evaluate import evaluate_all
from ..network.nodes import Relu
from ..norms import UnitBall
from ..query import Objective
from ..solvers import SolveOptions, convex_solver
from ..specification import Region
from .cells import cell_over_inputs
from .state import SearchState, Subproblem

_MOST_RELUS = 1500  # of a network whose cells are written neuron by neuron
_MOST_UNSTABLE = 600  # ReLUs in the ball, of any other: its cells are written over the inputs
# How far beyond the boundary to aim, so that the executor's arithmetic agrees.
_INSIDE = {4: (1e-6, 1e-5, 1e-4), 8: (1e-9, 1e-8, 1e-7)}


def cell_program(state: SearchState, program: MixedIntegerProgram, point: np.ndarray) -> MixedIntegerProgram:
    """The program with every ReLU's phase fixed as at `point`: convex, save that maxima may still choose."""
    with torch.no_grad():
        values = evaluate_all(state.network, torch.tensor(point, dtype=state.network.dtype)[None])
    columns: list[np.ndarray] = []
    phases: list[np.ndarray] = []
    for i, node in enumerate(state.network.nodes):
        if isinstance(node, Relu):
            phase = program.columns.phase[i]
            chosen = phase >= 0
            columns.append(phase[chosen])
            phases.append((values[node.input][0].numpy()[chosen] >= 0).astype(np.float64))
    if columns:
        program = program.fixed(np.concatenate(columns), np.concatenate(phases))
    return program if state.network.has_max else program.relaxed()


def worth_polishing(state: SearchState) -> bool:
    """Whether the LP of a cell, one row a neuron, is small enough to be solved again and again."""
    return state.network.relu_count <= _MOST_RELUS


def _nearest_program(
    state: SearchState, bounds: Bounds, region: Region, subproblem: Subproblem, point: np.ndarray, margin: float
) -> MixedIntegerProgram | None:
    """The program of a point's cell, or None where it would be too large."""
    if worth_polishing(state):
        program = encode(
            state.network, bounds, region, (subproblem.polytope,), Objective.MIN_DISTORTION, Formulation(), margin
        )
        return cell_program(state, program, point)
    if state.network.has_max or bounds.unstable_count(state.network) > _MOST_UNSTABLE:
        return None
    return cell_over_inputs(state.network, bounds, region, subproblem.polytope, point, margin)


def polish(state: SearchState, point: np.ndarray, subproblem: Subproblem, engine: str, rounds: int = 4) -> None:
    """Walk from a point of an engine's to the nearest unsafe point of its cell, and on from there while that pays."""
    if state.is_l0 or not state.is_min_distortion:
        return
    for _ in range(rounds):
        before = state.upper
        region = state.query.specification.with_radius(min(state.upper * (1 + 1e-6), state.limit)).region
        bounds = state.bounds(region)
        for inside in _INSIDE[state.executor.dtype.itemsize]:
            margin = inside * max(1.0, float(np.abs(subproblem.polytope.offset).max()))
            program = _nearest_program(state, bounds, region, subproblem, point, margin)
            if program is None:
                return
            limit = max(min(5.0, state.time_left), 0.01)
            result = convex_solver(program).solve(program, SolveOptions(time_limit=limit, threads=1))
            state.count("polish")
            if result.point is None:
                return
            candidate = result.point[program.columns.inputs]
            if state.add_counterexample(candidate, engine, subproblem.disjunct):
                point = candidate
                break
        if state.upper == math.inf or state.upper > before * (1 - 1e-4):
            return


def deepen(state: SearchState, point: np.ndarray, subproblem: Subproblem, engine: str) -> None:
    """Offer the most unsafe point of the cell of an engine's point in the region, where that is an LP.

    A solver that looks for any unsafe point stops at one on the edge of the unsafe set, which its tolerance may put outside.
    """
    region = state.search_region(subproblem.region)
    quadratic = region.ball is not None and region.ball.norm.unit_ball is UnitBall.EUCLIDEAN
    if quadratic or state.is_l0 or not worth_polishing(state):
        return
    program = encode(state.network, state.bounds(region), region, (subproblem.polytope,), Objective.MAX_MARGIN)
    cell = cell_program(state, program, point)
    result = convex_solver(cell).solve(cell, SolveOptions(time_limit=max(min(5.0, state.time_left), 0.01)))
    if result.point is not None:
        state.add_counterexample(result.point[program.columns.inputs], engine, subproblem.disjunct)

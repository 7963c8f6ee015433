"""Polishing: the nearest or the most unsafe point near one that was found, cell after cell.

Inside a cell that is the solution of an LP (norms inf and 1) or a convex QP (norm 2), the "fix b" upper bound of the MIP; across
its facets `Cells.descend` walks on. Networks with maxima stay in the point's cell, which their own program writes.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ..bounds import Bounds
from ..encoding import MixedIntegerProgram, encode
from ..network.evaluate import evaluate_all
from ..network.nodes import Relu
from ..norms import UnitBall
from ..query import Objective
from ..solvers import SolveOptions, convex_solver
from ..specification import Region
from .cells import Cells
from .state import SearchState, Subproblem

_MOST_RELUS = 1500  # of a network whose cells are always small enough
_MOST_UNSTABLE = 600  # ReLUs in the region, of a larger one without maxima: each is a row of a cell
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


def worth_polishing(state: SearchState, bounds: Bounds | None = None) -> bool:
    """Whether the program of a cell is small enough to be solved again and again.

    Args:
        state: of the query.
        bounds: on the region; of a large network without maxima the unstable ReLUs count, where they are known.
    """
    if state.network.relu_count <= _MOST_RELUS:
        return True
    if bounds is None or state.network.has_max:
        return False
    return bounds.unstable_count(state.network) <= _MOST_UNSTABLE


def polish(
    state: SearchState, point: np.ndarray, subproblem: Subproblem, engine: str, rounds: int = 4, steps: int = 0
) -> None:
    """Walk from a point of an engine's to the nearest unsafe point of its cell, and on from there while that pays.

    Args:
        state: of the query; nothing is done unless distances are asked for.
        point: inputs, (n,).
        subproblem: that the point is unsafe in.
        engine: in whose name points are offered.
        rounds: points at most that are walked from.
        steps: facets at most that are crossed from each.
    """
    if state.is_l0 or not state.is_min_distortion:
        return
    for _ in range(rounds):
        before = state.upper
        region = state.query.specification.with_radius(min(state.upper * (1 + 1e-6), state.limit)).region
        bounds = state.bounds(region)
        if not worth_polishing(state, bounds):
            return
        for inside in _INSIDE[state.executor.dtype.itemsize]:
            margin = inside * max(1.0, float(np.abs(subproblem.polytope.offset).max()))
            candidate = _best(state, bounds, region, subproblem, point, Objective.MIN_DISTORTION, margin, steps)
            state.count("polish")
            if candidate is None:
                return
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
    bounds = state.bounds(region)
    if quadratic or state.is_l0 or not worth_polishing(state, bounds):
        return
    found = _best(state, bounds, region, subproblem, point, Objective.MAX_MARGIN)
    if found is not None:
        state.add_counterexample(found, engine, subproblem.disjunct)


def _best(
    state: SearchState,
    bounds: Bounds,
    region: Region,
    subproblem: Subproblem,
    point: np.ndarray,
    objective: Objective,
    margin: float = 0.0,
    steps: int = 0,
) -> np.ndarray | None:
    """The best input of a point's cell, or of those beyond its facets; None where there is none, or no time.

    `margin` and `steps` as in `Cells.program` and `polish`.
    """
    seconds = max(min(5.0, state.time_left), 0.01)
    if not state.network.has_max:
        cells = Cells(state.network, bounds, region, subproblem.polytope)
        found = cells.best(cells.look(point)[0], objective, margin, seconds)
        if found is None:
            return None
        return cells.descend(found, objective, margin, lambda _: state.time_left <= 0, steps).point
    program = encode(state.network, bounds, region, (subproblem.polytope,), objective, tightening=margin)
    cell = cell_program(state, program, point)
    result = convex_solver(cell).solve(cell, SolveOptions(time_limit=seconds, threads=1))
    return None if result.point is None else result.point[program.columns.inputs]

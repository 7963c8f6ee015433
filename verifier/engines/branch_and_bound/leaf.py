"""Leaves: where every ReLU's phase is known the network is linear, and an LP or convex QP settles the domain exactly."""

from __future__ import annotations

import math

import numpy as np

from ...encoding import MixedIntegerProgram, encode
from ...query import Objective
from ...solvers import SolveOptions, SolverStatus
from ...solvers.highs import Highs
from ..milp import INFEASIBLE_BY
from ..state import Pair, SearchState


class LeafSolver:
    """Programs of the pairs at one search region, built once and fixed leaf by leaf."""

    def __init__(self, state: SearchState) -> None:
        """Nothing built yet."""
        self.state = state
        self._programs: dict[tuple[int, float], MixedIntegerProgram] = {}

    def _program(self, pair: Pair) -> MixedIntegerProgram:
        region = self.state.search_region(pair.region)
        radius = -1.0 if region.ball is None else region.ball.radius
        key = (id(pair), radius)
        if key not in self._programs:
            quadratic = region.ball is not None and region.ball.norm.name == "2"
            objective = Objective.MIN_DISTORTION if self.state.distances or quadratic else Objective.MAX_MARGIN
            bounds = self.state.bounds(region)
            self._programs[key] = encode(self.state.network, bounds, region, (pair.polytope,), objective)
        return self._programs[key]

    def solve(self, pair: Pair, phases: dict[int, np.ndarray]) -> tuple[float, np.ndarray | None]:
        """Proved value of the leaf and its best input; `phases` has +1, -1 or 0 a neuron, by ReLU node.

        An infeasible leaf counts only when its elastic form agrees (see `engines.milp`); a failed solve proves nothing.
        """
        program = self._program(pair)
        columns, values = [], []
        for node, phase in phases.items():
            binary = program.columns.phase[node]
            chosen = (binary >= 0) & (phase != 0)
            columns.append(binary[chosen])
            values.append((phase[chosen] > 0).astype(np.float64))
        fixed = program.fixed(np.concatenate(columns), np.concatenate(values)).relaxed()
        limit = max(min(10.0, self.state.time_left), 0.01)
        result = Highs().solve(fixed, SolveOptions(time_limit=limit))
        self.state.count("leaf_solves")
        if result.status is SolverStatus.INFEASIBLE:
            second = Highs().solve(fixed.elastic(), SolveOptions(time_limit=limit))
            empty = second.status is SolverStatus.OPTIMAL and second.objective > INFEASIBLE_BY
            return (math.inf if empty else -math.inf), None
        if result.status is not SolverStatus.OPTIMAL or result.point is None:
            return -math.inf, None
        point = result.point[program.columns.inputs]
        value = result.objective
        region = self.state.search_region(pair.region)
        if region.ball is not None and region.ball.norm.name == "2":
            value = math.sqrt(max(value, 0.0)) * (1 - 1e-7)
            if not self.state.distances:  # the nearest unsafe point of the cell lies outside the ball: none inside
                return (math.inf if value > region.ball.radius else -math.inf), point
        return value - 1e-9 * (1 + abs(value)), point

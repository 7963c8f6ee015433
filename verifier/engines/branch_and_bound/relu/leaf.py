"""Leaves: where every ReLU's phase is known the network is linear, and an LP or convex QP settles the domain exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ....encoding import MixedIntegerProgram, encode
from ....encoding.ball import ROUNDING
from ....norms import UnitBall
from ....query import Objective
from ....solvers import SolveOptions, SolverStatus, convex_solver
from ....solvers.highs import Highs
from ....solvers.safe_dual import safe_optimum
from ....specification import Region
from ...state import SearchState, Subproblem

_LONGEST = 10.0  # seconds of one solve


class LeafSolver:
    """Programs of the subproblems at one search region, built once and fixed leaf by leaf."""

    def __init__(self, state: SearchState) -> None:
        """Nothing built yet."""
        self.state = state
        self._programs: dict[tuple[int, float, Objective], MixedIntegerProgram] = {}

    @property
    def _options(self) -> SolveOptions:
        return SolveOptions(time_limit=max(min(_LONGEST, self.state.time_left), 0.01))

    def _program(self, subproblem: Subproblem, region: Region, objective: Objective) -> MixedIntegerProgram:
        """The program of a subproblem on a region, built once: its unsafe inputs within the bounds of the search region.

        Args:
            subproblem: whose polytope is unsafe.
            region: the search region, or a box around it.
            objective: what is minimised.
        """
        radius = -1.0 if region.ball is None else region.ball.radius
        key = (id(subproblem), radius, objective)
        if key not in self._programs:
            bounds = self.state.bounds(self.state.search_region(subproblem.region))
            unsafe = (subproblem.polytope,)
            self._programs[key] = encode(self.state.network, bounds, region, unsafe, objective, quadratic=True)
        return self._programs[key]

    @staticmethod
    def _fixed(program: MixedIntegerProgram, phases: dict[int, np.ndarray]) -> MixedIntegerProgram:
        columns, values = [], []
        for node, phase in phases.items():
            binary = program.columns.phase[node]
            chosen = (binary >= 0) & (phase != 0)
            columns.append(binary[chosen])
            values.append((phase[chosen] > 0).astype(np.float64))
        return program.fixed(np.concatenate(columns), np.concatenate(values)).relaxed()

    def solve(self, subproblem: Subproblem, phases: dict[int, np.ndarray]) -> tuple[float, np.ndarray | None]:
        """Proved value of the leaf and its best input; `phases` has +1, -1 or 0 a neuron, by ReLU node.

        Values of LPs are computed from their multipliers, not taken from the solver; an infeasible leaf counts where those
        of its elastic form prove it. A failed solve proves nothing.
        """
        region = self.state.search_region(subproblem.region)
        quadratic = region.ball is not None and region.ball.norm.unit_ball is UnitBall.EUCLIDEAN
        self.state.count("leaf_solves")
        if quadratic and self.state.query.objective is Objective.MAX_MARGIN:
            deepest = self._program(subproblem, region, Objective.MAX_MARGIN)
            return self._deepest(self._fixed(deepest, phases), region)
        objective = Objective.MIN_DISTORTION if self.state.is_min_distortion or quadratic else Objective.MAX_MARGIN
        program = self._program(subproblem, region, objective)
        fixed = self._fixed(program, phases)
        if not quadratic:
            value, point = safe_optimum(fixed, self._options)
            return value, None if point is None else point[program.columns.inputs]
        assert region.ball is not None
        result = convex_solver(fixed).solve(fixed, self._options)
        if result.status is SolverStatus.INFEASIBLE:
            empty = safe_optimum(replace(fixed, hessian=None), self._options)[0] == math.inf
            return (math.inf if empty else -math.inf), None
        if result.status is not SolverStatus.OPTIMAL or result.point is None:
            return -math.inf, None
        point = result.point[program.columns.inputs]
        value = self._beyond(fixed, region.ball.center, point)
        if self.state.is_min_distortion or value == math.inf:
            return value, point
        # where the nearest unsafe point of the cell lies outside the ball, none is inside
        if value > region.ball.radius:
            return math.inf, point
        return -math.inf, self._deeper(subproblem, phases, region, point)

    def _box(self, subproblem: Subproblem, region: Region) -> MixedIntegerProgram:
        """The most unsafe inputs of the box around a ball."""
        return self._program(subproblem, Region(*region.bounding_box()), Objective.MAX_MARGIN)

    def _deepest(self, program: MixedIntegerProgram, region: Region) -> tuple[float, np.ndarray | None]:
        """The least violation of a leaf in an l2 ball, from below, and its input."""
        assert region.ball is not None
        value, point = safe_optimum(program, self._options)
        if point is None:
            return value, None
        step = point[program.columns.inputs] - region.ball.center
        return value, region.ball.center + step * min(
            region.ball.radius / max(float(np.linalg.norm(step)), 1e-300), 1.0
        )

    def _beyond(self, program: MixedIntegerProgram, center: np.ndarray, nearest: np.ndarray) -> float:
        """How far every input of a leaf is from the center at least, proved by an LP's multipliers; inf for an empty leaf.

        The nearest one, as the QP solver says, names a direction u of length 1; |x - center| is at least u (x - center),
        and where the solver is right the leaf lies wholly beyond the tangent there.
        """
        step = nearest - center
        length = float(np.linalg.norm(step))
        if length == 0.0:
            return 0.0
        unit = step / length * (1 - ROUNDING)
        cost = np.zeros_like(program.cost)
        cost[program.columns.inputs] = unit
        linear = replace(program, cost=cost, hessian=None, offset=0.0)
        least, _ = safe_optimum(linear, self._options)
        return max(least - float(unit @ center) - ROUNDING * float(np.abs(unit) @ np.abs(center)), 0.0)

    def _deeper(
        self, subproblem: Subproblem, phases: dict[int, np.ndarray], region: Region, nearest: np.ndarray
    ) -> np.ndarray:
        """A point of the ball more unsafe than the nearest unsafe one of a cell, which is unsafe by nothing.

        From there towards the cell's most unsafe point in the box: the margin falls along a line in a cell.
        """
        assert region.ball is not None
        box = self._box(subproblem, region)
        result = Highs().solve(self._fixed(box, phases), self._options)
        if result.status is not SolverStatus.OPTIMAL or result.point is None:
            return nearest
        way = result.point[box.columns.inputs] - nearest
        before, squared = nearest - region.ball.center, max(float(way @ way), 1e-300)
        middle = -float(before @ way) / squared
        room = middle**2 + (region.ball.radius**2 - float(before @ before)) / squared
        return np.asarray(nearest + min(max(middle + math.sqrt(max(room, 0.0)), 0.0) * (1 - 1e-9), 1.0) * way)

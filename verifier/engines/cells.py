"""Cells: the inputs of a region that share a ReLU pattern, where the network is linear and an LP or QP is exact.

What a neuron reads in a cell is a linear function of the input, and neurons that are stable in the region need no row. So a cell's
program has one column an input and one row an unstable ReLU, whatever the number of the network's ReLUs.

A cell's best point lies on facets, where some neuron reads 0. The rows whose multipliers are largest name the neurons that hold it
there; with one of them flipped the same point is in the next cell, whose best point is at least as good. `descend` walks on like
that while it pays: the "1-opt" improvement of MIP solvers over patterns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..bounds import Bounds
from ..encoding import ColumnMap, MixedIntegerProgram
from ..encoding.objective import encode_distance, limit_distance
from ..encoding.program import ProgramBuilder
from ..encoding.substitution import substituted
from ..network.evaluate import evaluate_all
from ..network.nodes import Network, Relu
from ..norms import UnitBall
from ..query import Objective
from ..solvers import SolveOptions, convex_solver
from ..specification import Polytope, Region

Pattern = Mapping[int, Tensor]  # by ReLU node, which neurons are active; (size,)

_SECONDS = 5.0  # of one solve
_CROSSED = 3  # facets at most that are tried from a cell
_GAIN = 1e-7  # least gain of a crossing, relative to the value and absolute
_LEAST_MULTIPLIER = 1e-9


@dataclass(frozen=True)
class CellPoint:
    """The best point of a cell.

    Attributes:
        point: inputs, (n,).
        value: violation, or distance (for norm 2 its square).
        pattern: of the cell.
        holding: the neurons (ReLU node, number) whose facets hold it there, the firmest first.
    """

    point: np.ndarray
    value: float
    pattern: Pattern
    holding: tuple[tuple[int, int], ...]


class Cells:
    """The cells of a network without maxima in a region, and one unsafe polytope."""

    def __init__(self, network: Network, bounds: Bounds, region: Region, polytope: Polytope) -> None:
        """Take bounds that are valid on the region, batch of one: they say which neurons are stable.

        Raises:
            ValueError: the network has maxima.
        """
        if network.has_max:
            raise ValueError("cells of maxima are not those of ReLUs alone")
        self._network, self._region, self._polytope = network, region, polytope
        self._relus = [(i, node.input) for i, node in enumerate(network.nodes) if isinstance(node, Relu)]
        self._unstable = {i: torch.nonzero(bounds[read].unstable[0]).squeeze(-1) for i, read in self._relus}
        self._neurons = [(i, int(k)) for i, _ in self._relus for k in self._unstable[i]]

    def look(self, x: np.ndarray) -> tuple[Pattern, float]:
        """The pattern at an input (n,), and its violation."""
        with torch.no_grad():
            values = evaluate_all(self._network, torch.tensor(x, dtype=self._network.dtype)[None])
        outputs = values[-1][0].double().numpy()
        violation = float((self._polytope.matrix @ outputs - self._polytope.offset).max())
        return {i: values[read][0] > 0 for i, read in self._relus}, violation

    def program(self, pattern: Pattern, objective: Objective, margin: float = 0.0) -> MixedIntegerProgram:
        """The program of a cell: an LP, for distances in norm 2 a QP; the ball is a row where the norm has one.

        Args:
            pattern: of the cell.
            objective: MIN_DISTORTION for the nearest unsafe point, MAX_MARGIN for the most unsafe one.
            margin: subtracted from every unsafe offset, to ask for points strictly inside.
        """
        matrix, constant, sign = self._rows(pattern)
        count, ball = len(sign), self._region.ball
        builder = ProgramBuilder()
        low, high = self._region.bounding_box()
        inputs = builder.columns(low, high)
        builder.rows(sp.csr_matrix(sign[:, None] * matrix[:count]), -sign * constant[:count], np.inf)
        outputs, limit = matrix[count:], self._polytope.offset - margin - constant[count:]
        deepest = objective is Objective.MAX_MARGIN
        if deepest:
            far = np.maximum(np.abs(low), np.abs(high))
            most = float((np.abs(outputs) @ far + np.abs(limit)).max())
            depth = builder.columns(np.array([-most]), np.array([most]))
            outputs = np.hstack([outputs, -np.ones((len(limit), 1))])
        builder.rows(sp.csr_matrix(outputs), -np.inf, limit)
        distance = None
        if ball is not None and (not deepest or ball.norm.unit_ball is UnitBall.CROSS_POLYTOPE):
            distance = encode_distance(builder, inputs, low, high, ball)
            limit_distance(builder, distance, ball)
        if deepest:
            return builder.finish({int(depth[0]): 1.0}, ColumnMap(inputs))
        assert distance is not None
        columns = ColumnMap(inputs, distance=distance.column)
        return builder.finish(distance.cost, columns, distance.hessian, distance.offset)

    def best(
        self, pattern: Pattern, objective: Objective, margin: float = 0.0, seconds: float = _SECONDS
    ) -> CellPoint | None:
        """The best point of a cell; None where it has none, or time ran out."""
        program = self.program(pattern, objective, margin)
        found = convex_solver(program).solve(program, SolveOptions(time_limit=seconds, threads=1))
        if found.point is None:
            return None
        holding: list[tuple[int, int]] = []
        if found.row_dual is not None:
            size = np.abs(found.row_dual[: len(self._neurons)])
            holding = [self._neurons[k] for k in np.argsort(-size)[:_CROSSED] if size[k] > _LEAST_MULTIPLIER]
        return CellPoint(found.point[program.columns.inputs], program.objective(found.point), pattern, tuple(holding))

    def descend(
        self,
        start: CellPoint,
        objective: Objective,
        margin: float = 0.0,
        enough: Callable[[CellPoint], bool] = lambda _: False,
        steps: int = 30,
    ) -> CellPoint:
        """Cross the facets that hold a cell's best point while that gains something, or until it is `enough`."""
        best = start
        for _ in range(steps):
            if enough(best):
                break
            floor = best.value - _GAIN * (1 + abs(best.value))
            for relu, neuron in best.holding:
                flipped = dict(best.pattern)
                flipped[relu] = best.pattern[relu].clone()
                flipped[relu][neuron] = ~flipped[relu][neuron]
                found = self.best(flipped, objective, margin)
                if found is not None and found.value < floor:
                    best = found
                    break
            else:
                break
        return best

    def _rows(self, pattern: Pattern) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What unstable neurons read, then the polytope's rows, as matrix x + constant; +1 or -1 for each neuron's phase."""
        network, kept = self._network, {i: torch.zeros_like(active) for i, active in pattern.items()}
        outputs = torch.from_numpy(self._polytope.matrix).to(network.dtype)
        wanted: list[tuple[int, Tensor]] = []
        signs: list[Tensor] = [torch.zeros(0)]
        for i, read in self._relus:
            chosen = self._unstable[i]
            units = torch.zeros((len(chosen), network.nodes[read].size), dtype=network.dtype)
            units[torch.arange(len(chosen)), chosen] = 1.0
            wanted.append((read, units))
            signs.append(torch.where(pattern[i][chosen], 1.0, -1.0))
        wanted.append((network.output, outputs))
        found = [substituted(network, node, rows, pattern, kept) for node, rows in wanted]
        matrix = torch.cat([each.inputs for each in found]).double().numpy()
        constant = torch.cat([each.constant for each in found]).double().numpy()
        return matrix, constant, torch.cat(signs).double().numpy()

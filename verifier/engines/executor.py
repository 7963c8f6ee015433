"""How a point that an engine proposes becomes a witness: rounded into its region, executed, compared exactly.

Nothing else moves the upper side of a bracket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from ..network.evaluate import evaluate
from ..network.nodes import Network
from ..norms import UnitBall
from ..specification import Disjunct, Region
from ..specification.exact import above, dot

_RETREATS = (1e-15, 1e-13, 1e-9, 1e-7, 1e-6, 1e-5, 1e-4)  # relative steps back towards the center of a round ball
_UNCHANGED = 1e-6  # what solvers leave of a change that they do not count


class Executor(Protocol):
    """Executes the network as its users do."""

    dtype: np.dtype
    has_ending: bool  # whether `logits` and `run` differ

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs (batch, outputs) for inputs (batch, inputs)."""

    def logits(self, x: np.ndarray) -> np.ndarray:
        """What the file computes before its ending (see `Network.ending`); the outputs where it has none."""


class NetworkExecutor:
    """Executes a network that has no ONNX file by its own float64 forward pass."""

    dtype = np.dtype(np.float64)
    has_ending = False

    def __init__(self, network: Network) -> None:
        """Keep the network."""
        self.network = network

    def run(self, x: np.ndarray) -> np.ndarray:
        """Forward pass."""
        with torch.no_grad():
            return evaluate(self.network, torch.from_numpy(np.asarray(x, dtype=np.float64))).numpy()

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The same: networks in memory end in logits."""
        return self.run(x)


class CoupledExecutor:
    """Appends z = G x to what an executor returns, each rounded up from exact arithmetic.

    Every row reads its own z with coefficient 1, in the direction in which it is bounded from above. So a point that
    satisfies a row over the rounded z satisfies the exact one, strictness included.
    """

    def __init__(self, executor: Executor, rows: np.ndarray) -> None:
        """Wrap another executor."""
        self.executor, self.rows = executor, rows
        self.dtype, self.has_ending = executor.dtype, executor.has_ending

    def run(self, x: np.ndarray) -> np.ndarray:
        """What the file puts out, and z."""
        return self._with_rows(self.executor.run(x), x)

    def logits(self, x: np.ndarray) -> np.ndarray:
        """The values before the file's ending, and z."""
        return self._with_rows(self.executor.logits(x), x)

    def _with_rows(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        cast = np.asarray(x).reshape(len(x), -1).astype(self.dtype).astype(np.float64)  # as the executor casts it
        z = [[above(dot(row, point)) if np.isfinite(point).all() else np.inf for row in self.rows] for point in cast]
        return np.hstack([y, np.array(z, dtype=np.float64).reshape(len(cast), len(self.rows))])


@dataclass(frozen=True)
class Execution:
    """A point (n,) of a region as it was executed: how unsafe its logits are, and whether it is a counterexample."""

    point: np.ndarray
    violation: float
    unsafe: bool


def execute(point: np.ndarray, disjunct: Disjunct, executor: Executor) -> Execution | None:
    """What comes of the nearest input to a point that the executor can be given; None where the disjunct has no such input."""
    x = round_into_region(point, disjunct.region, executor.dtype)
    if not disjunct.region.contains(x):
        return None
    logits = executor.logits(x[None])[0]
    outputs = executor.run(x[None])[0] if executor.has_ending else logits
    if not np.isfinite(logits).all():
        return None
    violation = min(polytope.violation(logits) for polytope in disjunct.unsafe)
    return Execution(
        x, violation, any(p.contains(logits) and (p.written or p).contains(outputs) for p in disjunct.unsafe)
    )


def round_into_region(point: np.ndarray, region: Region, dtype: np.dtype) -> np.ndarray:
    """A point rounded to numbers of `dtype` inside the region, as float64.

    Where the region holds no such number near the point, what is returned lies outside. In norm 0 coordinates that are as
    good as unchanged keep the center's value, whatever type that has.
    """
    lower, upper = region.bounding_box(outward=False)
    x = np.clip(np.asarray(point, dtype=np.float64), lower, upper)
    rounded = _rounded(x, lower, upper, dtype)
    ball = region.ball
    if ball is None or ball.norm.unit_ball is UnitBall.BOX:
        return rounded
    if ball.norm.unit_ball is UnitBall.COUNT:
        return np.where(np.abs(x - ball.center) <= _UNCHANGED, ball.center, rounded)
    for retreat in _RETREATS:
        if region.contains(rounded):
            return rounded
        scale = min(1.0, ball.radius / max(region.distance(x), 1e-300)) * (1 - retreat)
        rounded = _rounded(ball.center + (x - ball.center) * scale, lower, upper, dtype)
    return rounded


def _rounded(x: np.ndarray, lower: np.ndarray, upper: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The nearest numbers of a type, of those in the box where it has any."""
    if dtype == np.float64:
        clipped: np.ndarray = np.clip(x, lower, upper)
        return clipped
    low, high = lower.astype(dtype), upper.astype(dtype)
    low = np.where(low < lower, np.nextafter(low, dtype.type(np.inf)), low)
    high = np.where(high > upper, np.nextafter(high, dtype.type(-np.inf)), high)
    nearest: np.ndarray = np.minimum(np.maximum(x.astype(dtype), low), high).astype(np.float64)
    return nearest

"""Layer by layer, the least and the largest value of every ReLU's input over the program of a query."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

import numpy as np

from ..bounds import Bounds, Interval
from ..encoding import Formulation, MixedIntegerProgram, encode
from ..encoding.program import Preactivation
from ..network.nodes import Network, Relu
from ..query import Objective
from ..solvers.highs import HighsLps
from ..solvers.lp_tree import LpTree
from ..solvers.safe_dual import SafeDual
from ..specification import Polytope, Region

_UNIT = 2.0**-52
_WORTHWHILE = 0.9  # a round that leaves more than this share of the unstable ReLUs is the last

_FORM = Formulation(substitute=True)

Method = Literal["lp", "mip"]
Least = Callable[[np.ndarray, float], float]


def tighten(
    network: Network,
    bounds: Bounds,
    region: Region,
    unsafe: tuple[Polytope, ...],
    seconds: float,
    method: Method = "lp",
    depth: float = 0.0,
) -> Bounds:
    """Bounds that hold for those inputs of the region that are unsafe; one side is enough where it settles the sign.

    Round after round while that pays, since later layers tighten earlier ones through what is unsafe.

    Args:
        network: the network.
        bounds: known bounds, batch of one.
        region: box ∩ ball.
        unsafe: at least one of these polytopes is to be reached.
        seconds: for all solves; in a round over the layers, those that are left share what is left.
        method: "lp" for the relaxation, whose bounds are computed from multipliers and hold in spite of rounding, "mip" for
            the program itself, by trees of such LPs.
        depth: violations up to this one count as unsafe.
    """
    deadline, whole = time.perf_counter() + seconds, bounds
    before, left = math.inf, bounds.unstable_count(network)
    while 0 < left <= _WORTHWHILE * before and time.perf_counter() < deadline:
        bounds = _round(network, bounds, whole, region, unsafe, deadline, method, depth)
        before, left = left, bounds.unstable_count(network)
    return bounds


def _round(
    network: Network,
    bounds: Bounds,
    whole: Bounds,
    region: Region,
    unsafe: tuple[Polytope, ...],
    deadline: float,
    method: Method,
    depth: float,
) -> Bounds:
    """Every layer once."""
    nodes = sorted({node.input for node in network.nodes if isinstance(node, Relu)})
    for position, node in enumerate(nodes):
        left = deadline - time.perf_counter()
        if left <= 0:
            break
        if not bool(bounds[node].unstable.any()):
            continue
        program = encode(network, bounds, region, unsafe, Objective.FEASIBILITY, _FORM, -depth, whole)
        least = _lp(program) if method == "lp" else _mip(program)
        until = time.perf_counter() + left / (len(nodes) - position)
        reading = next(each for each in program.preactivations if each.node == node)
        bounds = bounds.tighten(Bounds({node: _bounded(bounds[node], reading, least, until)}, method))
    return bounds


def _bounded(interval: Interval, reading: Preactivation, least: Least, until: float) -> Interval:
    """The interval of a node, those neurons first whose sign is nearly settled."""
    lower, upper = interval.lower.double().clone(), interval.upper.double().clone()
    low, high = lower[0, reading.neurons].numpy(), upper[0, reading.neurons].numpy()
    for k in np.argsort(np.minimum(-low, high)):
        neuron, cost = reading.neurons[k], reading.weights[[k]].toarray()[0]
        for sign in (1.0, -1.0) if -low[k] < high[k] else (-1.0, 1.0):
            left = until - time.perf_counter()
            if left <= 0:
                return Interval(lower, upper)
            value = least(sign * cost, left) + sign * reading.bias[k]
            if not np.isfinite(value):  # out of time, or no unsafe input is left, which the whole program will show
                return Interval(lower, upper)
            value -= 2 * _UNIT * (abs(value) + abs(reading.bias[k])) + reading.loss[k]
            if sign > 0:
                lower[0, neuron] = max(float(lower[0, neuron]), value)
            else:
                upper[0, neuron] = min(float(upper[0, neuron]), -value)
            if value >= 0:
                break
    return Interval(lower, upper)


def _lp(program: MixedIntegerProgram) -> Least:
    lps, safe = HighsLps(program), SafeDual(program)

    def least(cost: np.ndarray, seconds: float) -> float:
        row_dual = lps.row_dual(cost, seconds)
        return -np.inf if row_dual is None else safe.bound(row_dual, cost, program.col_lower, program.col_upper)

    return least


def _mip(program: MixedIntegerProgram) -> Least:
    tree = LpTree(program)

    def least(cost: np.ndarray, seconds: float) -> float:
        return tree.minimum(seconds, cost=cost, relative_gap=1e-3).bound

    return least

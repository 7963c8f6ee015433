"""Ties: subproblems whose bound is 0, or so near to it that rounding hides on which side it lies, in rational arithmetic.

A strict row y > 1 whose maximum is exactly 1 is never reached, and a pruned network whose outputs are equal has no
adversarial example, but no bound that allows for rounding comes to 0. Small networks only, on the file's own numbers
before anything was folded. ReLUs and maxima are split where one bound does not do, and where all phases are known the
multipliers of an LP, turned into fractions, give the last word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import torch

from ..bounds import InputSet, crown
from ..bounds.rational import Choices, RationalForm, RationalNetwork, Vector, least
from ..deadline import check
from ..network.nodes import Max, Relu
from ..query import Objective
from ..specification import Polytope, Region
from ..specification.region import RATIONAL_INPUTS
from .state import SearchState, Subproblem

_MOST_RELUS = 256
_DOUBT, _RELATIVE = 1e-5, 1e-6  # of margins, relative to the rows; of distances
_MOST_NODES = 400  # of a tree
_SLOPES = (None, Fraction(0), Fraction(1))
_DENOMINATOR = 1 << 20  # of multipliers


class Exact:
    """Subproblems that the bounds so far leave open by no more than rounding explains."""

    name = "exact"
    fraction = 0.2

    def run(self, state: SearchState, deadline: float) -> None:
        """Each such subproblem; of distances those that may reach as far as the whole valid range, or the limit, does."""
        network = state.network.exact
        if network is None or network.relu_count > _MOST_RELUS or network.input_size > RATIONAL_INPUTS:
            return
        if state.query.float32 or state.query.objective is Objective.MAX_MARGIN:
            return
        rational: RationalNetwork | None = None
        for subproblem in state.open_subproblems:
            if state.done or state.elapsed >= deadline:
                return
            if _far(subproblem, state):
                continue
            rational = RationalNetwork(network) if rational is None else rational
            region = state.search_region(subproblem.region)
            state.count("exact_bounds")
            if _Tree(rational, region, subproblem.polytope, state, deadline).excludes():
                state.exclude_exactly(subproblem, self.name)


class ExactMore(Exact):
    """The same once trees have come to their ends."""

    name = "exact-more"
    fraction = 0.5


def _far(subproblem: Subproblem, state: SearchState) -> bool:
    """Whether a subproblem lacks more than rounding explains."""
    if state.is_min_distortion:
        return math.isfinite(state.goal) and subproblem.lower < state.goal * (1 - _RELATIVE)
    scale = max(float(np.abs(subproblem.polytope.offset).max()), float(np.abs(subproblem.polytope.matrix).max()), 1.0)
    return subproblem.lower < -_DOUBT * scale


class _Tree:
    """Whether a region holds no input of a polytope, by splitting ReLUs and maxima of a network in rational arithmetic."""

    def __init__(
        self, rational: RationalNetwork, region: Region, polytope: Polytope, state: SearchState, deadline: float
    ) -> None:
        self.rational, self.network, self.region, self.polytope = rational, rational.network, region, polytope
        self.state, self.deadline, self.nodes = state, deadline, 0
        inputs = InputSet.from_regions([region])
        with torch.no_grad():
            bounds = crown(self.network, inputs)
        self.bounds = {j: (bounds[j].lower[0].numpy(), bounds[j].upper[0].numpy()) for j in self.network.bounded}

    def excludes(self) -> bool:
        """Whether every part is proved to be free of unsafe inputs."""
        undecided = {Relu: 0, Max: -1}
        nodes = [(i, node) for i, node in enumerate(self.network.nodes) if isinstance(node, Relu | Max)]
        return self._free({i: np.full(node.size, undecided[type(node)], dtype=np.int16) for i, node in nodes})

    def _free(self, phases: Mapping[int, np.ndarray]) -> bool:
        check()
        self.nodes += 1
        if self.nodes > _MOST_NODES or self.state.elapsed >= self.deadline:
            return False
        for row in range(len(self.polytope.offset)):
            for slope in _SLOPES:
                if self._row_free(self._form(row, Choices(self.bounds, phases, slope)), row):
                    return True
        open_ = self._open(phases)
        if not open_:
            return self._cell_free(phases)
        node, k, parts = open_
        for part in parts:
            split = dict(phases)
            split[node] = phases[node].copy()
            split[node][k] = part
            if not self._free(split):
                return False
        return True

    def _form(self, row: int, choices: Choices) -> RationalForm:
        """A lower bound on C y - d of one row."""
        weights: Vector = {k: Fraction(v) for k, v in enumerate(self.polytope.matrix[row].tolist()) if v != 0}
        return self.rational.lower_form({self.network.output: weights}, -self.polytope.limit(row)[0], choices)

    def _row_free(self, form: RationalForm, row: int) -> bool:
        """Whether a row never holds where its lower bound is this."""
        value = least(form, self.region)
        return value > 0 or (value == 0 and self.polytope.limit(row)[1])

    def _open(self, phases: Mapping[int, np.ndarray]) -> tuple[int, int, list[int]] | None:
        """A node, one of its neurons and the parts to split it into: of the first node with an open one, what wastes most."""
        for i, node in enumerate(self.network.nodes):
            if isinstance(node, Relu):
                lower, upper = self.bounds[node.input]
                waste = np.where((phases[i] == 0) & (lower < 0) & (upper > 0), np.minimum(-lower, upper), 0.0)
                if waste.max(initial=0.0) > 0:
                    return i, int(waste.argmax()), [1, -1]
            elif isinstance(node, Max):
                lower, upper = self.bounds[node.input]
                for k, members in enumerate(node.windows.tolist()):
                    least = max(lower[m] for m in members)
                    possible = {m: place for place, m in enumerate(members) if upper[m] >= least}
                    if phases[i][k] < 0 and len(possible) > 1:
                        return i, k, list(possible.values())
        return None

    def _cell_free(self, phases: Mapping[int, np.ndarray]) -> bool:
        """Where all phases are known: no input of the cell, or none that satisfies all rows."""
        choices = Choices(self.bounds, phases, None)
        sides: list[RationalForm] = []  # functions that are >= 0 in the cell
        for i, node in enumerate(self.network.nodes):
            if isinstance(node, Relu):
                known = [{int(k): Fraction(int(phases[i][k]))} for k in np.flatnonzero(phases[i])]
            elif isinstance(node, Max):
                known = [
                    {node.windows[k].tolist()[place]: Fraction(1), m: Fraction(-1)}
                    for k, place in enumerate(phases[i].tolist())
                    for m in sorted(set(node.windows[k].tolist()))
                    if place >= 0 and m != node.windows[k].tolist()[place]
                ]
            else:
                continue
            sides += [self.rational.lower_form({node.input: weights}, Fraction(0), choices) for weights in known]
        rows = [self._form(row, choices) for row in range(len(self.polytope.offset))]
        for multipliers, weights in _duals(rows, sides, self.region):
            total = RationalForm({}, Fraction(0))
            for form, factor in zip((*rows, *sides), (*weights, *(-m for m in multipliers)), strict=True):
                total = total.plus(form, factor)
            value = least(total, self.region)
            strict = any(w > 0 and self.polytope.limit(row)[1] for row, w in enumerate(weights))
            if value > 0 or (value == 0 and strict):
                return True
        return False


def _duals(
    rows: list[RationalForm], sides: list[RationalForm], region: Region
) -> list[tuple[list[Fraction], list[Fraction]]]:
    """Multipliers >= 0 of the cell's sides and of the rows, as an LP over the bounding box suggests them; any are valid.

    min t subject to row_r(x) <= t (all rows) and side_s(x) >= -t: an optimum above 0 says that nothing satisfies them all.
    A second LP leaves the sides as they are.
    """
    from scipy.optimize import linprog

    lower, upper = region.bounding_box()
    found = []
    for relaxed in (0.0, 1.0):
        matrix = np.zeros((len(rows) + len(sides), region.size + 1))
        limit = np.zeros(len(matrix))
        for r, form in enumerate((*rows, *sides)):
            sign = 1.0 if r < len(rows) else -1.0
            for k, value in form.coefficients.items():
                matrix[r, k] = sign * float(value)
            matrix[r, -1] = -1.0 if r < len(rows) else -relaxed
            limit[r] = -sign * float(form.offset)
        cost = np.append(np.zeros(region.size), 1.0)
        sides_of_x = [*zip(lower, upper, strict=True), (None, None)]
        result = linprog(cost, A_ub=matrix, b_ub=limit, bounds=sides_of_x, method="highs")
        if result.status == 0:
            duals = [Fraction(max(-float(m), 0.0)).limit_denominator(_DENOMINATOR) for m in result.ineqlin.marginals]
            found.append((duals[len(rows) :], duals[: len(rows)]))
    return found

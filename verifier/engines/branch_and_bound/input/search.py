"""Branch and bound over input boxes, for networks with few inputs: bound, clip, halve a side, repeat; all in tensors.

Every box is first clipped to where its own linear bounds still allow an unsafe output (Zhou et al., "Clip-and-Verify",
NeurIPS 2025), which settles many boxes and shrinks the others.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ....bounds import InputSet, crown
from ....bounds.crown import output_form
from ....network.evaluate import evaluate
from ....query import Objective
from ....specification import Disjunct
from ...state import ABOVE_ZERO, SearchState, Subproblem

_FIRST_BATCH, _BATCH_ENTRIES = 16, 1_200_000  # boxes at first; later, boxes times neurons
_CLIPS = 2


class InputSearch:
    """Open boxes of one disjunct as tensors: bounds (boxes, n), proved values, subproblems; and what closed ones proved."""

    def __init__(self, state: SearchState, disjunct: Disjunct, subproblems: list[Subproblem], name: str) -> None:
        self.state, self.disjunct, self.subproblems, self.name = state, disjunct, subproblems, name
        self.bounding_network = state.region_bounds.bounding_network
        self.losses = state.region_bounds.losses(disjunct.region)
        self.rows, self.offset = state.rows(subproblems)
        whole = state.inputs([disjunct.region])
        count = len(subproblems)
        self.lower, self.upper = whole.lower.repeat(count, 1), whole.upper.repeat(count, 1)
        self.value = torch.full((count,), -math.inf, dtype=torch.float64)
        self.subproblem = torch.arange(count)
        self.clipped = False
        self.closed = torch.full((count,), math.inf, dtype=torch.float64)
        neurons = sum(node.size for node in state.network.nodes)
        self.most = int(min(4096, max(_FIRST_BATCH, _BATCH_ENTRIES // neurons)))

    def run(self, deadline: float) -> None:
        """Until nothing is open or time is out."""
        state, batch = self.state, _FIRST_BATCH
        while len(self.value) and not state.done and state.elapsed < deadline:
            taken = self.value.topk(min(batch, len(self.value)), largest=False).indices
            rest = torch.ones_like(self.value, dtype=torch.bool)
            rest[taken] = False
            boxes = (self.lower[taken], self.upper[taken], self.value[taken], self.subproblem[taken])
            self.lower, self.upper, self.value, self.subproblem = (
                t[rest] for t in (self.lower, self.upper, self.value, self.subproblem)
            )
            self._step(*boxes)
            batch = min(2 * batch, self.most)
            self._report()

    def _step(self, lower: Tensor, upper: Tensor, floor: Tensor, subproblem: Tensor) -> None:
        """Bound boxes, clip them, and queue the halves of those that stay open."""
        state = self.state
        state.count("nodes", len(lower))
        inputs = InputSet(lower, upper)
        rows, offset = self.rows[subproblem], self.offset[subproblem]
        with torch.no_grad():
            bounds = crown(self.bounding_network, inputs, losses=self.losses)
            form = output_form(self.bounding_network, inputs, rows, offset, bounds, self.losses)
            bound = inputs.minimum(form.coefficients, form.offset)
            value = torch.maximum(bound.amax(-1), floor)
            open_ = ~self._beyond(value)
            self._close(subproblem[~open_], value[~open_])
            if not bool(open_.any()):
                return
            best = bound.argmax(-1)
            coefficients = form.coefficients.to(torch.float64)
            chosen = coefficients[torch.arange(len(best)), best]
            corner = torch.where(chosen > 0, lower, upper)
            for points in (corner, (lower + upper) / 2):
                self._candidates(points[open_], rows[open_], offset[open_])
            lower, upper, value, subproblem = lower[open_], upper[open_], value[open_], subproblem[open_]
            coefficients, constant = coefficients[open_], form.offset[open_]
            if state.query.objective is Objective.FEASIBILITY:
                lower, upper, empty = clip(lower, upper, coefficients, constant)
                self.clipped = True
                self._close(subproblem[empty], torch.full_like(value[empty], math.inf))
                kept = ~empty
                lower, upper, value, subproblem, coefficients = (
                    t[kept] for t in (lower, upper, value, subproblem, coefficients)
                )
            self._halve(lower, upper, value, subproblem, coefficients)

    def _halve(self, lower: Tensor, upper: Tensor, value: Tensor, subproblem: Tensor, coefficients: Tensor) -> None:
        """Along the side that the linear bounds depend on most."""
        width = upper - lower
        pull = coefficients.abs().amax(1)
        side = (torch.maximum(pull, 0.1 * pull.amax(-1, keepdim=True)) * width).argmax(-1, keepdim=True)
        low, high = lower.gather(1, side), upper.gather(1, side)
        middle = (low + high) / 2
        stuck = ((middle <= low) | (middle >= high)).squeeze(1)  # no number in between: stays unproved
        self._close(subproblem[stuck], value[stuck])
        left, right = upper.scatter(1, side, middle), lower.scatter(1, side, middle)
        fine = ~stuck
        self.lower = torch.cat([self.lower, lower[fine], right[fine]])
        self.upper = torch.cat([self.upper, left[fine], upper[fine]])
        self.value = torch.cat([self.value, value[fine], value[fine]])
        self.subproblem = torch.cat([self.subproblem, subproblem[fine], subproblem[fine]])

    def _beyond(self, value: Tensor) -> Tensor:
        """Which values need no more work."""
        goal = self.state.goal
        if self.state.query.objective is Objective.FEASIBILITY:
            return value > 0
        return value >= goal

    def _close(self, subproblem: Tensor, value: Tensor) -> None:
        if self.clipped:  # of what was cut off nothing is known but that it is safe
            value = value.clamp(max=ABOVE_ZERO)
        self.closed.scatter_reduce_(0, subproblem, value, "amin")

    def _report(self) -> None:
        """Raise each subproblem to the lowest value proved on its boxes."""
        lowest = self.closed.clone()
        lowest.scatter_reduce_(0, self.subproblem, self.value, "amin")
        for subproblem, value in zip(self.subproblems, lowest.tolist(), strict=True):
            self.state.raise_lower_bound(subproblem, value, self.name)

    def _candidates(self, points: Tensor, rows: Tensor, offset: Tensor) -> None:
        output = evaluate(self.bounding_network, points.to(self.bounding_network.dtype)).to(rows.dtype)
        violation = (torch.matmul(rows, output.unsqueeze(-1)).squeeze(-1) + offset).amax(-1)
        worst = int(violation.argmin())
        threshold = self.state.upper if self.state.query.objective is Objective.MAX_MARGIN else 0.0
        if float(violation[worst]) < threshold:
            self.state.add_counterexample(points[worst].numpy(), self.name, self.disjunct)


def clip(lower: Tensor, upper: Tensor, coefficients: Tensor, offset: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (boxes, n) cut to where all rows coefficients (boxes, rows, n) x + offset (boxes, rows) can be <= 0.

    A point of a box that is cut off has some row above 0. Returns the new boxes and which of them are empty.
    """
    size = torch.maximum(lower.abs(), upper.abs())
    magnitude = (coefficients.abs() * size.unsqueeze(1)).sum(-1) + offset.abs()
    allowance = 1e-12 * magnitude
    empty = torch.zeros(len(lower), dtype=torch.bool)
    for _ in range(_CLIPS):
        for row in range(coefficients.shape[1]):
            a = coefficients[:, row]
            least = torch.minimum(a * lower, a * upper)
            room = -(offset[:, row] - allowance[:, row]).unsqueeze(1) - (least.sum(-1, keepdim=True) - least)
            limit = room / torch.where(a == 0, torch.ones_like(a), a)
            slack = 1e-12 * (limit.abs() + size)
            upper = torch.where(a > 0, torch.minimum(upper, limit + slack), upper)
            lower = torch.where(a < 0, torch.maximum(lower, limit - slack), lower)
            crossed = (lower > upper).any(-1)
            empty |= crossed
            middle = (lower + upper) / 2
            lower = torch.where(crossed.unsqueeze(1), torch.minimum(lower, middle), lower)
            upper = torch.where(crossed.unsqueeze(1), torch.maximum(upper, lower), upper)
    return lower, upper, empty

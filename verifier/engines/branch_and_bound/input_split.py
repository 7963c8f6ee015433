"""Branch and bound over input boxes, for networks with few inputs: bisect a side, bound both halves afresh, repeat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...bounds import InputSet, crown
from ...bounds.crown import output_form
from ...network.evaluate import evaluate
from ...query import Objective
from ...specification import Case
from ..propagate import stacked_rows
from ..state import Pair, SearchState
from .tree import Tree

MOST_INPUTS = 20


class InputSplit:
    """Applies to boxes of at most `MOST_INPUTS` inputs when no distance is asked for."""

    name = "input-split"

    def run(self, state: SearchState, deadline: float) -> None:
        """Case by case."""
        if state.distances or state.network.input_size > MOST_INPUTS:
            return
        for case in state.query.specification.cases:
            pairs = [pair for pair in state.open_pairs if pair.case is case]
            region = case.region
            if region.ball is not None and region.ball.norm.name != "inf":
                continue
            if pairs and not state.done and state.elapsed < deadline:
                self._search(state, case, pairs, deadline)

    def _search(self, state: SearchState, case: Case, pairs: list[Pair], deadline: float) -> None:
        tree: Tree[tuple[Tensor, Tensor, int]] = Tree(pairs)
        rows, offset = stacked_rows(state, pairs)
        whole = state.inputs([case.region])
        for k in range(len(pairs)):
            tree.push(k, -math.inf, (whole.lower[0], whole.upper[0], -1))
        batch, most = 8, int(min(2048, max(16, 600_000 // sum(n.size for n in state.network.nodes))))
        while tree.heap and not state.done and state.elapsed < deadline:
            taken = tree.pop(batch, state.goal)
            batch = min(2 * batch, most)
            boxes: list[tuple[int, Tensor, Tensor, float]] = []
            for value, pair, (lower, upper, side) in taken:
                if side < 0:
                    boxes.append((pair, lower, upper, value))
                    continue
                middle = (lower[side] + upper[side]) / 2
                if not bool(lower[side] < middle) or not bool(middle < upper[side]):
                    tree.close(pair, value)  # cannot be halved in float64: stays unproved
                    continue
                left, right = upper.clone(), lower.clone()
                left[side] = right[side] = middle
                boxes += [(pair, lower, left, value), (pair, right, upper, value)]
            if boxes:
                self._bound(state, tree, boxes, rows, offset)
            tree.report(state, self.name)

    def _bound(
        self,
        state: SearchState,
        tree: Tree[tuple[Tensor, Tensor, int]],
        boxes: list[tuple[int, Tensor, Tensor, float]],
        rows: Tensor,
        offset: Tensor,
    ) -> None:
        index = torch.tensor([pair for pair, _, _, _ in boxes])
        inputs = InputSet(torch.stack([b[1] for b in boxes]), torch.stack([b[2] for b in boxes]))
        with torch.no_grad():
            bounds = crown(state.network, inputs)
            form = output_form(state.network, inputs, rows[index], offset[index], bounds)
            bound = inputs.minimum(form.coefficients, form.offset)
            values = bound.amax(-1)
            best = bound.argmax(-1)
            pick = torch.arange(len(boxes))
            coefficients = form.coefficients[pick, best]
            points = torch.where(coefficients > 0, inputs.lower, inputs.upper)
            middle = (inputs.lower + inputs.upper) / 2
            for candidates in (points, middle):
                self._candidates(state, candidates, rows[index], offset[index])
            width = inputs.upper - inputs.lower
            pull = form.coefficients.abs().amax(1)
            side = (pull * width + 1e-6 * width).argmax(-1)
        state.count("nodes", len(boxes))
        for k, (pair, lower, upper, floor) in enumerate(boxes):
            value = max(float(values[k]), floor)
            if value >= state.goal and (value > 0 or state.query.objective is not Objective.FEASIBILITY):
                tree.close(pair, value)
            else:
                tree.push(pair, value, (lower, upper, int(side[k])))

    def _candidates(self, state: SearchState, points: Tensor, rows: Tensor, offset: Tensor) -> None:
        violation = (torch.matmul(rows, evaluate(state.network, points).unsqueeze(-1)).squeeze(-1) + offset).amax(-1)
        worst = int(violation.argmin())
        threshold = state.upper if state.query.objective is Objective.MAX_MARGIN else 0.0
        if float(violation[worst]) < threshold:
            state.offer(points[worst].numpy(), self.name)

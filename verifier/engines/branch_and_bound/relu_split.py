"""Branch and bound over ReLU phases with batched beta-CROWN bounds, one queue for all pairs of a case.

Wang et al., "Beta-CROWN", NeurIPS 2021. For distances every domain carries the radius up to which its own linear
bound stays positive; the tree is searched best-first on that radius, so the lower side rises all the time, and when
a closer witness shrinks the ball every value stays valid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...bounds import Bounds, Interval, crown
from ...bounds.alpha_crown import AlphaCrown, Multipliers, Optimised, optimise
from ...network.evaluate import evaluate_all
from ...network.nodes import Network, Relu
from ...network.simplify import max_to_relu
from ...query import Objective
from ...specification import Case
from ..polish import polish
from ..propagate import stacked_rows, value_of
from ..state import Pair, SearchState
from .leaf import LeafSolver
from .tree import Tree

_REFINE_UNSTABLE = 160  # up to so many unstable ReLUs the intermediate bounds are recomputed in every domain


@dataclass
class Domain:
    """Phases (N,) int8 over all ReLUs in node order, multipliers of the last bound, and the ReLU to split next."""

    phases: Tensor
    alpha: Tensor
    beta: Tensor
    branch: int


class ReluSplit:
    """Complete for every norm but 0 (whose balls are not convex)."""

    name = "relu-split"

    def run(self, state: SearchState, deadline: float) -> None:
        """Case by case."""
        if state.count_norm:
            return
        for case in state.query.specification.cases:
            pairs = [pair for pair in state.open_pairs if pair.case is case]
            if pairs and not state.done and state.elapsed < deadline:
                _Search(state, case, pairs, self.name).run(deadline)


class _Search:
    def __init__(self, state: SearchState, case: Case, pairs: list[Pair], name: str) -> None:
        self.state, self.case, self.name = state, case, name
        self.network: Network = max_to_relu(state.network) if state.network.has_max else state.network
        self.exact_leaves = not state.network.has_max
        self.relus = self.network.relus
        self.sizes = [self.network.nodes[i].size for i in self.relus]
        self.tree: Tree[Domain] = Tree(pairs)
        self.rows, self.offset = stacked_rows(state, pairs)
        self.leaves = LeafSolver(state)
        self.radius = math.nan
        self._refresh()
        self.batch = int(min(1024, max(8, 400_000 // max(sum(self.sizes), 1))))

    def _refresh(self) -> None:
        """Root bounds at the present search region."""
        region = self.state.search_region(self.case.region)
        radius = -1.0 if region.ball is None else region.ball.radius
        if radius == self.radius:
            return
        self.radius = radius
        self.inputs = self.state.inputs([region])
        if self.network is self.state.network:
            self.root = self.state.bounds(region)
        else:
            with torch.no_grad():
                self.root = crown(self.network, self.inputs)
        reading = [self.root[self.network.nodes[i].input] for i in self.relus]  # type: ignore[union-attr]
        self.unstable = torch.cat([interval.unstable[0] for interval in reading])
        self.refine = int(self.unstable.sum()) <= _REFINE_UNSTABLE

    def run(self, deadline: float) -> None:
        """Split until the case is settled or time is out."""
        state = self.state
        total = sum(self.sizes)
        roots = [
            Domain(torch.zeros(total, dtype=torch.int8), torch.zeros(0), torch.zeros(0), -1) for _ in self.tree.pairs
        ]
        self._bound(
            list(enumerate(roots)), [-math.inf if not state.distances else 0.0] * len(roots), AlphaCrown(steps=20)
        )
        self.tree.report(state, self.name)
        batch = 4
        while self.tree.heap and not state.done and state.elapsed < deadline:
            taken = self.tree.pop(batch, state.goal)
            if not taken:
                break
            batch = min(2 * batch, self.batch)
            children: list[tuple[int, Domain]] = []
            floors: list[float] = []
            for value, pair, domain in taken:
                for sign in (1, -1):
                    phases = domain.phases.clone()
                    phases[domain.branch] = sign
                    children.append((pair, Domain(phases, domain.alpha, domain.beta, -1)))
                    floors.append(value)
            state.count("nodes", len(children))
            self._bound(children, floors, AlphaCrown(steps=8, beta_step=0.1))
            self.tree.report(state, self.name)
            self._refresh()
        if not self.tree.heap:
            self.tree.report(state, self.name)

    def _split(self, flat: Tensor) -> dict[int, Tensor]:
        return dict(zip(self.relus, flat.split(self.sizes, -1), strict=True))

    def _clipped(self, phases: dict[int, Tensor], count: int) -> Bounds:
        """Root bounds cut to the phases."""
        intervals = dict(self.root.expand(count).intervals)
        for i, phase in phases.items():
            node = self.network.nodes[i]
            assert isinstance(node, Relu)
            old = intervals[node.input]
            lower = torch.where(phase > 0, old.lower.clamp(min=0), old.lower)
            upper = torch.where(phase < 0, old.upper.clamp(max=0), old.upper)
            intervals[node.input] = Interval(lower, upper)
        return Bounds(intervals)

    def _bound(self, domains: list[tuple[int, Domain]], floors: list[float], options: AlphaCrown) -> None:
        """Bound domains; close, solve or queue each of them."""
        state, count = self.state, len(domains)
        inputs = self.inputs.expand(count)
        phases = torch.stack([domain.phases for _, domain in domains])
        by_node = self._split(phases)
        bounds = self._clipped(by_node, count)
        empty = torch.zeros(count, dtype=torch.bool)
        if self.refine and bool((phases != 0).any()):
            with torch.no_grad():
                bounds = crown(self.network, inputs, bounds)
        pair_index = torch.tensor([pair for pair, _ in domains])
        rows, offset = self.rows[pair_index], self.offset[pair_index]
        start = None
        if domains[0][1].alpha.numel():
            alpha = torch.stack([domain.alpha for _, domain in domains]).to(rows.dtype)
            beta = torch.stack([domain.beta for _, domain in domains]).to(rows.dtype)
            split = [dict(zip(self.relus, t.split(self.sizes, -1), strict=True)) for t in (alpha, beta)]
            start = Multipliers(split[0], split[1])
        enough = 0.0 if state.query.objective is not Objective.MAX_MARGIN else state.goal
        best = optimise(self.network, inputs, rows, offset, bounds, by_node, start, options, enough)
        values = value_of(state, best.bound, best.form, inputs)
        self._branch_and_queue(domains, floors, bounds, best, values, empty)

    def _branch_and_queue(
        self,
        domains: list[tuple[int, Domain]],
        floors: list[float],
        bounds: Bounds,
        best: Optimised,
        values: Tensor,
        empty: Tensor,
    ) -> None:
        state, count = self.state, len(domains)
        chosen = best.bound.argmax(-1)
        pick = torch.arange(count)
        coefficients = best.form.coefficients[pick, chosen].unsqueeze(1)
        points = self.inputs.expand(count).minimizer(coefficients).squeeze(1)
        with torch.no_grad():
            evaluated = evaluate_all(self.network, points)
        self._candidates(domains, points, evaluated[-1])
        scores = self._scores(bounds, best, chosen, evaluated)
        branch = scores.argmax(-1)
        settled = scores.amax(-1) < 0
        size = best.form.coefficients.shape[1]
        alpha = self._flat(best.multipliers.alpha, count, size)
        beta = self._flat(best.multipliers.beta, count, size)
        goal = state.goal
        for k, (pair, domain) in enumerate(domains):
            value = max(float(values[k]), floors[k])
            if value >= goal and (value > 0 or state.query.objective is not Objective.FEASIBILITY):
                self.tree.close(pair, value)
            elif bool(settled[k]):
                self._leaf(pair, domain, bounds, k, value)
            else:
                fresh = Domain(domain.phases, alpha[k].clone(), beta[k].clone(), int(branch[k]))
                self.tree.push(pair, value, fresh)

    def _flat(self, by_node: dict[int, Tensor], count: int, rows: int) -> Tensor:
        """Multipliers of all ReLUs side by side, (count, rows, N)."""
        parts = []
        for i, size in zip(self.relus, self.sizes, strict=True):
            parts.append(by_node[i] if i in by_node else torch.zeros(count, rows, size, dtype=self.network.dtype))
        return torch.cat(parts, -1)

    def _candidates(self, domains: list[tuple[int, Domain]], points: Tensor, outputs: Tensor) -> None:
        """Offer the minimisers that turn out to be unsafe; for distances, polish them."""
        state = self.state
        pair_index = torch.tensor([pair for pair, _ in domains])
        violation = torch.matmul(self.rows[pair_index], outputs.unsqueeze(-1)).squeeze(-1) + self.offset[pair_index]
        worst = violation.amax(-1)
        best = int(worst.argmin())
        threshold = 0.0 if state.query.objective is not Objective.MAX_MARGIN else state.upper
        if float(worst[best]) < threshold and state.offer(points[best].numpy(), self.name) and state.distances:
            polish(state, points[best].numpy(), self.tree.pairs[domains[best][0]])

    def _scores(self, bounds: Bounds, best: Optimised, chosen: Tensor, evaluated: list[Tensor]) -> Tensor:
        """How much of the relaxation's slack at the minimiser each unstable ReLU accounts for; -1 if not splittable.

        The bound at its own minimiser falls short of the network's value there by the sum of these slacks; a small
        share of the triangle's area breaks ties where the slack is zero.
        """
        parts = []
        pick = torch.arange(len(chosen))
        for i in self.relus:
            node = self.network.nodes[i]
            assert isinstance(node, Relu)
            interval, value = bounds[node.input], evaluated[node.input]
            weight = best.form.at_output[i][pick, chosen] if i in best.form.at_output else torch.zeros_like(value)
            lower, upper = interval.lower.clamp(max=0), interval.upper.clamp(min=0)
            slope = upper / (upper - lower).clamp(min=1e-300)
            exact = value.clamp(min=0)
            alpha = best.multipliers.alpha[i][pick, chosen] if i in best.multipliers.alpha else torch.zeros_like(value)
            above = (slope * (value - lower) - exact).clamp(min=0)
            below = (exact - alpha * value).clamp(min=0)
            slack = torch.where(weight < 0, -weight * above, weight * below)
            area = weight.abs() * (-lower * slope)
            parts.append(torch.where(interval.unstable, slack + 0.05 * area, torch.full_like(slack, -1.0)))
        return torch.cat(parts, -1)

    def _leaf(self, pair: int, domain: Domain, bounds: Bounds, row: int, value: float) -> None:
        """All phases known: solve exactly. A leaf that cannot be solved leaves its pair open for other engines."""
        state = self.state
        if not self.exact_leaves:
            self.tree.close(pair, value)
            return
        phases: dict[int, np.ndarray] = {}
        for i, split in self._split(domain.phases).items():
            node = self.network.nodes[i]
            assert isinstance(node, Relu)
            interval = bounds[node.input]
            implied = torch.where(interval.lower[row] >= 0, 1, -1).to(torch.int8)
            phases[i] = torch.where(split != 0, split, implied).numpy()
        proved, point = self.leaves.solve(self.tree.pairs[pair], phases)
        if point is not None and state.offer(point, self.name) and state.distances:
            polish(state, point, self.tree.pairs[pair])
        self.tree.close(pair, max(proved, value))

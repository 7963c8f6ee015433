"""Branch and bound over ReLU phases with batched beta-CROWN bounds, one queue for all pairs of a case.

Wang et al., "Beta-CROWN", NeurIPS 2021. For distances every domain carries the radius up to which its own linear
bound stays positive; the tree is searched best-first on that radius, so the lower side rises all the time, and when
a closer witness shrinks the ball every value stays valid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...bounds import Bounds, crown
from ...bounds.alpha_crown import AlphaCrown, Multipliers, Optimised, raise_bounds
from ...bounds.backward import Start
from ...bounds.branching import babsr, slack
from ...bounds.relu_columns import ReluColumns
from ...bounds.rounding import RoundingLoss
from ...network.evaluate import evaluate_all
from ...network.nodes import Relu
from ...network.simplify import max_to_relu
from ...query import Objective
from ...specification import Case
from ..polish import polish
from ..propagate import value_of
from ..region_bounds import RegionBounds
from ..state import Pair, SearchState
from .leaf import LeafSolver
from .tree import Tree

_PASSES = (0, 1, 4, 16, 64, 256)  # seconds of splitting for single neurons, before each search
_TIGHTENING_SHARE = 0.7  # of the time that is left
_SHORT_SEARCH, _LONG_SEARCH = 0.3, 0.5  # of the time spent on tightening; long where few ReLUs are unstable
_SHORTEST_SEARCH = 1.0  # seconds
_WORTHWHILE = 0.95  # a pass that leaves more than this share of the unstable ReLUs is the last one
_WHOLE_SHARE, _STEP_SHARE = 0.5, 0.25  # of the time left, for distances: the whole ball first, then a smaller one
_NARROW = 0.02  # relative width at which bisecting what is provable ends
_WIDTHS = ((32, 16), (256, 8), (2048, 4))  # up to so many splits, so many ReLUs are tried out
_REFINE_UNSTABLE = 160  # up to so many unstable ReLUs the intermediate bounds are recomputed in every domain


@dataclass
class Domain:
    """Phases (N,) int8 over all ReLUs in node order, multipliers of the last bound, and the ReLUs to split next.

    `value` is what is proved on the domain in the units of the query, `bound` the lower bound on its violation.
    """

    phases: Tensor
    alpha: Tensor
    beta: Tensor
    branches: list[int]
    value: float
    bound: float
    leaf: bool = False


class ReluSplit:
    """Complete for every norm but 0 (whose balls are not convex)."""

    name = "relu-split"

    def run(self, state: SearchState, deadline: float) -> None:
        """Case by case."""
        if state.count_norm:
            return
        known = state.region_bounds
        if state.network.has_max:
            known = RegionBounds(max_to_relu(state.network))
        for case in state.query.specification.cases:
            if state.distances and np.isfinite(state.goal):
                self._settle(state, case, known, state.elapsed + _WHOLE_SHARE * (deadline - state.elapsed))
                self._approach(state, case, known, deadline)
            self._settle(state, case, known, deadline)

    def _approach(self, state: SearchState, case: Case, known: RegionBounds, deadline: float) -> None:
        """Raise the lower side over smaller balls where the whole one is too hard: bisect what may be provable."""
        ceiling = state.goal
        try:
            while not state.done and state.elapsed < deadline:
                low, ceiling = state.lower, min(ceiling, state.goal)
                if ceiling - low <= _NARROW * ceiling:
                    return
                state.focus = (low + ceiling) / 2
                self._settle(state, case, known, state.elapsed + _STEP_SHARE * (deadline - state.elapsed))
                if not state.done:
                    ceiling = state.focus
                state.focus = math.inf
        finally:
            state.focus = math.inf

    def _settle(self, state: SearchState, case: Case, known: RegionBounds, deadline: float) -> None:
        """Tighten and search in turn: each pass tightens harder, and its search is short beside it, save the last."""
        budget = _TIGHTENING_SHARE * max(deadline - state.elapsed, 0.0)
        spent = 0.0
        for seconds in _PASSES:
            pairs = [pair for pair in state.open_pairs if pair.case is case]
            if not pairs or state.done or state.elapsed > deadline:
                return
            began, region = state.elapsed, state.search_region(case.region)
            before = known.of(region).unstable_count(known.network)
            if not state.settings.tightening:
                _Search(state, case, pairs, self.name, known).run(deadline)
                return
            left = budget - spent
            known.tighten(region, min(seconds, left), _clock(state, began + left))
            spent += state.elapsed - began
            stalled = seconds > 0 and known.of(region).unstable_count(known.network) > _WORTHWHILE * before
            last = seconds == _PASSES[-1] or spent >= 0.95 * budget or stalled
            search = _Search(state, case, pairs, self.name, known)
            share = _LONG_SEARCH if search.refine else _SHORT_SEARCH
            search.run(deadline if last else min(deadline, state.elapsed + max(_SHORTEST_SEARCH, share * spent)))
            if last:
                return


def _clock(state: SearchState, limit: float) -> Callable[[], bool]:
    """Whether a time has come."""
    return lambda: state.elapsed > limit


class _Search:
    """The tree of one case."""

    def __init__(self, state: SearchState, case: Case, pairs: list[Pair], name: str, known: RegionBounds) -> None:
        self.state, self.case, self.name, self.known = state, case, name, known
        self.network = known.network
        self.columns = ReluColumns(self.network)
        self.tree: Tree[Domain] = Tree(pairs)
        self.rows, self.offset = state.rows(pairs)
        self.leaves = LeafSolver(state)
        self.radius = math.nan
        self._refresh()
        self.batch = int(min(1024, max(8, 400_000 // max(self.columns.count, 1))))

    def _refresh(self) -> None:
        """Root bounds at the present search region."""
        region = self.state.search_region(self.case.region)
        radius = -1.0 if region.ball is None else region.ball.radius
        if radius == self.radius:
            return
        self.radius = radius
        self.inputs = self.state.inputs([region])
        self.root = self.known.of(region)
        self.losses = self.known.losses(region)
        self.fast_losses = RoundingLoss.of(self.known.fast, self.inputs, self.root).loss
        self.refine = self.root.unstable_count(self.network) <= _REFINE_UNSTABLE

    def run(self, deadline: float) -> None:
        """Split until the case is settled or time is out."""
        state = self.state
        lowest = 0.0 if state.distances else -math.inf
        empty = torch.zeros(0)
        whole = Domain(torch.zeros(self.columns.count, dtype=torch.int8), empty, empty, [], lowest, -math.inf)
        pairs = list(range(len(self.tree.pairs)))
        for pair, root in zip(pairs, self._bound(pairs, [whole] * len(pairs), AlphaCrown(steps=20)), strict=True):
            self._queue(pair, root)
        self.tree.report(state, self.name)
        batch, splits = 8, 0
        while self.tree.heap and not state.done and state.elapsed < deadline:
            width = next((width for until, width in _WIDTHS if splits < until), 1)
            taken = self.tree.pop(max(1, batch // (2 * width)), state.goal)
            if not taken:
                break
            batch, splits = min(2 * batch, self.batch), splits + len(taken)
            self._split(taken, width)
            self.tree.report(state, self.name)
            self._refresh()
        if not self.tree.heap:
            self.tree.report(state, self.name)

    def _split(self, taken: list[tuple[float, int, Domain]], width: int) -> None:
        """Bound the children of each domain for its `width` best ReLUs, and queue those of the best one."""
        children: list[Domain] = []
        pairs: list[int] = []
        for _, pair, domain in taken:
            for branch in domain.branches[:width]:
                for sign in (1, -1):
                    phases = domain.phases.clone()
                    phases[branch] = sign
                    children.append(replace(domain, phases=phases))
                    pairs.append(pair)
        self.state.count("nodes", len(children))
        fresh = self._bound(pairs, children, AlphaCrown(steps=self.state.settings.beta_steps))
        begin = 0
        for _, pair, domain in taken:
            options = [fresh[k : k + 2] for k in range(begin, begin + 2 * len(domain.branches[:width]), 2)]
            begin += 2 * len(options)
            for child in max(options, key=lambda two: self._gain(domain, two)):
                self._queue(pair, child)

    def _gain(self, parent: Domain, children: list[Domain]) -> float:
        """Product of what the bounds of both children gain, up to where a domain is settled."""
        enough = self.state.goal if self.state.query.objective is Objective.MAX_MARGIN else 0.0
        gains = [max(min(child.bound, enough) - parent.bound, 1e-9) for child in children]
        return gains[0] * gains[1]

    def _queue(self, pair: int, domain: Domain) -> None:
        """Close, solve or queue a domain."""
        goal, value = self.state.goal, domain.value
        if value >= goal and (value > 0 or self.state.query.objective is not Objective.FEASIBILITY):
            self.tree.close(pair, value)
        elif domain.leaf:
            self._leaf(pair, domain)
        else:
            self.tree.push(pair, value, domain)

    def _bound(self, pairs: list[int], domains: list[Domain], options: AlphaCrown) -> list[Domain]:
        """The same domains with bounds, multipliers and the ReLUs to split next."""
        phases, which = torch.stack([domain.phases for domain in domains]), torch.tensor(pairs)
        known = None
        if domains[0].alpha.numel():
            alpha = torch.stack([domain.alpha for domain in domains])
            beta = torch.stack([domain.beta for domain in domains])
            known = Multipliers(self.columns.by_node(alpha), self.columns.by_node(beta))
        bounds, best = self._optimise(phases, which, known, options)
        values = value_of(self.state, best.bound, best.form, self.inputs.expand(len(domains))).tolist()
        lower, chosen = best.bound.max(-1)
        points = best.point[torch.arange(len(domains)), chosen]
        with torch.no_grad():
            evaluated = evaluate_all(self.known.fast, points.to(self.known.fast.dtype))
        self._candidates(which, points, evaluated[-1])
        scores = self._scores(bounds, best, chosen, evaluated)
        highest, order = scores.topk(min(_WIDTHS[0][1], scores.shape[-1]), -1)
        numbers, branches, violations = (highest >= 0).sum(-1).tolist(), order.tolist(), lower.tolist()
        lead = (len(domains), best.form.coefficients.shape[1])
        alpha, beta = self.columns.flat(best.multipliers.alpha, lead), self.columns.flat(best.multipliers.beta, lead)
        fresh = []
        for k, domain in enumerate(domains):
            own = domain.phases
            if numbers[k] == 0:
                own = self._implied(own, bounds, k)
            fresh.append(
                Domain(
                    own,
                    alpha[k].clone(),
                    beta[k].clone(),
                    branches[k][: numbers[k]],
                    max(values[k], domain.value),
                    violations[k],
                    numbers[k] == 0,
                )
            )
        return fresh

    def _optimise(
        self, phases: Tensor, pairs: Tensor, known: Multipliers | None, options: AlphaCrown
    ) -> tuple[Bounds, Optimised]:
        """Bounds of domains (count, N) of pairs (count,)."""
        state, count = self.state, len(phases)
        inputs = self.inputs.expand(count)
        by_node = self.columns.by_node(phases)
        bounds = self.root.expand(count).clipped(self.network, by_node)
        if self.refine and bool((phases != 0).any()):
            with torch.no_grad():
                bounds = crown(self.known.fast, inputs, bounds, self.fast_losses)
        enough = 0.0 if state.query.objective is not Objective.MAX_MARGIN else state.goal
        return bounds, raise_bounds(
            self.known.working,
            inputs,
            Start.output(self.known.working, self.rows[pairs], self.offset[pairs]),
            bounds,
            by_node,
            known,
            options,
            enough,
            self.known.fast,
            self.losses,
        )

    def _candidates(self, pairs: Tensor, points: Tensor, outputs: Tensor) -> None:
        """Offer the minimiser that is most unsafe, if one is; for distances, polish it."""
        state = self.state
        outputs = outputs.to(self.rows.dtype)
        violation = torch.matmul(self.rows[pairs], outputs.unsqueeze(-1)).squeeze(-1) + self.offset[pairs]
        worst = violation.amax(-1)
        best = int(worst.argmin())
        threshold = 0.0 if state.query.objective is not Objective.MAX_MARGIN else state.upper
        if float(worst[best]) < threshold and state.offer(points[best].numpy(), self.name) and state.distances:
            polish(state, points[best].numpy(), self.tree.pairs[int(pairs[best])])

    def _scores(self, bounds: Bounds, best: Optimised, chosen: Tensor, evaluated: list[Tensor]) -> Tensor:
        pick = torch.arange(len(chosen))
        weights = {i: weight[pick, chosen] for i, weight in best.form.at_output.items()}
        if self.state.settings.branching == "babsr":
            return babsr(self.known.working, bounds, weights)
        alpha = {i: slopes[pick, chosen] for i, slopes in best.multipliers.alpha.items()}
        return slack(self.known.working, bounds, weights, alpha, evaluated)

    def _implied(self, phases: Tensor, bounds: Bounds, row: int) -> Tensor:
        """Phases with those filled in that the bounds of one domain imply; all of them where nothing is open."""
        signs = {i: torch.where(bounds[self._read(i)].lower[row : row + 1] >= 0, 1, -1) for i in self.columns.relus}
        implied = torch.cat(list(signs.values()), -1)[0].to(torch.int8)
        return torch.where(phases != 0, phases, implied)

    def _read(self, relu: int) -> int:
        node = self.network.nodes[relu]
        assert isinstance(node, Relu)
        return node.input

    def _leaf(self, pair: int, domain: Domain) -> None:
        """All phases known: solve exactly. A leaf that cannot be solved leaves its pair open for other engines."""
        state = self.state
        if state.network.has_max:
            self.tree.close(pair, domain.value)
            return
        phases = {i: split.numpy() for i, split in self.columns.by_node(domain.phases).items()}
        proved, point = self.leaves.solve(self.tree.pairs[pair], phases)
        if point is not None and state.offer(point, self.name) and state.distances:
            polish(state, point, self.tree.pairs[pair])
        self.tree.close(pair, max(proved, domain.value))

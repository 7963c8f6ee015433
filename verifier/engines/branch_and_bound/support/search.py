"""Branch and bound over supports, for norm 0: which pixels change.

No convex search is complete on an l0 ball, a union of boxes: one for each set of pixels that may change. A domain knows
some pixels that change and some that do not. Its linear bound on the violation falls by the ranges of those that change,
and by the largest ranges of as many others as the radius leaves. With the others in order of their ranges, the domain's
parts are "the first one changes", "not that, but the second", and so on, until the bound itself excludes that any of the
rest matters. Where all changes are spent a domain is a box of few inputs, settled by one more bound or by a tree over
ReLU phases. For distances one more change is allowed each time that a tree has come to its end: the tree for r changes
costs a small part of the one for r + 1, and its bounds are taken over the smaller ball.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ....bounds import Bounds, InputSet, crown
from ....bounds.alpha_crown import AlphaCrown, raise_bounds
from ....bounds.backward import Start
from ....bounds.rounding import RoundingLoss
from ....network.compose import max_to_relu
from ....network.evaluate import evaluate
from ....norms.l0 import L0, ChosenL0
from ....query import Objective, Query
from ....specification import Disjunct, Region, Specification
from ...region_bounds import RegionBatch, RegionBounds
from ...state import SearchState, Subproblem
from ..relu.search import ReluSearch
from ..relu.tree import Root
from .domain import Family, Queue, SupportDomain, bounds_by_first, heavier_half

_FIRST_BATCH, _MOST_BATCH = 16, 2048  # domains
_BATCH_ENTRIES = 1_200_000  # domains times neurons
_SEEN_ENTRIES = 1 << 24  # boxes whose bounds are kept, times neurons: 256 MiB
_BOXES = 64  # in one tree over ReLU phases
_OFFERED = 8  # points of a batch that are judged
_STEPS = AlphaCrown(steps=4)


class SupportSearch:
    """The tree of one ball: no input of it is unsafe for a subproblem once none of the subproblem's domains is open."""

    def __init__(self, state: SearchState, region: Region, subproblems: Sequence[Subproblem], name: str) -> None:
        assert region.ball is not None and isinstance(region.ball.norm, L0)
        self.state, self.subproblems, self.name = state, subproblems, name
        self.known, self.network = state.region_bounds, state.region_bounds.network
        self.relus = max_to_relu(self.network) if self.network.has_max else self.network  # for boxes
        self.norm, self.center = region.ball.norm, torch.from_numpy(region.ball.center)
        self.lower, self.upper = torch.from_numpy(region.lower), torch.from_numpy(region.upper)
        pixels = region.size // self.norm.channels
        self.radius = int(min(region.ball.radius + 1e-9, pixels))
        self.whole = self.radius == pixels  # no input lies outside of the ball
        self.stack = RegionBatch.of([(self.known, region)], exact=True)
        self.float32_losses = RoundingLoss.of(self.known.float32_network, self.stack.inputs, self.stack.bounds)
        self.rows, self.offset = state.rows(subproblems)
        self.least = [math.inf] * len(subproblems)  # lowest bound of what was settled
        self.queue = Queue()
        self.boxes: list[SupportDomain] = []  # for a tree over ReLU phases
        for subproblem in range(len(subproblems)):
            self.queue.push(Family(SupportDomain(subproblem, np.zeros(pixels, dtype=np.int8)), np.array([-math.inf])))
        neurons = sum(node.size for node in self.network.nodes)
        self.seen: dict[bytes, Bounds] = {}
        self.most_seen = _SEEN_ENTRIES // neurons
        self.most = int(min(_MOST_BATCH, max(_FIRST_BATCH, _BATCH_ENTRIES // neurons)))

    def run(self, deadline: float) -> bool:
        """Until the tree has come to its end, which is what is returned, or the state is done or time is out."""
        batch = _FIRST_BATCH
        while self.queue.heap or self.boxes:
            if self.state.done or self.state.elapsed >= deadline:
                return False
            if len(self.boxes) >= _BOXES or not self.queue.heap:
                self._by_phases(deadline)
            else:
                domains = self.queue.pop(batch)
                full = [domain.chosen == self.radius for domain in domains]
                for kind in (False, True):  # boxes by themselves: bounds of boxes are tighter
                    part = [domain for domain, is_full in zip(domains, full, strict=True) if is_full is kind]
                    if part:
                        self._bound(part, kind)
                batch = min(2 * batch, self.most)
            self._report()
        return not self.queue.left

    def _report(self) -> None:
        for index, subproblem in enumerate(self.subproblems):
            if self.queue.open[index] == 0 and index not in self.queue.left:
                value = self.least[index]
                if self.state.is_min_distortion:
                    value = min(math.inf if self.whole else self.radius + 1, self.state.goal)
                self.state.raise_lower_bound(subproblem, value, self.name)

    def _close(self, domain: SupportDomain, bound: float) -> None:
        """The domain, or all of it that is not queued, has no input of a lower violation."""
        self.least[domain.subproblem] = min(self.least[domain.subproblem], bound)

    def _inputs(self, domains: Sequence[SupportDomain], full: bool) -> tuple[InputSet, Tensor]:
        """The domains as regions, and their status (count, pixels); of full ones no pixel may change but the chosen."""
        status = torch.from_numpy(np.stack([domain.status for domain in domains]))
        chosen = status > 0
        free = self.norm.spread(chosen if full else status >= 0)
        lower, upper = torch.where(free, self.lower, self.center), torch.where(free, self.upper, self.center)
        if full:
            return InputSet(lower, upper), status
        center = self.center.expand(len(domains), -1)
        radius = torch.full((len(domains),), float(self.radius), dtype=torch.float64)
        return InputSet(lower, upper, ChosenL0(chosen, self.norm.channels), center, radius), status

    def _bound(self, domains: list[SupportDomain], full: bool) -> None:
        """Bound domains, and queue the parts of those that stay open."""
        self.state.count("nodes", len(domains))
        inputs, status = self._inputs(domains, full)
        subproblems = torch.tensor([domain.subproblem for domain in domains])
        with torch.no_grad():
            bounds = self._box_bounds(domains, inputs) if full and len(self.subproblems) > 1 else self._crown(inputs)
            best = raise_bounds(
                self.network,
                inputs,
                Start.output(self.network, self.rows[subproblems], self.offset[subproblems]),
                bounds,
                options=_STEPS,
                float32_network=self.known.float32_network,
                losses=self.stack.losses,
            )
            lower, row = best.bound.max(-1)
            open_ = lower <= 0
            for domain, bound in zip(domains, lower.tolist(), strict=True):
                if bound > 0:
                    self._close(domain, bound)
                    self.queue.close(domain)
            if not bool(open_.any()):
                return
            index = torch.nonzero(open_).squeeze(-1)
            row, left = row[index], [domains[k] for k in index.tolist()]
            self._offer(subproblems[index], best.point[index, row])
            if full:
                self.boxes += left
                return
            form = best.form.coefficients[index, row].double(), best.form.offset[index, row].double()
            self._split(left, inputs.rows(index), status[index], form, lower[index].tolist())

    def _crown(self, inputs: InputSet) -> Bounds:
        return crown(self.known.float32_network, inputs, self.stack.bounds.expand(len(inputs)), self.float32_losses)

    def _box_bounds(self, domains: Sequence[SupportDomain], inputs: InputSet) -> Bounds:
        """Bounds on boxes, those of a support computed once for all subproblems."""
        keys = [(domain.status > 0).tobytes() for domain in domains]
        fresh = {key: k for k, key in enumerate(keys) if key not in self.seen}
        if fresh:
            found = self._crown(inputs.rows(torch.tensor(list(fresh.values()))))
            for k, key in enumerate(fresh):
                self.seen[key] = found.rows(torch.tensor([k]))
        result = Bounds.stack([self.seen[key] for key in keys])
        if len(self.seen) > self.most_seen:
            self.seen.clear()
        return result

    def _offer(self, subproblems: Tensor, points: Tensor) -> None:
        """The most unsafe of the points where bounds are attained."""
        outputs = evaluate(self.known.float32_network, points.to(self.known.float32_network.dtype)).to(self.rows.dtype)
        violation = (
            torch.matmul(self.rows[subproblems], outputs.unsqueeze(-1)).squeeze(-1) + self.offset[subproblems]
        ).amax(-1)
        worst = violation.argsort()[:_OFFERED]
        worst = worst[violation[worst] <= 0]
        if len(worst):
            self.state.add_counterexample(points[worst].numpy(), self.name, self.subproblems[0].disjunct)

    def _split(
        self,
        domains: Sequence[SupportDomain],
        inputs: InputSet,
        status: Tensor,
        form: tuple[Tensor, Tensor],
        bounds: Sequence[float],
    ) -> None:
        """Queue the parts of domains; `form` is a linear bound a (count, n) x + c (count,) on their violation.

        Parts go by the first pixel that changes, of those that matter; where the bound is not even positive at the center,
        of the half of the pixels that lowers it most, and the part where none of these changes is bounded anew.
        """
        value, falls = inputs.falls(*form)
        ranges = self.norm.pixels(falls)
        alone = (value - (ranges * (status > 0)).sum(-1)).tolist()  # what is proved where no open pixel changes
        ranges, order = torch.where(status == 0, ranges, -1.0).sort(-1, descending=True)
        for k, domain in enumerate(domains):
            count = int((domain.status == 0).sum())
            if count == 0:
                self.boxes.append(domain)
                continue
            gains, pixels = ranges[k, :count].numpy(), order[k, :count].numpy()
            if alone[k] > 0:  # the rest of the parts, from some pixel on, is proved already
                parts = bounds_by_first(alone[k], gains, self.radius - domain.chosen)
                first = int((parts <= 0).sum())
                self._close(domain, float(parts[first]))
                parts = parts[:first]
            else:
                first = heavier_half(gains)
                parts = np.full(first, bounds[k])
                self.queue.push(Family(domain.without(pixels[:first]), np.array([bounds[k]])))
            if first:
                self.queue.push(Family(domain, parts, pixels[:first]))
            self.queue.close(domain)

    def _by_phases(self, deadline: float) -> None:
        """Some of the boxes, batched in one tree over ReLU phases."""
        domains, self.boxes = self.boxes[:_BOXES], self.boxes[_BOXES:]
        self.state.count("boxes", len(domains))
        if not self.relus.relus:  # nothing to split: where one row's bound does not do, an LP must
            for domain in domains:
                self.queue.close(domain)
                self.queue.left.add(domain.subproblem)
            return
        settings = replace(self.state.settings, timeout=max(deadline - self.state.elapsed, 0.01), threads=1)
        inputs, _ = self._inputs(domains, full=True)
        roots = []
        for domain, lower, upper in zip(domains, inputs.lower.numpy(), inputs.upper.numpy(), strict=True):
            disjunct = Disjunct(Region(lower, upper), (self.subproblems[domain.subproblem].polytope,))
            query = Query(self.relus, Specification((disjunct,)), Objective.FEASIBILITY)
            part = SearchState.open(query, settings, self.state.executor)
            roots.append(Root(part, part.subproblems[0], RegionBounds(self.relus)))
        ReluSearch(roots, self.name).run(settings.timeout)
        for domain, root in zip(domains, roots, strict=True):
            self.queue.close(domain)
            if root.subproblem.lower > 0:
                self._close(domain, root.subproblem.lower)
            else:
                self.queue.left.add(domain.subproblem)
                if root.state.witness is not None:
                    self.state.add_counterexample(
                        root.state.witness, self.name, self.subproblems[domain.subproblem].disjunct
                    )

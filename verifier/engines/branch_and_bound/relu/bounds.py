"""Batched beta-CROWN bounds of domains of the ReLU tree: what is proved on each, and where to split it next.

Wang et al., "Beta-CROWN", NeurIPS 2021. What is unsafe in a domain lies where the domain's last linear bound is not
positive, so its next bounds are taken over that half-space alone (`bounds.halfspace`). Bounding moves no bracket: what it
returns may as well come from another process.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ....attacks import AttackProblem
from ....attacks.pgd import Pgd
from ....bounds import Bounds, InputSet, crown
from ....bounds.alpha_crown import AlphaCrown, Multipliers, Optimised, raise_bounds
from ....bounds.backward import Start
from ....bounds.branching import babsr, slack
from ....bounds.halfspace import HalfSpaces
from ....bounds.relu_columns import ReluColumns
from ....bounds.rounding import RoundingLoss
from ....network.evaluate import evaluate_all
from ....network.nodes import Network, Relu
from ....query import Objective
from ...propagate import value_of
from ...region_bounds import RegionBatch
from ...state import ABOVE_ZERO
from .domain import Batch, BatchBounds, BoundRequest, Candidate, Domain
from .tree import Root

_DESCENTS, _DESCENT = 8, Pgd(steps=10, first_step=0.1)  # points of each batch of domains from which attacks start
_REFINE_UNSTABLE = 160  # up to so many unstable ReLUs the intermediate bounds are recomputed in every domain
_HALF_SHARE = 0.5  # half-spaces that hold more of their linear bound's range are left out


def refines(bounds: Bounds, network: Network) -> bool:
    """Whether intermediate bounds are recomputed in every domain of regions with such bounds."""
    return int(bounds.unstable_counts(network).max()) <= _REFINE_UNSTABLE


class DomainBounds:
    """Bounds of the domains of a tree over the subproblems of one disjunct, or of several queries about one network.

    Attributes:
        state: of all subproblems; of several queries the first, which stands for all of them in what is asked.
        refine: whether intermediate bounds are recomputed in every domain.
        threshold: bound on the violation at which a domain of a feasibility query counts as verified; above 0 it leaves room
            for a checker's own arithmetic.
        whole: bound whole domains, without half-spaces, so that phases and multipliers alone are a proof.
        branches: how many ReLUs to split next are named for each domain.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        threshold: float = 0.0,
        whole: bool = False,
        branches: int = 1,
    ) -> None:
        """Root bounds at the present search regions."""
        self.state, self.known = roots[0].state, roots[0].known
        places: dict[int, int] = {}
        self._disjuncts: list[Root] = []  # one of its subproblems for each
        for root in roots:
            if places.setdefault(id(root.subproblem.disjunct), len(self._disjuncts)) == len(self._disjuncts):
                self._disjuncts.append(root)
        self._places = torch.tensor([places[id(root.subproblem.disjunct)] for root in roots])
        self.threshold, self.whole, self.branches = threshold, whole, branches
        self.network = self.known.network
        self.columns = ReluColumns(self.network)
        reads = [torch.full((n,), self._read(i)) for i, n in zip(self.columns.relus, self.columns.sizes, strict=True)]
        self._reads = torch.cat(reads)
        self.rows, self.offset = self.state.rows([root.subproblem for root in roots])
        self.radii: list[float] = []
        self.balls = True
        self.refresh()

    def refresh(self) -> None:
        """Follow the search regions, which shrink for distances."""
        searches = [(root.known, root.state.search_region(root.subproblem.region)) for root in self._disjuncts]
        radii = [-1.0 if region.ball is None else region.ball.radius for _, region in searches]
        if radii == self.radii:
            return
        self.radii, self.stack = radii, RegionBatch.of(searches, exact=True)
        if not self.balls:
            self.stack = replace(self.stack, inputs=replace(self.stack.inputs, balls=None))
        self.float32_losses = RoundingLoss.of(self.known.float32_network, self.stack.inputs, self.stack.bounds)
        self.refine = refines(self.stack.bounds, self.network)

    def use_balls(self, use: bool) -> None:
        """Bound with or without l2 balls of nodes from now on."""
        self.balls, self.radii = use, []
        self.refresh()

    @property
    def target(self) -> float:
        """The bound on the violation at which a domain is verified."""
        return self.state.goal if self.state.query.objective is Objective.MAX_MARGIN else self.threshold

    @property
    def branching(self) -> str:
        """The score in use."""
        chosen = self.state.settings.relu_split.branching
        return chosen if chosen != "auto" else "babsr" if self.refine else "slack"

    def is_verified(self, domain: Domain) -> bool:
        """Whether a domain needs no more work."""
        feasibility = self.state.query.objective is Objective.FEASIBILITY
        return domain.value > self.threshold if feasibility else domain.value >= self.state.goal

    def undivided(self) -> Domain:
        """The whole region, nothing proved."""
        lowest = 0.0 if self.state.is_min_distortion else -math.inf
        open_ = np.zeros(self.columns.count, dtype=np.int8)
        return Domain(open_, open_, lowest, -math.inf)

    def bound_batches(self, request: BoundRequest) -> list[BatchBounds]:
        """`bound` for each batch of a request, in this process or in a copy of it."""
        self.state.upper, self.state.search_radius = request.upper, request.search_radius
        self.refresh()
        return [self.bound(batch, request.options, request.coarse) for batch in request.batches]

    def bound(self, batch: Batch, options: AlphaCrown, coarse: bool = False) -> BatchBounds:
        """Bounds, multipliers and the ReLUs to split next; `coarse` as in `BoundRequest`."""
        regions = self.stack.rows(self._places[batch.subproblems])
        inputs = regions.inputs.within(batch.halfspace)
        bounds, best = self._optimise(batch, options, replace(regions, inputs=inputs), coarse)
        value = value_of(self.state, best.bound, best.form, inputs)
        # Beyond half-spaces, its own or those that phases were implied in, violations are known to exceed a level alone.
        if self.state.query.objective is Objective.MAX_MARGIN:
            value = value.clamp(max=self.state.upper)
        elif self.state.query.objective is Objective.FEASIBILITY and not self.whole:
            cut = (batch.implied != batch.phases).any(-1) | (batch.halfspace is not None)
            value = torch.where(cut, value.clamp(max=ABOVE_ZERO), value)
        lower, chosen = best.bound.max(-1)
        points = best.point[torch.arange(len(batch)), chosen]
        with torch.no_grad():
            evaluated = evaluate_all(self.known.float32_network, points.to(self.known.float32_network.dtype))
        highest, branches = self._highest(self._scores(bounds, best, chosen, evaluated))
        lead = (len(batch), best.form.coefficients.shape[1])
        halfspace, use_halfspace = self._halfspaces(best, chosen, inputs)
        return BatchBounds(
            self._implied(batch.phases, bounds),
            value,
            lower,
            self.columns.flat(best.multipliers.alpha, lead),
            self.columns.flat(best.multipliers.beta, lead),
            branches,
            (highest >= 0).sum(-1),
            chosen,
            halfspace,
            use_halfspace,
            self._candidate(batch.subproblems, points, evaluated[-1]),
        )

    def _halfspaces(self, best: Optimised, chosen: Tensor, inputs: InputSet) -> tuple[HalfSpaces | None, Tensor]:
        """The half-spaces in which an unsafe input of each domain must lie, and (count,) which of them are worth their cost.

        An unsafe input lies where the domain's last linear bound does not exceed a level: the violation at which a domain is
        verified, or, for margins, the lowest violation that was found. A half-space is worth its cost where it holds no
        more than `_HALF_SHARE` of the bound's range over the region.

        Args:
            best: the last bounds, with their linear forms.
            chosen: (count,) row of each domain's polytope that attains its bound.
            inputs: the domains' regions.
        """
        level = self.state.upper if self.state.query.objective is Objective.MAX_MARGIN else self.threshold
        if self.whole or not self.refine or not math.isfinite(level):
            return None, torch.zeros(len(chosen), dtype=torch.bool)
        pick = torch.arange(len(chosen))
        offset = best.form.offset[pick, chosen].double()
        offset = offset - level - (offset.abs() + abs(level)) * 2.0**-52  # the difference rounds: no point may be lost
        halfspaces = HalfSpaces(best.form.coefficients[pick, chosen].double(), offset)
        return halfspaces, inputs.fraction_in(halfspaces) <= _HALF_SHARE

    def _optimise(
        self, batch: Batch, options: AlphaCrown, regions: RegionBatch, coarse: bool
    ) -> tuple[Bounds, Optimised]:
        """Bounds of all nodes, refined where that pays, and of the violation."""
        inputs = regions.inputs
        phases = self.columns.by_node(batch.phases)
        implied = phases if self.whole else self.columns.by_node(batch.implied)
        bounds = regions.bounds.clipped(self.network, implied)
        if self.refine and not coarse and (inputs.halfspace is not None or bool((batch.phases != 0).any())):
            parted = self._parted(batch.phases) if batch.siblings else None
            losses = self.float32_losses
            if len(self.stack.inputs) > 1:
                losses = losses.rows(self._places[batch.subproblems])
            with torch.no_grad():
                bounds = crown(self.known.float32_network, inputs, bounds, losses, True, parted)
        known = None
        if batch.alpha is not None and batch.beta is not None:
            known = Multipliers(self.columns.by_node(batch.alpha), self.columns.by_node(batch.beta))
        return bounds, raise_bounds(
            self.network,
            inputs,
            Start.output(self.network, self.rows[batch.subproblems], self.offset[batch.subproblems]),
            bounds,
            phases,
            known,
            options,
            self.target,
            self.known.float32_network,
            regions.losses,
        )

    def _parted(self, phases: Tensor) -> Tensor:
        """The nodes (count / 2,) read by the ReLUs in whose phase parts of the same domain differ."""
        return self._reads[(phases[0::2] != phases[1::2]).to(torch.int8).argmax(-1)]

    def _candidate(self, subproblems: Tensor, points: Tensor, outputs: Tensor) -> Candidate:
        """The minimiser that is most unsafe; for violations, where short attacks from the best ones end."""
        violation = torch.matmul(self.rows[subproblems], outputs.to(self.rows.dtype).unsqueeze(-1)).squeeze(-1)
        worst = (violation + self.offset[subproblems]).amax(-1)
        if not self.state.is_min_distortion:
            lowest = worst.argsort()[:_DESCENTS]
            subproblems = subproblems[lowest]
            points, worst = self._descend(subproblems, points[lowest])
        best = int(worst.argmin())
        return Candidate(points[best], int(subproblems[best]), float(worst[best]))

    def _descend(self, subproblems: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where short attacks from some points end, and their violations."""
        float32_network = self.known.float32_network
        inputs = self.stack.rows(self._places[subproblems]).inputs.to(float32_network.dtype)
        problem = AttackProblem(
            float32_network,
            inputs,
            self.rows[subproblems].to(float32_network.dtype),
            self.offset[subproblems].to(float32_network.dtype),
        )
        ends, worst = _DESCENT.descend(problem, points.to(float32_network.dtype), len(subproblems))
        return ends.to(points.dtype), worst

    def _scores(self, bounds: Bounds, best: Optimised, chosen: Tensor, evaluated: list[Tensor]) -> list[Tensor]:
        """Those of `branching`, each (count, N)."""
        pick = torch.arange(len(chosen))
        weights = {i: weight[pick, chosen] for i, weight in best.form.at_output.items()}
        branching, scores = self.branching, []
        if branching in ("slack", "both"):
            alpha = {i: slopes[pick, chosen] for i, slopes in best.multipliers.alpha.items()}
            scores.append(slack(self.network, bounds, weights, alpha, evaluated))
        if branching in ("babsr", "both"):
            scores.append(babsr(self.network, bounds, weights))
        return scores

    def _highest(self, scores: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The best ReLUs of each score in turn, (count, most), with their scores; those that are not open come last."""
        most = min(math.ceil(self.branches / len(scores)), scores[0].shape[-1])
        tops = [score.topk(most, -1) for score in scores]
        values, relus = ([top[k] for top in tops] for k in (0, 1))
        return torch.stack(values, -1).flatten(1), torch.stack(relus, -1).flatten(1)

    def _implied(self, phases: Tensor, bounds: Bounds) -> Tensor:
        """Phases (count, N) with those filled in that the bounds imply."""
        intervals = [bounds[self._read(i)] for i in self.columns.relus]
        active = torch.cat([interval.lower >= 0 for interval in intervals], -1)
        inactive = torch.cat([interval.upper <= 0 for interval in intervals], -1) & ~active
        return torch.where(phases != 0, phases, active.to(torch.int8) - inactive.to(torch.int8))

    def _read(self, relu: int) -> int:
        node = self.network.nodes[relu]
        assert isinstance(node, Relu)
        return node.input

"""Branch and bound over ReLU phases with batched beta-CROWN bounds, one queue for all pairs of a case.

Wang et al., "Beta-CROWN", NeurIPS 2021. What is unsafe in a domain lies where the domain's last linear bound is not
positive, so its next bounds are taken over that half-space alone (`bounds.halfspace`). For distances every domain
carries the radius up to which its own linear bound stays positive; the tree is searched best-first on that radius, so
the lower side rises all the time, and when a closer witness shrinks the ball every value stays valid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...attacks import AttackProblem
from ...attacks.pgd import Pgd
from ...bounds import Bounds, InputSet, crown
from ...bounds.alpha_crown import AlphaCrown, Multipliers, Optimised, raise_bounds
from ...bounds.backward import Start
from ...bounds.branching import babsr, slack
from ...bounds.halfspace import HalfSpaces
from ...bounds.relu_columns import ReluColumns
from ...bounds.rounding import RoundingLoss
from ...network.evaluate import evaluate_all
from ...network.nodes import Relu
from ...query import Objective
from ...specification import Case
from ..polish import polish
from ..propagate import value_of
from ..region_bounds import RegionBounds
from ..state import Pair, SearchState
from .leaf import LeafSolver
from .tree import Tree

# Strong branching for large trees: up to so many splits, so many ReLUs are tried out.
STRONG = ((32, 16), (256, 8), (2048, 4))
_DESCENTS, _DESCENT = 8, Pgd(steps=10, first_step=0.1)  # points of each batch of domains from which attacks start
_REFINE_UNSTABLE = 160  # up to so many unstable ReLUs the intermediate bounds are recomputed in every domain
_HALF_SHARE = 0.5  # half-spaces that hold more of their linear bound's range are left out
_ROOT_ROUNDS = 3  # bounds of a root over the half-space of the bound before
_BALL_GAIN = 0.8  # balls of nodes are used where they leave at most this share of what the roots lack


@dataclass
class Domain:
    """Phases (N,) int8 over all ReLUs in node order, multipliers of the last bound, and the ReLUs to split next.

    `value` is what is proved on the domain in the units of the query, `bound` the lower bound on its violation, attained
    by `row` of its polytope; `half` is the part that still matters (see `ReluSearch._halves`), None where that is too much
    of it; `implied` are the phases of all ReLUs where none is open.
    """

    phases: Tensor
    alpha: Tensor
    beta: Tensor
    branches: list[int]
    value: float
    bound: float
    row: int = 0
    half: HalfSpaces | None = None
    implied: Tensor | None = None


class ReluSearch:
    """The tree of one case.

    Attributes:
        enough: bound on the violation at which a domain of a feasibility query counts as proved; above 0 it leaves room
            for a checker's own arithmetic.
        widths: of strong branching, `STRONG` or none.
        closed: when set to a list, every domain that needs no more work is written down here, with its pair's number, and
            bounds are those of whole domains, so that phases and multipliers alone are a proof.
    """

    def __init__(self, state: SearchState, case: Case, pairs: list[Pair], name: str, known: RegionBounds) -> None:
        self.state, self.case, self.name, self.known = state, case, name, known
        self.network = known.network
        self.columns = ReluColumns(self.network)
        self.tree: Tree[Domain] = Tree(pairs)
        self.rows, self.offset = state.rows(pairs)
        self.leaves = LeafSolver(state)
        self.enough = 0.0
        self.closed: list[tuple[int, Domain]] | None = None
        self.widths: tuple[tuple[int, int], ...] = ()
        self.radius = math.nan
        self.balls = True
        self.splits = 0
        self._refresh()
        self.batch = int(min(1024, max(8, 400_000 // max(self.columns.count, 1))))

    def _refresh(self) -> None:
        """Root bounds at the present search region."""
        region = self.state.search_region(self.case.region)
        radius = -1.0 if region.ball is None else region.ball.radius
        if radius == self.radius:
            return
        self.radius = radius
        self.inputs = self.known.inputs(region)
        if not self.balls:
            self.inputs = replace(self.inputs, balls=None)
        self.root = self.known.of(region)
        self.losses = self.known.losses(region)
        self.fast_losses = RoundingLoss.of(self.known.fast, self.inputs, self.root).loss
        self.refine = self.root.unstable_count(self.network) <= _REFINE_UNSTABLE

    def run(self, deadline: float) -> None:
        """Split until the case is settled or time is out; called again it goes on where it stopped."""
        state = self.state
        if self.splits == 0 and not self.tree.heap:
            self._begin(deadline)
        self._refresh()
        batch = 8
        while self.tree.heap and not self._done and state.elapsed < deadline:
            width = next((width for until, width in self.widths if self.splits < until), 1)
            taken = self.tree.pop(max(1, batch // (2 * width)), max(state.goal, self.enough))
            if not taken:
                break
            batch = min(2 * batch, self.batch)
            self.splits += len(taken)
            self._split(taken, width)
            self.tree.report(state, self.name)
            self._refresh()
        if not self.tree.heap:
            self.tree.report(state, self.name)

    def _begin(self, deadline: float) -> None:
        """Bound and queue the roots."""
        lowest = 0.0 if self.state.distances else -math.inf
        empty = torch.zeros(0)
        whole = Domain(torch.zeros(self.columns.count, dtype=torch.int8), empty, empty, [], lowest, -math.inf)
        for pair, root in enumerate(self._roots(whole, deadline)):
            self._queue(pair, root)
        self.tree.report(self.state, self.name)

    def _roots(self, whole: Domain, deadline: float) -> list[Domain]:
        """The pairs' roots, bounded again over their half-spaces while that may help."""
        options = AlphaCrown(steps=20)
        pairs = range(len(self.tree.pairs))
        roots = self._bound(list(pairs), [whole] * len(pairs), options)
        if self.inputs.balls is not None:
            with_balls, self.inputs = self.inputs, replace(self.inputs, balls=None)
            plain = self._bound(list(pairs), [whole] * len(pairs), options)
            self.balls = self._lack(roots) <= _BALL_GAIN * self._lack(plain)
            self.inputs = with_balls if self.balls else self.inputs
        for _ in range(_ROOT_ROUNDS):
            again = [k for k in pairs if roots[k].half is not None and not self._settled(roots[k])]
            if not again or self.state.elapsed > deadline:
                break
            for k, root in zip(again, self._bound(again, [roots[k] for k in again], options), strict=True):
                roots[k] = root
        return roots

    def _lack(self, domains: list[Domain]) -> float:
        """What the bounds of domains are short of, together."""
        return sum(max(self._target - domain.bound, 0.0) for domain in domains)

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
        gains = [max(min(child.bound, self._target) - parent.bound, 1e-9) for child in children]
        return gains[0] * gains[1]

    @property
    def _done(self) -> bool:
        """Whether the query is settled; a search for more than that goes on to the end of its tree."""
        return self.state.done and (self.enough == 0 or self.state.witness is not None)

    @property
    def _target(self) -> float:
        """The bound on the violation at which a domain is settled."""
        return self.state.goal if self.state.query.objective is Objective.MAX_MARGIN else self.enough

    def _settled(self, domain: Domain) -> bool:
        """Whether a domain needs no more work."""
        feasibility = self.state.query.objective is Objective.FEASIBILITY
        return domain.value > self.enough if feasibility else domain.value >= self.state.goal

    def _queue(self, pair: int, domain: Domain) -> None:
        """Close, solve or queue a domain."""
        value, settled = domain.value, self._settled(domain)
        if not settled and domain.implied is None:
            self.tree.push(pair, value, domain)
            return
        if self.closed is not None:
            self.closed.append((pair, domain))
        if settled:
            self.tree.close(pair, value)
        else:
            self._leaf(pair, domain, domain.implied)

    def _bound(self, pairs: list[int], domains: list[Domain], options: AlphaCrown) -> list[Domain]:
        """The same domains with bounds, multipliers and the ReLUs to split next."""
        cut = [k for k, domain in enumerate(domains) if domain.half is not None]
        if 0 < len(cut) < len(domains):  # those that are bounded over half-spaces cost more
            whole = [k for k, domain in enumerate(domains) if domain.half is None]
            parts = [
                self._bound([pairs[k] for k in part], [domains[k] for k in part], options) for part in (cut, whole)
            ]
            by_place = dict(zip(cut + whole, parts[0] + parts[1], strict=True))
            return [by_place[k] for k in range(len(domains))]
        phases, which = torch.stack([domain.phases for domain in domains]), torch.tensor(pairs)
        known = None
        if domains[0].alpha.numel():
            alpha = torch.stack([domain.alpha for domain in domains])
            beta = torch.stack([domain.beta for domain in domains])
            known = Multipliers(self.columns.by_node(alpha), self.columns.by_node(beta))
        inputs = self.inputs.expand(len(domains))
        if cut:
            inputs = inputs.within(HalfSpaces.stack([domain.half for domain in domains if domain.half is not None]))
        bounds, best = self._optimise(phases, which, known, options, inputs)
        proved = value_of(self.state, best.bound, best.form, inputs)
        if cut and self.state.query.objective is Objective.MAX_MARGIN:
            proved = proved.clamp(max=self.state.upper)  # beyond the half-spaces it is at least that
        values = proved.tolist()
        lower, chosen = best.bound.max(-1)
        points = best.point[torch.arange(len(domains)), chosen]
        with torch.no_grad():
            evaluated = evaluate_all(self.known.fast, points.to(self.known.fast.dtype))
        self._candidates(which, points, evaluated[-1])
        scores = self._scores(bounds, best, chosen, evaluated)
        most = max((width for _, width in self.widths), default=1)
        highest, order = scores.topk(min(most, scores.shape[-1]), -1)
        numbers, branches = (highest >= 0).sum(-1).tolist(), order.tolist()
        violations, rows = lower.tolist(), chosen.tolist()
        lead = (len(domains), best.form.coefficients.shape[1])
        alpha, beta = self.columns.flat(best.multipliers.alpha, lead), self.columns.flat(best.multipliers.beta, lead)
        halves = self._halves(best, chosen, inputs)
        fresh = []
        for k, domain in enumerate(domains):
            fresh.append(
                Domain(
                    domain.phases,
                    alpha[k].clone(),
                    beta[k].clone(),
                    branches[k][: numbers[k]],
                    max(values[k], domain.value),
                    violations[k],
                    rows[k],
                    halves[k],
                    self._implied(domain.phases, bounds, k) if numbers[k] == 0 else None,
                )
            )
        return fresh

    def _halves(self, best: Optimised, chosen: Tensor, inputs: InputSet) -> list[HalfSpaces | None]:
        """Where the linear bounds of domains do not exceed the violation that is looked for, for those in which that is
        little: what a domain must beat to be settled, or, for margins, the lowest one that was found.
        """
        level = self.state.upper if self.state.query.objective is Objective.MAX_MARGIN else self.enough
        if self.closed is not None or not self.refine or not math.isfinite(level):
            return [None] * len(chosen)
        pick = torch.arange(len(chosen))
        offset = best.form.offset[pick, chosen].double()
        offset = offset - level - (offset.abs() + abs(level)) * 2.0**-52  # the difference rounds: no point may be lost
        halves = HalfSpaces(best.form.coefficients[pick, chosen].double(), offset)
        little = (inputs.share(halves) <= _HALF_SHARE).tolist()
        return [halves.rows(pick[k : k + 1]) if little[k] else None for k in range(len(chosen))]

    def _optimise(
        self, phases: Tensor, pairs: Tensor, known: Multipliers | None, options: AlphaCrown, inputs: InputSet
    ) -> tuple[Bounds, Optimised]:
        """Bounds of domains (count, N) of pairs (count,)."""
        by_node = self.columns.by_node(phases)
        bounds = self.root.expand(len(phases)).clipped(self.network, by_node)
        if self.refine and (inputs.half is not None or bool((phases != 0).any())):
            with torch.no_grad():
                bounds = crown(self.known.fast, inputs, bounds, self.fast_losses, splits=True)
        return bounds, raise_bounds(
            self.known.working,
            inputs,
            Start.output(self.known.working, self.rows[pairs], self.offset[pairs]),
            bounds,
            by_node,
            known,
            options,
            self._target,
            self.known.fast,
            self.losses,
        )

    def _candidates(self, pairs: Tensor, points: Tensor, outputs: Tensor) -> None:
        """Offer the minimiser that is most unsafe; for distances, polish it; else descend from the best ones."""
        state = self.state
        outputs = outputs.to(self.rows.dtype)
        violation = torch.matmul(self.rows[pairs], outputs.unsqueeze(-1)).squeeze(-1) + self.offset[pairs]
        worst = violation.amax(-1)
        if not state.distances:
            lowest = worst.argsort()[:_DESCENTS]
            points, worst = self._descend(pairs[lowest], points[lowest])
        best = int(worst.argmin())
        threshold = 0.0 if state.query.objective is not Objective.MAX_MARGIN else state.upper
        if float(worst[best]) < threshold and state.offer(points[best].numpy(), self.name) and state.distances:
            polish(state, points[best].numpy(), self.tree.pairs[int(pairs[best])])

    def _descend(self, pairs: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Where short attacks from some points end, and their violations."""
        fast = self.known.fast
        inputs = self.inputs.expand(len(pairs)).to(fast.dtype)
        problem = AttackProblem(fast, inputs, self.rows[pairs].to(fast.dtype), self.offset[pairs].to(fast.dtype))
        ends, worst = _DESCENT.descend(problem, points.to(fast.dtype), len(pairs))
        return ends.to(points.dtype), worst

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

    def _leaf(self, pair: int, domain: Domain, implied: Tensor | None) -> None:
        """All phases known: solve exactly. A leaf that cannot be solved leaves its pair open for other engines."""
        state = self.state
        if state.network.has_max or implied is None:
            self.tree.close(pair, domain.value)
            return
        phases = {i: split.numpy() for i, split in self.columns.by_node(implied).items()}
        proved, point = self.leaves.solve(self.tree.pairs[pair], phases)
        if point is not None and state.offer(point, self.name) and state.distances:
            polish(state, point, self.tree.pairs[pair])
        if state.query.objective is Objective.MAX_MARGIN:  # phases may be implied for inputs below the upper side alone
            proved = min(proved, state.upper)
        self.tree.close(pair, max(proved, domain.value))

"""Branch and bound over ReLU phases: one queue for all subproblems of a disjunct, or of several queries.

`bounds` bounds what is in it.

For distances every domain carries the radius up to which its own linear bound stays positive; the tree is searched
best-first on that radius, so the lower side rises all the time, and when a closer witness shrinks the ball every value
stays valid.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

from ....bounds.alpha_crown import AlphaCrown
from ....parallel.fork import Team, helpers_for
from ....query import Objective
from ...course import Course
from ...polish import polish
from ...state import ABOVE_ZERO
from .bounds import DomainBounds
from .domain import Batch, BoundRequest, Candidate, Domain
from .leaf import LeafSolver
from .tree import Root, Tree

# Strong branching for large trees: up to so many splits, so many ReLUs are tried out.
STRONG = ((32, 16), (256, 8), (2048, 4))
_SHARE = 16  # domains, at least, for each process that bounds some of them
_ROOT_ROUNDS = 3  # bounds of a root over the half-space of the bound before
_BALL_GAIN = 0.8  # balls of nodes are used where they leave at most this share of what the roots lack


class ReluSearch:
    """The tree of one disjunct, or of several certification queries in one network.

    Attributes:
        state: as in `DomainBounds`.
        bounds: of its domains.
        strong_branching_candidates: pairs (most splits so far, ReLUs that are tried out at each), `STRONG` or none.
        closed: when set to a list, every domain that needs no more work is written down here, with its subproblem's number.
        tree: what is open, and what was proved.
        course: seconds searched and the lowest open value, round by round.
    """

    def __init__(
        self,
        roots: Sequence[Root],
        name: str,
        strong_branching_candidates: tuple[tuple[int, int], ...] = (),
        threshold: float = 0.0,
        closed: list[tuple[int, Domain]] | None = None,
        most_nodes: float = math.inf,
    ) -> None:
        """Open a tree of one domain for each root, whose regions as a whole are bounded already.

        Args:
            roots: subproblems, with what is known of bounds.
            name: of the engine that answers for what is proved.
            strong_branching_candidates: as above.
            threshold: as in `DomainBounds`.
            closed: as above; whole domains are bounded then (see `DomainBounds`).
            most_nodes: a subproblem that has more domains is abandoned.
        """
        self.state = state = roots[0].state
        self.name, self.closed, self.most_nodes = name, closed, most_nodes
        self.strong_branching_candidates = strong_branching_candidates
        most = max([state.settings.relu_split.fsb_candidates, *(width for _, width in strong_branching_candidates)])
        self.bounds = DomainBounds(roots, threshold, closed is not None, most)
        self.tree = Tree(roots)
        self.team = Team(self.bounds.bound_batches, helpers_for(state.settings.threads))
        states = {id(root.state): root.state for root in roots}
        self.leaves = {key: LeafSolver(each) for key, each in states.items()}
        self.nodes = [0] * len(roots)
        self.splits = 0
        self.course = Course()
        self._spent = 0.0
        self.batch = int(min(1024, max(8, 400_000 // max(self.bounds.columns.count, 1))))

    def run(self, deadline: float) -> None:
        """Split until the disjunct is settled or time is out; called again it goes on where it stopped."""
        began = self.state.elapsed - self._spent
        with self.team:
            self._run(deadline, began)
        self._spent = self.state.elapsed - began
        if self.team.lost:
            self.state.notes.append(f"{self.team.lost} copies of this process ended before their time")

    @property
    def _widths(self) -> tuple[tuple[int, int], ...]:
        """Strong branching compares bounds of the next parts alone, which leads astray what `babsr` sees coming."""
        return () if self.bounds.branching == "babsr" else self.strong_branching_candidates

    def remaining(self) -> float:
        """Seconds of search still needed if the lowest open value rises on as in the last three quarters of its course.

        Infinity where it does not rise, or where nothing is open.
        """
        return self.course.remaining(max(self.state.goal, self.bounds.threshold)) if self.tree.heap else math.inf

    def _run(self, deadline: float, began: float) -> None:
        state = self.state
        if self.splits == 0 and not self.tree.heap:
            self._begin(deadline)
        self.bounds.refresh()
        batch = 8
        while self.tree.heap and not self._done and state.elapsed < deadline:
            width = next((width for until, width in self._widths if self.splits < until), 1)
            taken = self.tree.pop(max(1, batch // (2 * width)), max(state.goal, self.bounds.threshold))
            if not taken:
                break
            batch = min(2 * batch, self.batch)
            self.splits += len(taken)
            self._split(taken, width)
            self._abandon()
            self.tree.report(self.name)
            if self.tree.heap:
                self.course.record(state.elapsed - began, self.tree.heap[0][0])
            self.bounds.refresh()
        if not self.tree.heap:
            self.tree.report(self.name)

    def _abandon(self) -> None:
        """Leave the subproblems that are too hard, and those of queries that are answered while others are not."""
        answered = {key for key, solver in self.leaves.items() if solver.state.done} if len(self.leaves) > 1 else set()
        for subproblem, root in enumerate(self.tree.roots):
            if self.nodes[subproblem] > self.most_nodes or id(root.state) in answered:
                self.tree.abandon(subproblem)

    def _begin(self, deadline: float) -> None:
        """Bound and queue the roots."""
        for subproblem, root in enumerate(self._roots(deadline)):
            self._queue(subproblem, root)
        self._abandon()
        self.tree.report(self.name)

    def _roots(self, deadline: float) -> list[Domain]:
        """The subproblems' roots, bounded again over their half-spaces while that may help."""
        options, whole = AlphaCrown(steps=20), self.bounds.undivided()
        subproblems = list(range(len(self.tree.roots)))
        roots = self._bound_many(subproblems, [whole] * len(subproblems), options)
        if self.bounds.stack.inputs.balls is not None:
            self.bounds.use_balls(False)
            plain = self._bound_many(subproblems, [whole] * len(subproblems), options)
            self.bounds.use_balls(self._lack(roots) <= _BALL_GAIN * self._lack(plain))
        for _ in range(_ROOT_ROUNDS):
            again = [k for k in subproblems if roots[k].halfspace is not None and not self.bounds.is_verified(roots[k])]
            if not again or self.state.elapsed > deadline:
                break
            for k, root in zip(again, self._bound_many(again, [roots[k] for k in again], options), strict=True):
                roots[k] = root
        return roots

    def _lack(self, domains: list[Domain]) -> float:
        """What the bounds of domains are short of, together."""
        return sum(max(self.bounds.target - domain.bound, 0.0) for domain in domains)

    def _split(self, taken: list[tuple[int, Domain]], width: int) -> None:
        """Bound the children of each domain for its `width` best ReLUs, and queue those of the best one."""
        candidates = [domain.branches[:width] for _, domain in taken]
        fsb_candidates = self.state.settings.relu_split.fsb_candidates
        if width == 1 and fsb_candidates > 1:
            wide = [domain.branches[:fsb_candidates] for _, domain in taken]
            glances = self._children(taken, wide, AlphaCrown(steps=0), coarse=True)
            best = [self._best(domain, options) for (_, domain), options in zip(taken, glances, strict=True)]
            candidates = [[branches[k]] for branches, k in zip(wide, best, strict=True)]
        for (subproblem, _), branches in zip(taken, candidates, strict=True):
            self.nodes[subproblem] += 2 * len(branches)
            self.tree.roots[subproblem].state.count("nodes", 2 * len(branches))
        children = self._children(taken, candidates, AlphaCrown(steps=self.state.settings.relu_split.beta_steps))
        for (subproblem, domain), options in zip(taken, children, strict=True):
            for child in options[self._best(domain, options)]:
                self._queue(subproblem, child)

    def _children(
        self,
        taken: list[tuple[int, Domain]],
        candidates: Sequence[Sequence[int]],
        options: AlphaCrown,
        coarse: bool = False,
    ) -> list[list[list[Domain]]]:
        """For each domain both parts for each of its candidates, bounded."""
        children: list[Domain] = []
        subproblems: list[int] = []
        for (subproblem, domain), branches in zip(taken, candidates, strict=True):
            children += [domain.child(branch, sign) for branch in branches for sign in (1, -1)]
            subproblems += [subproblem] * (2 * len(branches))
        fresh = iter(self._bound(subproblems, children, options, siblings=True, coarse=coarse))
        return [[[next(fresh), next(fresh)] for _ in branches] for branches in candidates]

    def _best(self, parent: Domain, options: list[list[Domain]]) -> int:
        """Which of some subproblems of parts gain most."""
        return max(range(len(options)), key=lambda k: self._gain(parent, options[k]))

    def _bound_many(self, subproblems: list[int], domains: list[Domain], options: AlphaCrown) -> list[Domain]:
        """`_bound` for more domains than a batch holds."""
        parts = [slice(begin, begin + self.batch) for begin in range(0, len(subproblems), self.batch)]
        return [domain for part in parts for domain in self._bound(subproblems[part], domains[part], options)]

    def _bound(
        self,
        subproblems: list[int],
        domains: list[Domain],
        options: AlphaCrown,
        siblings: bool = False,
        coarse: bool = False,
    ) -> list[Domain]:
        """Domains with new bounds, every process its share; inputs found on the way are offered.

        `siblings` as in `Batch`, `coarse` as in `BoundRequest`.
        """
        state, fresh = self.state, list(domains)
        cut = [k for k, domain in enumerate(domains) if domain.halfspace is not None]
        whole = [k for k, domain in enumerate(domains) if domain.halfspace is None]
        groups = [group for group in (cut, whole) if group]  # those that are bounded over half-spaces cost more
        count = max(1, min(self.team.size, len(domains) // _SHARE))
        shares: list[list[list[int]]] = [[] for _ in range(count)]
        requests: list[BoundRequest] = [
            BoundRequest([], options, state.upper, state.search_radius, coarse) for _ in range(count)
        ]
        for group in groups:
            batch = Batch.of([subproblems[k] for k in group], [domains[k] for k in group], siblings)
            for share, request, part in zip(shares, requests, _parts(len(group), count), strict=True):
                if part.start < part.stop:
                    share.append(group[part])
                    request.batches.append(batch.rows(part))
        for share, replies in zip(shares, self.team.work(requests), strict=True):
            for group, reply in zip(share, replies, strict=True):
                self._offer(reply.candidate)
                for k, domain in zip(group, reply.domains([domains[k] for k in group]), strict=True):
                    fresh[k] = domain
        return fresh

    def _offer(self, candidate: Candidate) -> None:
        """Offer an input where it is better than what is known; for distances, polish it."""
        root = self.tree.roots[candidate.subproblem]
        state = root.state
        threshold = state.upper if state.query.objective is Objective.MAX_MARGIN else 0.0
        point = candidate.point.numpy()
        if (
            candidate.violation < threshold
            and state.add_counterexample(point, self.name, root.subproblem.disjunct)
            and state.is_min_distortion
        ):
            polish(state, point, root.subproblem, self.name)

    def _gain(self, parent: Domain, children: list[Domain]) -> float:
        """Product of what the bounds of both children gain, up to where a domain is settled."""
        gains = [max(min(child.bound, self.bounds.target) - parent.bound, 1e-9) for child in children]
        return gains[0] * gains[1]

    @property
    def _done(self) -> bool:
        """Whether the queries are settled; a search for more than that goes on to the end of its tree."""
        states = [solver.state for solver in self.leaves.values()]
        return all(state.done and (self.bounds.threshold == 0 or state.witness is not None) for state in states)

    def _queue(self, subproblem: int, domain: Domain) -> None:
        """Close, solve or queue a domain."""
        verified = self.bounds.is_verified(domain)
        if not verified and domain.branches:
            self.tree.push(subproblem, domain)
            return
        if self.closed is not None:
            self.closed.append((subproblem, domain))
        if verified:
            self.tree.close(subproblem, domain.value)
        else:
            self._leaf(subproblem, domain)

    def _leaf(self, subproblem: int, domain: Domain) -> None:
        """All phases known: solve exactly. A leaf that cannot be solved leaves its subproblem open for other engines."""
        root = self.tree.roots[subproblem]
        state = root.state
        if state.network.has_max:
            self.tree.close(subproblem, domain.value)
            return
        implied = self.bounds.columns.by_node(torch.from_numpy(domain.implied))
        phases = {i: split.numpy() for i, split in implied.items()}
        proved, point = self.leaves[id(state)].solve(root.subproblem, phases)
        if (
            point is not None
            and state.add_counterexample(point, self.name, root.subproblem.disjunct)
            and state.is_min_distortion
        ):
            polish(state, point, root.subproblem, self.name)
        if state.query.objective is Objective.MAX_MARGIN:  # phases may be implied for inputs below the upper side alone
            proved = min(proved, state.upper)
        elif state.query.objective is Objective.FEASIBILITY:  # or for unsafe ones
            proved = min(proved, ABOVE_ZERO)
        self.tree.close(subproblem, max(proved, domain.value))


def _parts(size: int, count: int) -> list[slice]:
    """So many domains in `count` parts; the two halves of one domain stay together."""
    ends = [2 * round(size * k / (2 * count)) for k in range(count)] + [size]
    return [slice(begin, end) for begin, end in itertools.pairwise(ends)]

"""A best-first queue of open domains, and what the closed ones proved."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...region_bounds import RegionBounds
from ...state import SearchState, Subproblem
from .domain import Domain


@dataclass(frozen=True)
class Root:
    """A subproblem of a query, and what is known of bounds for that query."""

    state: SearchState
    subproblem: Subproblem
    known: RegionBounds


@dataclass
class Tree:
    """Open domains by proved value, lowest first.

    Attributes:
        roots: whose domains these are; subproblems are called by their numbers in it.
        heap: the open ones.
        open: how many there are, by number of the subproblem.
        closed: the lowest value proved on closed domains, by number of the subproblem.
        left: subproblems that were given up, some of their domains unproved.
    """

    roots: Sequence[Root]
    heap: list[tuple[float, int, int, Domain]] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    serial: int = 0

    def push(self, subproblem: int, domain: Domain) -> None:
        """An open domain of a subproblem."""
        heapq.heappush(self.heap, (domain.value, self.serial, subproblem, domain))
        self.serial += 1
        self.open[subproblem] = self.open.get(subproblem, 0) + 1

    def close(self, subproblem: int, value: float) -> None:
        """A domain that needs no more work, at the value proved on it."""
        self.closed[subproblem] = min(self.closed.get(subproblem, float("inf")), value)

    def pop(self, count: int, goal: float) -> list[tuple[int, Domain]]:
        """Take up to `count` of the worst open domains, each with its subproblem; those beyond the goal are closed on the way.

        Those of subproblems that were left are dropped.
        """
        taken: list[tuple[int, Domain]] = []
        while self.heap and len(taken) < count:
            value, _, subproblem, domain = heapq.heappop(self.heap)
            self.open[subproblem] -= 1
            if subproblem in self.left:
                continue
            if value >= goal:
                self.close(subproblem, value)
                continue
            taken.append((subproblem, domain))
        return taken

    def abandon(self, subproblem: int) -> None:
        """Give a subproblem up: nothing more is reported of it, and its domains are dropped."""
        self.left.add(subproblem)

    def report(self, engine: str) -> None:
        """Raise the subproblems' lower bounds to what the tree has proved."""
        lowest: dict[int, float] = {}
        if self.heap:
            floor = self.heap[0][0]
            lowest = {subproblem: floor for subproblem, count in self.open.items() if count}
        for index, root in enumerate(self.roots):
            value = min(lowest.get(index, float("inf")), self.closed.get(index, float("inf")))
            if index not in self.left and (value != float("inf") or index in self.closed):
                ceiling = root.state.goal if root.state.is_min_distortion else float("inf")
                root.state.raise_lower_bound(root.subproblem, min(value, ceiling), engine)

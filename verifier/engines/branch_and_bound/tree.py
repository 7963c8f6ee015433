"""A best-first queue of open domains, and what the closed ones proved."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..region_bounds import RegionBounds
from ..state import Pair, SearchState
from .domain import Domain


@dataclass(frozen=True)
class Root:
    """A pair of a query, and what is known of bounds for that query."""

    state: SearchState
    pair: Pair
    known: RegionBounds


@dataclass
class Tree:
    """Open domains by proved value, lowest first.

    Attributes:
        roots: whose domains these are; pairs are called by their numbers in it.
        heap: the open ones.
        open: how many there are, by number of the pair.
        closed: the lowest value proved on closed domains, by number of the pair.
        left: pairs that were given up, some of their domains unproved.
    """

    roots: Sequence[Root]
    heap: list[tuple[float, int, int, Domain]] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    serial: int = 0

    def push(self, pair: int, domain: Domain) -> None:
        """An open domain of a pair."""
        heapq.heappush(self.heap, (domain.value, self.serial, pair, domain))
        self.serial += 1
        self.open[pair] = self.open.get(pair, 0) + 1

    def close(self, pair: int, value: float) -> None:
        """A domain that needs no more work, at the value proved on it."""
        self.closed[pair] = min(self.closed.get(pair, float("inf")), value)

    def pop(self, count: int, goal: float) -> list[tuple[int, Domain]]:
        """Up to `count` of the worst open domains, each with its pair; those already beyond the goal are closed on the way.

        Those of pairs that were left are dropped.
        """
        taken: list[tuple[int, Domain]] = []
        while self.heap and len(taken) < count:
            value, _, pair, domain = heapq.heappop(self.heap)
            self.open[pair] -= 1
            if pair in self.left:
                continue
            if value >= goal:
                self.close(pair, value)
                continue
            taken.append((pair, domain))
        return taken

    def leave(self, pair: int) -> None:
        """Give a pair up: nothing more is reported of it, and its domains are dropped."""
        self.left.add(pair)

    def report(self, engine: str) -> None:
        """Raise the pairs' lower bounds to what the tree has proved."""
        lowest: dict[int, float] = {}
        if self.heap:
            floor = self.heap[0][0]
            lowest = {pair: floor for pair, count in self.open.items() if count}
        for index, root in enumerate(self.roots):
            value = min(lowest.get(index, float("inf")), self.closed.get(index, float("inf")))
            if index not in self.left and (value != float("inf") or index in self.closed):
                ceiling = root.state.goal if root.state.is_min_distortion else float("inf")
                root.state.raise_lower_bound(root.pair, min(value, ceiling), engine)

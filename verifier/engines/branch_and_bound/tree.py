"""A best-first queue of open domains, and what the closed ones proved."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from ..state import Pair, SearchState
from .domain import Domain


@dataclass
class Tree:
    """Open domains by proved value, lowest first.

    Attributes:
        pairs: whose domains these are.
        heap: the open ones.
        open: how many there are, by number of the pair.
        closed: the lowest value proved on closed domains, by number of the pair.
    """

    pairs: list[Pair]
    heap: list[tuple[float, int, int, Domain]] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
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
        """Up to `count` of the worst open domains, each with its pair; those already beyond the goal are closed on the way."""
        taken: list[tuple[int, Domain]] = []
        while self.heap and len(taken) < count:
            value, _, pair, domain = heapq.heappop(self.heap)
            self.open[pair] -= 1
            if value >= goal:
                self.close(pair, value)
                continue
            taken.append((pair, domain))
        return taken

    def report(self, state: SearchState, engine: str) -> None:
        """Raise the pairs' lower bounds to what the tree has proved."""
        lowest: dict[int, float] = {}
        if self.heap:
            floor = self.heap[0][0]
            lowest = {pair: floor for pair, count in self.open.items() if count}
        ceiling = state.goal if state.distances else float("inf")
        for index, member in enumerate(self.pairs):
            value = min(lowest.get(index, float("inf")), self.closed.get(index, float("inf")))
            if value != float("inf") or index in self.closed:
                state.prove(member, min(value, ceiling), engine)

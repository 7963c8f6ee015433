"""A best-first queue of open domains, and what the pruned ones proved."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..state import Pair, SearchState

T = TypeVar("T")


@dataclass
class Tree(Generic[T]):
    """Open domains by proved value, lowest first; `closed[k]` is the lowest value proved on pair k's pruned domains."""

    pairs: list[Pair]
    heap: list[tuple[float, int, int, T]] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    closed: dict[int, float] = field(default_factory=dict)
    serial: int = 0

    def push(self, pair: int, value: float, domain: T) -> None:
        """An open domain of a pair."""
        heapq.heappush(self.heap, (value, self.serial, pair, domain))
        self.serial += 1
        self.open[pair] = self.open.get(pair, 0) + 1

    def close(self, pair: int, value: float) -> None:
        """A domain that needs no more work, at the value proved on it."""
        self.closed[pair] = min(self.closed.get(pair, float("inf")), value)

    def pop(self, count: int, goal: float) -> list[tuple[float, int, T]]:
        """Up to `count` of the worst open domains; those already beyond the goal are closed on the way."""
        taken: list[tuple[float, int, T]] = []
        while self.heap and len(taken) < count:
            value, _, pair, domain = heapq.heappop(self.heap)
            self.open[pair] -= 1
            if value >= goal:
                self.close(pair, value)
                continue
            taken.append((value, pair, domain))
        return taken

    def report(self, state: SearchState, engine: str, pending: dict[int, float] | None = None) -> None:
        """Raise the pairs' lower bounds to what the tree has proved; `pending` are domains in flight, by pair."""
        lowest: dict[int, float] = dict(pending or {})
        if self.heap:
            floor = self.heap[0][0]
            for pair, count in self.open.items():
                if count:
                    lowest[pair] = min(lowest.get(pair, float("inf")), floor)
        ceiling = state.goal if state.distances else float("inf")
        for index, member in enumerate(self.pairs):
            value = min(lowest.get(index, float("inf")), self.closed.get(index, float("inf")))
            if value != float("inf") or index in self.closed:
                state.prove(member, min(value, ceiling), engine)

"""What an engine is: something that runs on a search state until a deadline.

Known verifiers are orders of engines over one state: MIPVerify is `propagate,milp` (bounds, then one program), CROWN is `crown`
(bounds alone), alpha-beta-CROWN is `falsify,propagate,relu-split` (attacks, bounds with optimised slopes, then branch and
bound over ReLU phases with the same bounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from .state import SearchState


class Engine(Protocol):
    """One way to move the bracket.

    Attributes:
        name: as in `ENGINES`.
        fraction: of the time left, at most, while other engines wait behind it.
    """

    name: str
    fraction: float

    def run(self, state: SearchState, deadline: float) -> None:
        """Work until the state is done or `state.elapsed` reaches the deadline."""


@runtime_checkable
class Resumable(Engine, Protocol):
    """An engine that can tell from its progress whether more time would settle the query, and go on where it stopped."""

    @property
    def under_way(self) -> bool:
        """Whether there is something to go on with."""

    def arrives(self, state: SearchState) -> bool:
        """Whether everything open is likely to be settled within the time limit."""

    def resume(self, state: SearchState, deadline: float) -> None:
        """Like `run`, after it."""


@runtime_checkable
class Batched(Engine, Protocol):
    """An engine that works on several queries about one network in one batch.

    Attributes:
        repeats: whether it can do more for a query alone than it did in the batch.
    """

    repeats: bool

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """Like `run` for each of the states."""

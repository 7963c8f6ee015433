"""Engines: each may add a checked counterexample, raise a proved lower bound, or tighten bounds - nothing else.

Dropping any engine changes speed, never verdicts. One engine a file, one line in `ENGINES`, in the order of the cascade:
cheapest first. Known verifiers are orders of engines over one state: MIPVerify is `propagate,milp`, CROWN is `crown`, and
alpha-beta-CROWN is `falsify,propagate,relu-split`.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import InvalidInput
from .state import Engine, Pair, SearchState, Settings

ENGINES = {
    "crown": "propagate:Crown",
    "falsify": "falsify:Falsify",
    "propagate": "propagate:Propagate",
    "exact": "exact:Exact",
    "falsify-more": "falsify:FalsifyMore",
    "support-split": "branch_and_bound.support_split:SupportSplit",
    "input-split": "branch_and_bound.input_split:InputSplit",
    "relu-split": "branch_and_bound.relu_split:ReluSplit",
    "exact-more": "exact:ExactMore",
    "milp": "milp:Milp",
}

__all__ = ["ENGINES", "Engine", "Pair", "SearchState", "Settings", "choose_engines", "get_engine"]


def choose_engines(names: tuple[str, ...] = ()) -> list[str]:
    """Names in the cascade's order; all of them where no names are given.

    Raises:
        InvalidInput: there is no such engine.
    """
    for name in names:
        if name not in ENGINES:
            raise InvalidInput(f"unknown engine '{name}': choose among {', '.join(ENGINES)}")
    return [name for name in ENGINES if not names or name in names]


def get_engine(name: str) -> Engine:
    """An engine by name, imported when it is its turn: most queries are settled by the first two."""
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(f".{module}", __package__), attribute)()
    return engine

"""Engines: each may add a checked counterexample, raise a proved lower bound, or tighten bounds - nothing else.

Dropping any engine changes speed, never verdicts. One engine a file, one line in `ENGINES`, in the order of the cascade:
cheapest first. `protocol` says what an engine is, `state` what engines share.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import InvalidInput
from .protocol import Engine
from .settings import MilpOptions, ReluSplitOptions, Settings
from .state import SearchState, Subproblem

ENGINES = {
    "crown": "propagate:Crown",
    "falsify": "falsify:Falsify",
    "propagate": "propagate:Propagate",
    "falsify-more": "falsify:FalsifyMore",
    "row-split": "branch_and_bound.rows.engine:RowSplit",
    "exact": "exact:Exact",
    "support-split": "branch_and_bound.support.engine:SupportSplit",
    "input-split": "branch_and_bound.input.engine:InputSplit",
    "lp-split": "milp.own_tree:LpSplit",
    "relu-split": "branch_and_bound.relu.engine:ReluSplit",
    "exact-more": "exact:ExactMore",
    "milp": "milp.engine:Milp",
}

PROFILES = {
    "mip": (
        "falsify",
        "propagate",
        "lp-split",
        "milp",
    ),  # what MIP people would do: an attack, bounds, LP tightening, MILPs
}

__all__ = [
    "ENGINES",
    "PROFILES",
    "Engine",
    "MilpOptions",
    "Subproblem",
    "ReluSplitOptions",
    "SearchState",
    "Settings",
    "choose_engines",
    "get_engine",
]


def choose_engines(names: tuple[str, ...] = ()) -> list[str]:
    """Names in the cascade's order; all of them where no names are given; a profile stands for the engines it names.

    Raises:
        InvalidInput: there is no such engine.
    """
    names = tuple(each for name in names for each in PROFILES.get(name, (name,)))
    for name in names:
        if name not in ENGINES:
            raise InvalidInput(f"unknown engine '{name}': choose among {', '.join((*ENGINES, *PROFILES))}")
    return [name for name in ENGINES if not names or name in names]


def get_engine(name: str) -> Engine:
    """Make an engine by its name in `ENGINES`; its module is imported only now, since most queries end with the first two."""
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(f".{module}", __package__), attribute)()
    return engine

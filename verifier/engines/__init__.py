"""Engines: each may add a checked counterexample, raise a proved lower bound, or tighten bounds - nothing else.

Dropping any engine changes speed, never verdicts. One engine a file, one line in `ENGINES`, in the order of the cascade:
cheapest first. `protocol` says what an engine is, `state` what engines share.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from ..errors import InvalidInput, no_such
from .protocol import Engine
from .settings import MilpOptions, ReluSplitOptions, Settings
from .state import SearchState, Subproblem

ENGINES = {
    "crown": "propagate:Crown",
    "falsify": "falsify:Falsify",
    "propagate": "propagate:Propagate",
    "bisect": "bisect:Bisect",
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

# Which engines read which option of `MilpOptions`.
READERS = {
    "solver": ("milp",),
    "formulation": ("lp-split", "milp"),
    "fix_stable": ("lp-split", "milp"),
    "substitute": ("lp-split", "milp"),
    "tighten": ("milp",),
    "targets": ("milp",),
    "cuts": ("milp",),
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
    "READERS",
    "Engine",
    "MilpOptions",
    "Subproblem",
    "ReluSplitOptions",
    "SearchState",
    "Settings",
    "check_milp_options",
    "choose_engines",
    "get_engine",
    "split_names",
    "unread_options",
]


def choose_engines(names: tuple[str, ...] = ()) -> list[str]:
    """Names in the cascade's order; all of them where no names are given; a profile stands for the engines it names.

    Raises:
        InvalidInput: there is no such engine.
    """
    names = tuple(each for name in names for each in PROFILES.get(name, (name,)))
    for name in names:
        if name not in ENGINES:
            raise no_such("engine", name, (*ENGINES, *PROFILES))
    return [name for name in ENGINES if not names or name in names]


def split_names(text: str) -> tuple[str, ...]:
    """Names of engines and profiles from a text with commas; () for an empty one, which stands for all engines.

    Raises:
        InvalidInput: a text that is neither empty nor holds a name.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if text and not names:
        raise InvalidInput(f"'{text}' names no engine: leave engines out for all of them")
    return names


def unread_options(given: Iterable[str], engines: tuple[str, ...] = ()) -> list[str]:
    """Names of options of `MilpOptions` that none of the chosen engines reads, in the order given.

    Raises:
        InvalidInput: there is no such engine.
    """
    chosen = set(choose_engines(engines))
    return [name for name in given if not chosen.intersection(READERS[name])]


def check_milp_options(options: MilpOptions, engines: tuple[str, ...] = (), given: Iterable[str] | None = None) -> None:
    """Refuse options of programs that none of the chosen engines reads, and a solver that is needed and not installed.

    Args:
        options: what is asked for.
        engines: as `choose_engines` takes them.
        given: names of the options that were stated; those that are not the defaults where None.

    Raises:
        InvalidInput: an option that would have no effect, or there is no such engine.
        SolverUnavailable: the solver is not installed.
    """
    if given is None:
        default = MilpOptions()
        given = [name for name in READERS if getattr(options, name) != getattr(default, name)]
    for name in unread_options(given, engines):
        raise InvalidInput(
            f"{name} is read by {' and '.join(READERS[name])} alone, and the engines are {', '.join(engines)}: "
            f"add milp to them, or leave {name} out"
        )
    if options.solver != "highs" and "milp" in choose_engines(engines):
        from ..solvers import get_solver

        get_solver(options.solver)


def get_engine(name: str) -> Engine:
    """Make an engine by its name in `ENGINES`; its module is imported only now, since most queries end with the first two."""
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(f".{module}", __package__), attribute)()
    return engine

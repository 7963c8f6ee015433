"""`advverify solvers`: which MIP solvers are there, and what each can do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from ..help import Command
from ..table import Column, console, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from advverify.verifier.encoding import MixedIntegerProgram
    from advverify.verifier.solvers import Solver

_SECONDS = 10.0  # for a program of two columns
_WORDS = {"lp": "LP", "milp": "MILP", "qp": "QP", "miqp": "MIQP", "qcp": "QCP", "miqcp": "MIQCP"}


@click.command("solvers", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(as_json: bool) -> int:
    """List the solvers of mixed-integer programs: which are installed and work, what each can do, how to get the others.

    Those that are installed solve a small program, which shows whether there is a licence where one is needed.
    """
    from advverify.verifier.solvers import FEATURES, SOLVERS, adapter

    found = [_look(adapter(name)) for name in SOLVERS]
    if as_json:
        listed = [
            {
                "name": each.solver.name,
                "version": each.version,
                "works": each.version is not None and not each.trouble,
                "note": each.trouble,
                "features": [feature for feature in FEATURES if feature in each.solver.features],
                "through": each.solver.through,
                "install": each.solver.install,
                "process_of_its_own": each.solver.isolated,
            }
            for each in found
        ]
        click.echo(json.dumps({"schema": 1, "features": FEATURES, "solvers": listed}, indent=2))
    else:
        _print(console(), found, FEATURES)
    return 0


@dataclass(frozen=True)
class _Found:
    """A solver, its version (None where it is not installed), and what went wrong when it was tried."""

    solver: Solver
    version: str | None
    trouble: str = ""


def _look(solver: Solver) -> _Found:
    from advverify.verifier.errors import SolverUnavailable
    from advverify.verifier.solvers import SolveOptions, SolverStatus
    from advverify.verifier.solvers.guarded import Guarded

    try:
        version = solver.version()
    except SolverUnavailable as missing:
        return _Found(solver, None, str(missing))
    result = Guarded(solver).solve(_small(), SolveOptions(time_limit=_SECONDS))
    if result.status is SolverStatus.OPTIMAL:
        return _Found(solver, version)
    return _Found(solver, version, result.note or result.status.value)


def _small() -> MixedIntegerProgram:
    """The least a + b with a + 2 b >= 2, whole."""
    import numpy as np
    import scipy.sparse as sp

    from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram

    return MixedIntegerProgram(
        sp.csr_matrix(np.array([[1.0, 2.0]])),
        np.array([2.0]),
        np.array([np.inf]),
        np.zeros(2),
        np.full(2, 5.0),
        np.ones(2),
        np.ones(2, dtype=bool),
        ColumnMap(np.arange(2)),
    )


def _print(screen: Console, found: list[_Found], features: dict[str, str]) -> None:
    """What each can do, and how each is reached; features that none of these has are left out."""
    from rich.text import Text

    features = {name: words for name, words in features.items() if any(name in each.solver.features for each in found)}
    abilities: list[list[str | Text]] = []
    ways: list[list[str | Text]] = []
    for each in found:
        marks = ["x" if feature in each.solver.features else "" for feature in features]
        style = "" if each.version is not None and not each.trouble else "dim"
        abilities.append([Text(cell, style) for cell in (each.solver.name, each.version or "-", *marks)])
        state = "works" if not each.trouble else f"fails: {each.trouble}"
        if each.version is None:
            state = f"not installed: {each.solver.install}"
        ways.append([each.solver.name, each.solver.through, state])
    heads = ("solver", "version", *(_WORDS.get(feature, feature) for feature in features))
    show(screen, [Column(name, word=True) for name in heads], abilities, "Solvers")
    columns = [Column("solver", word=True), Column("through", text=True), Column("state", text=True)]
    show(screen, columns, ways, "How each is reached")
    for feature, words in features.items():
        screen.print(f"{_WORDS.get(feature, feature)}: {words}", markup=False)

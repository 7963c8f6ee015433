"""`advverify solvers`: which MIP solvers are there, and what each can do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from ..help import Command
from ..table import Column, console, show

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from ..python.solvers import FoundSolver

_WORDS = {"lp": "LP", "milp": "MILP", "qp": "QP", "miqp": "MIQP", "qcp": "QCP", "miqcp": "MIQCP"}


@click.command("solvers", cls=Command)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(as_json: bool) -> int:
    """List the solvers of mixed-integer programs: which are installed and work, what each can do, how to get the others.

    Those that are installed solve a small program, which shows whether there is a licence where one is needed.
    """
    from advverify.verifier.solvers import FEATURES

    from ..python.solvers import solvers

    found = solvers()
    if as_json:
        click.echo(
            json.dumps({"schema": 1, "features": FEATURES, "solvers": [each.to_dict() for each in found]}, indent=2)
        )
    else:
        _print(console(), found, FEATURES)
    return 0


def _print(screen: Console, found: Sequence[FoundSolver], features: dict[str, str]) -> None:
    """What each can do, and how each is reached; features that none of these has are left out."""
    from rich.text import Text

    features = {name: words for name, words in features.items() if any(name in each.features for each in found)}
    abilities: list[list[str | Text]] = []
    ways: list[list[str | Text]] = []
    for each in found:
        marks = ["x" if feature in each.features else "" for feature in features]
        style = "" if each.works else "dim"
        abilities.append([Text(cell, style) for cell in (each.name, each.version or "-", *marks)])
        state = "works" if not each.note else f"fails: {each.note}"
        if each.version is None:
            state = f"not installed: {each.install}"
        ways.append([each.name, each.through, state])
    heads = ("solver", "version", *(_WORDS.get(feature, feature) for feature in features))
    show(screen, [Column(name, word=True) for name in heads], abilities, "Solvers")
    columns = [Column("solver", word=True), Column("through", text=True), Column("state", text=True)]
    show(screen, columns, ways, "How each is reached")
    for feature, words in features.items():
        screen.print(f"{_WORDS.get(feature, feature)}: {words}", markup=False)

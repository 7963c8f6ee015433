"""Words that the terminal and the page of `advverify gap` have in common."""

from __future__ import annotations

from advverify.verifier.convergence.runs import Run
from advverify.verifier.convergence.solve import HardestTarget

from ..table import number, share


def in_words(hardest: HardestTarget) -> str:
    """A question's hardest target, and what became of it."""
    nodes = "" if hardest.nodes is None else f", {hardest.nodes} node{'' if hardest.nodes == 1 else 's'}"
    left = "closed" if hardest.left == 0 else f"{share(hardest.left)} left"
    return f"{hardest.target}: {left}, {number(hardest.seconds, 3)} s{nodes}"


def without_program(run: Run) -> str:
    """How many of a run's queries left no record of a program, and what settled them instead; empty where there are none."""
    if not run.without:
        return ""
    by = [f"{engine} settled {count}" for engine, count in sorted(run.without.items(), key=lambda e: -e[1]) if engine]
    if "" in run.without:
        by.append(f"{run.without['']} open")
    return (
        f"{run.name}: no program was solved for {sum(run.without.values())} of {run.queries} queries: {', '.join(by)}"
    )

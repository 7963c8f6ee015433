"""Words that the terminal and the page of `advverify gap` have in common."""

from __future__ import annotations

from advverify.verifier.convergence.runs import Comparison, Run
from advverify.verifier.convergence.solve import HardestTarget
from advverify.verifier.mip_record import SOLVE

from ..table import number, share


def in_words(hardest: HardestTarget) -> str:
    """A question's hardest target, and what became of it."""
    nodes = "" if hardest.nodes is None else f", {hardest.nodes} node{plural(hardest.nodes)}"
    left = "closed" if hardest.left == 0 else f"{share(hardest.left)} left"
    return f"{hardest.target}: {left}, {number(hardest.seconds, 3)} s{nodes}"


def answer(comparison: Comparison) -> str:
    """What the runs came to, in a sentence: who answers most within the limit, who is faster, and on how many questions."""
    limit, runs = f"{comparison.limit:g} s", comparison.runs
    if len(runs) == 1:
        (run,) = runs
        within = f", {share(run.below[0])} have a gap of at most 1 %" if run.closed < 1 else ""
        return f"Within {limit} {share(run.closed)} of {run.queries} queries are closed{within}."
    if comparison.profile is None:
        return "The runs have no question in common, so that nothing can be compared."
    ranked = sorted(runs, key=lambda run: (-run.closed, run.mean_seconds))
    best, next_ = ranked[0], ranked[1]
    of = f"of the {comparison.profile.questions} questions that every run was asked"
    if best.closed > next_.closed:
        return f"{best.name} closes most within {limit}: {share(best.closed)} {of}; {next_.name} closes {share(next_.closed)}."
    times = next_.mean_seconds / max(best.mean_seconds, 1e-9)
    return (
        f"{best.name} and {next_.name} close as many within {limit}, {share(best.closed)} {of}; {best.name} takes "
        f"{number(best.mean_seconds, 3)} s on average, {next_.name} {number(times, 3)} times that (shifted geometric means)."
    )


def hardest_title(comparison: Comparison) -> str:
    """What the list of hard questions is, where some are open and where none is."""
    return "Hardest questions" if any(gap for _, _, gap in comparison.hardest) else "Slowest questions, all closed"


def without_root(run: Run) -> str:
    """How many of a run's MIPs are not in the root gap, and why; empty where all are."""
    programs = run.effort[SOLVE].programs
    if run.mips == programs:
        return ""
    return (
        f"{run.name}: {programs - run.mips} of {programs} MIP{plural(programs)} are not in the root gap: their records have no bound of a first "
        "relaxation, as where another value is searched than was asked (by lp-split for distances, by milp for verdicts)"
    )


def plural(count: int) -> str:
    """The ending of so many."""
    return "" if count == 1 else "s"


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

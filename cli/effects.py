"""Options of programs that were stated and had no effect, since no query came to what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advverify.verifier.engines import MilpOptions
    from advverify.verifier.outcome import Outcome


def missed_options(outcomes: Sequence[Outcome], milp: MilpOptions, given: Iterable[str]) -> list[str]:
    """Those of some options of `MilpOptions`, by name, that no query came to."""
    from advverify.verifier.engines import READERS

    run = {engine for outcome in outcomes for engine in outcome.engines_run}
    asked = {solver for outcome in outcomes for solver in outcome.solvers_asked}
    return [
        name for name in given if not (milp.solver in asked if name == "solver" else run.intersection(READERS[name]))
    ]


def why_missed(outcomes: Sequence[Outcome], milp: MilpOptions, programs_first: str) -> str:
    """Why queries did not come to what an option is about; `programs_first` is how engines are named that begin with programs."""
    if any("milp" in outcome.engines_run for outcome in outcomes):  # which handed no program over
        from advverify.verifier.solvers import adapter

        if any(outcome.labels.get("norm") == "2" for outcome in outcomes):
            if "miqp" not in adapter(milp.solver).features:
                return f"norm 2 needs a solver of MIQPs, which {milp.solver} is not, and our own tree searched instead"
        return "relaxations settled the programs that were left"
    settled = sum(outcome.verdict.value != "unknown" for outcome in outcomes)
    if settled == len(outcomes):
        return (
            f"attacks, bounds and our own trees settled every query before; {programs_first} begins with the programs"
        )
    return f"{settled} of {len(outcomes)} queries were settled before, and the others ended before they came to it"

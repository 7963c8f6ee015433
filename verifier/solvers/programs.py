"""CBC and GLPK, programs that PuLP writes files for: their parameters, and what their logs say of how a solve ended.

The files have 12 digits, so that they solve a program that differs in the last ones; like all that solvers say, what they say
of it is a claim (`engines.milp.confirm`).
"""

from __future__ import annotations

import functools
import importlib.util
import math
import re
import shutil
import subprocess
from abc import abstractmethod
from pathlib import Path
from typing import Any

from .protocol import SolveOptions, SolverStatus
from .pulp import Evidence, ThroughPulp, values_of

_LINEAR = frozenset({"lp", "milp"})
_TOLERANCE = 1e-9


class Program(ThroughPulp):
    """A program, and what it says of its version."""

    asked: tuple[str, ...]  # arguments that make it say its version
    answer: str  # where that is in what it says

    @abstractmethod
    def path(self) -> str | None:
        """Where it is; None where it is not installed."""

    def version(self) -> str:
        """What the program says.

        Raises:
            SolverUnavailable: there is no such program.
        """
        path = self.path()
        if path is None:
            raise self.missing()
        return _says(path, self.asked, self.answer)


class Cbc(Program):
    """CBC, a program: on the path, or PuLP's own."""

    name = "cbc"
    features = _LINEAR | {"start", "nodes", "bound"}
    through = "PuLP, program cbc"
    install = "install CBC, with cbc on the path"
    command = "COIN_CMD"
    asked, answer = ("-quit",), r"Version: (\S+)"

    def path(self) -> str | None:
        """On the path, or PuLP's own."""
        return _cbc()

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """As CBC's command line has them."""
        extra = [f"randomSeed {options.seed + 1}", f"randomCbcSeed {options.seed + 1}", f"primalT {_TOLERANCE}"]
        if mip:
            extra.append(f"integerT {_TOLERANCE}")
        if not options.presolve:
            extra.append("preprocess off")
        return {
            "path": _cbc(),
            "timeLimit": seconds,
            "gapRel": options.relative_gap,
            "gapAbs": options.absolute_gap,
            "threads": options.threads,
            "presolve": None if options.presolve else False,
            "options": extra,
            "logPath": str(log),
        }

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the last lines of the log; bounds are printed with three digits, and count without the last one."""
        found = re.search(r"^Objective value: +(\S+)", log, re.M)
        values = values_of(variables) if found or not mip else None
        nodes, iterations = _count(r"^Enumerated nodes: +(\d+)", log), _count(r"^Total iterations: +(\d+)", log)
        lower = re.search(r"^Lower bound: +(\S+)", log, re.M)
        dual = -math.inf if lower is None else float(lower.group(1)) - 1e-3
        status = SolverStatus.LIMIT
        if re.search(r"^Result - Optimal solution found", log, re.M):
            status, dual = SolverStatus.OPTIMAL, -math.inf  # "as good as the gap asks for"
        elif re.search(
            r"^Result - Problem proven infeasible|^Problem is infeasible|Linear relaxation infeasible", log, re.M
        ):
            status, values = SolverStatus.INFEASIBLE, None
        elif re.search(r"^Problem is unbounded|Linear relaxation unbounded", log, re.M):
            status, values = SolverStatus.UNBOUNDED, None
        elif re.search(r"infeasible or unbounded", log):
            return Evidence(SolverStatus.LIMIT, either=True)
        elif not mip and re.search(r"^Optimal objective", log, re.M):
            status = SolverStatus.OPTIMAL
        elif not mip:
            values = None
        return Evidence(status, values, dual, nodes, iterations)


class Glpk(Program):
    """GLPK's program glpsol."""

    name = "glpk"
    features = _LINEAR | {"bound"}
    through = "PuLP, program glpsol"
    install = "install GLPK, with glpsol on the path"
    command = "GLPK_CMD"
    asked, answer = ("--version",), r"Solver,? (?:v)?(\S+)"

    def path(self) -> str | None:
        """On the path."""
        return shutil.which("glpsol")

    def parameters(self, options: SolveOptions, seconds: float, mip: bool, log: Path) -> dict[str, Any]:
        """As glpsol's command line has them: whole seconds, and a relative gap alone."""
        extra = ["--log", str(log), "--mipgap", repr(options.relative_gap), "--seed", str(options.seed)]
        if not options.presolve:
            extra.append("--nopresol")
        return {"timeLimit": math.ceil(seconds), "options": extra}

    def evidence(
        self, problem: Any, command: Any, variables: list[Any], mip: bool, log: str, options: SolveOptions
    ) -> Evidence:
        """From the log: its last verdict, and its last line about the tree, whose bound has nine digits."""
        verdicts = re.findall(r"^(.* SOLUTION(?: FOUND)?(?: BY MIP PREPROCESSOR)?|.*SEARCH TERMINATED)$", log, re.M)
        last = verdicts[-1] if verdicts else ""
        wanted = "INTEGER OPTIMAL SOLUTION FOUND" if mip else "OPTIMAL LP SOLUTION FOUND"
        bounds = re.findall(r"^\+.*>= +(\S+) +(?:<?[\d.]+%)? *\(\d+; \d+\)", log, re.M)
        point = re.search(r"^\+.*(?:mip|>>>>>) *=? +[-+\d.]+e[-+\d]+ |Solution found by heuristic", log, re.M)
        dual = -math.inf
        if bounds and re.fullmatch(r"[-+\d.]+e[-+\d]+", bounds[-1]):
            dual = float(bounds[-1]) - 1e-8 * (1 + abs(float(bounds[-1])))
        if last.startswith(wanted):
            return Evidence(SolverStatus.OPTIMAL, values_of(variables))
        if re.search(r"NO (INTEGER |PRIMAL |)FEASIBLE SOLUTION", last):
            return Evidence(SolverStatus.INFEASIBLE)
        values = values_of(variables) if mip and point else None
        return Evidence(SolverStatus.LIMIT, values, dual)


def _count(pattern: str, log: str) -> int | None:
    found = re.search(pattern, log, re.M)
    return None if found is None else int(found.group(1))


@functools.cache
def _says(path: str, arguments: tuple[str, ...], pattern: str) -> str:
    """What a program says of its version."""
    said = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    found = re.search(pattern, said.stdout)
    return "" if found is None else found.group(1)


@functools.cache
def _cbc() -> str | None:
    """Where CBC is: on the path, or in PuLP's own folder, which is looked for without importing PuLP."""
    found = shutil.which("cbc")
    if found is not None:
        return found
    there = importlib.util.find_spec("pulp")
    for folder in [] if there is None else there.submodule_search_locations or []:
        for path in sorted(Path(folder).glob("solverdir/cbc/*/*/cbc*")):
            if _runs(path):
                return str(path)
    return None


def _runs(path: Path) -> bool:
    """Whether a program is one of this machine."""
    try:
        return (
            subprocess.run([path, "-quit"], capture_output=True, timeout=20, stdin=subprocess.DEVNULL).returncode == 0
        )
    except OSError:
        return False

"""Adapters that crash, hang or talk nonsense: each is reported as its solver's failure, and the engine's answers stay right."""

import math
import os
import sys
import time
import types
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import nearest
from programs import knapsack

from advverify.verifier import solvers
from advverify.verifier.api import certify, distance
from advverify.verifier.encoding import MixedIntegerProgram
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.outcome import Verdict
from advverify.verifier.solvers import SolveOptions, SolveResult, SolverStatus, get_solver
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.solvers.protocol import Progress
from advverify.verifier.specification import Threat

Lie = Callable[[MixedIntegerProgram, SolveOptions, SolveResult], SolveResult]


def hang(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> SolveResult:
    time.sleep(60)
    return result


def crash(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> SolveResult:
    os.abort()


def broken(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> SolveResult:
    raise RuntimeError("no more\nlicences")


def says_nan(program: MixedIntegerProgram, options: SolveOptions, result: SolveResult) -> SolveResult:
    assert options.progress is not None
    options.progress(Progress(0.0, math.inf, math.nan))
    return result


def raised(result: SolveResult) -> float:
    return result.objective + 0.1 * (1 + abs(result.objective))


# what each does, and the words of the failure
FAILURES: dict[str, tuple[Lie, str]] = {
    "crash": (crash, "died of SIGABRT"),
    "hang": (hang, "gave no answer within"),
    "broken": (broken, "RuntimeError: no more licences"),
    "nan": (lambda p, o, r: replace(r, dual_bound=math.nan), "a bound that is no number"),
    "nan in trace": (lambda p, o, r: replace(r, trace=((0.0, 1.0, math.nan),)), "a bound that is no number"),
    "no point": (lambda p, o, r: SolveResult(SolverStatus.OPTIMAL, None, 0.0, 0.0, 0.0), "but no point"),
    "two words": (lambda p, o, r: replace(r, status=SolverStatus.INFEASIBLE, point=np.zeros(len(p.cost))), "and a point"),
    "no number": (
        lambda p, o, r: replace(
            r, status=SolverStatus.OPTIMAL, point=np.full(len(p.cost), np.nan), objective=0.0, dual_bound=0.0
        ),
        "a point that is none",
    ),
    "too short": (
        lambda p, o, r: replace(r, status=SolverStatus.OPTIMAL, point=np.zeros(1), objective=0.0, dual_bound=0.0),
        "a point that is none",
    ),
    "far off": (
        lambda p, o, r: replace(r, status=SolverStatus.OPTIMAL, point=p.col_upper + 1, objective=0.0, dual_bound=0.0),
        "misses a row or bound",
    ),
    "endless": (lambda p, o, r: replace(r, status=SolverStatus.LIMIT, point=None, dual_bound=math.inf), "infinite dual"),
    "unbounded": (lambda p, o, r: SolveResult(SolverStatus.UNBOUNDED, None, math.inf, -math.inf, 0.0), "called unbounded"),
    "failed": (lambda p, o, r: SolveResult(SolverStatus.ERROR, None, math.inf, -math.inf, 0.0), "it says so"),
}  # fmt: skip
# what no look at the answer alone shows
LIES: dict[str, Lie] = {
    "infeasible": lambda p, o, r: SolveResult(SolverStatus.INFEASIBLE, None, math.inf, -math.inf, 0.0),
    "bound": lambda p, o, r: replace(
        r, status=SolverStatus.LIMIT, point=None, objective=math.inf, dual_bound=raised(r) if r.point is not None else 9.0
    ),
}  # fmt: skip


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Lie], None]:
    """Puts a solver called liar into the table: HiGHS, whose answers pass through a lie."""

    def add(lie: Lie) -> None:
        class Liar(Highs):
            name = "liar"
            isolated = True

            def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
                return lie(program, options, super().solve(program, replace(options, progress=None)))

        module: Any = types.ModuleType(f"{solvers.__name__}.liar")
        module.Liar = Liar
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(solvers.SOLVERS, "liar", "liar:Liar")
        monkeypatch.setattr("advverify.verifier.solvers.guarded._GRACE", (0.2, 0.0))

    return add


@pytest.mark.parametrize("name", FAILURES)
def test_each_is_its_solvers_failure(name: str, install: Callable[[Lie], None]) -> None:
    lie, words = FAILURES[name]
    install(lie)
    result = get_solver("liar").solve(knapsack(), SolveOptions(time_limit=1.0))
    assert result.status is SolverStatus.ERROR and words in result.note, result
    assert result.point is None and result.dual_bound == -math.inf and "\n" not in result.note


def test_a_large_program_is_solved_elsewhere_whatever_the_solver(
    install: Callable[[Lie], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presolve that looks at no clock costs its own solve, and no more than the limit."""
    install(hang)
    monkeypatch.setattr("advverify.verifier.solvers.guarded._LARGE", 0)
    solver = get_solver("liar")
    monkeypatch.setattr(solver, "isolated", False)
    result = solver.solve(knapsack(), SolveOptions(time_limit=0.5))
    assert result.status is SolverStatus.ERROR and "gave no answer within" in result.note and result.seconds < 30


def test_nonsense_while_it_runs_reaches_nobody(install: Callable[[Lie], None]) -> None:
    install(says_nan)
    heard: list[Progress] = []

    def progress(event: Progress) -> bool:
        heard.append(event)
        return False

    result = get_solver("liar").solve(knapsack(), SolveOptions(time_limit=5.0, progress=progress))
    assert result.status is SolverStatus.ERROR and "while it ran" in result.note and not heard


def test_what_a_known_point_refutes(install: Callable[[Lie], None]) -> None:
    start = np.array([2.0, 0.0, 1.0])
    for name, words in (("infeasible", "has a known point"), ("bound", "above the known -13")):
        install(LIES[name])
        for point, failed in ((start, True), (start + 9, False), (None, False)):
            result = get_solver("liar").solve(knapsack(), SolveOptions(time_limit=5.0, start=point))
            assert (result.status is SolverStatus.ERROR) == failed and (words in result.note) == failed, (name, result)
    install(lambda program, options, result: replace(result, objective=-14.0, dual_bound=-14.0))
    assert "of a point that has -13" in get_solver("liar").solve(knapsack(), SolveOptions(time_limit=5.0)).note
    install(lambda program, options, result: replace(result, dual_bound=-12.0))
    assert "above its own point's -13" in get_solver("liar").solve(knapsack(), SolveOptions(time_limit=5.0)).note


@pytest.mark.parametrize("name", [*FAILURES, *LIES])
def test_the_engine_is_right_whatever_its_solver_does(name: str, install: Callable[[Lie], None]) -> None:
    """Failures are noted, HiGHS goes on; lies that look like answers are refuted or left open."""
    failing = name in FAILURES
    install(FAILURES[name][0] if failing else LIES[name])
    options = MilpOptions("liar", tighten="none", cuts="none")
    settings = Settings(timeout=3 if name == "hang" else 12, gap=5e-7, threads=1, milp=options)
    settled = failed = 0
    for kind, seed in (("mlp", 0), ("residual", 1)):
        network = random_network(kind, seed)
        image = np.random.default_rng(1000 + seed).random(network.input_size)
        label = int(predict(network, torch.tensor(image)[None]))
        truth = nearest(network, image, label, "inf")
        outcome = distance(network, image, label, settings=settings, engines=("milp",))
        assert outcome.bracket.lower <= truth * (1 + 1e-6) and outcome.bracket.upper >= truth * (1 - 1e-6)
        settled += outcome.bracket.lower >= 0.99 * truth
        for eps in (0.8 * truth, 1.3 * truth):
            verdict = certify(network, image, label, Threat("inf", eps), settings=settings, engines=("milp",)).verdict
            assert verdict is not (Verdict.ADVERSARIAL if eps < truth else Verdict.ROBUST), (kind, seed, eps)
            settled += verdict is not Verdict.UNKNOWN
        failed += sum(FAILURES[name][1] in record.note for record in outcome.mips) if failing else 0
        assert not failing or {record.solver for record in outcome.mips if record.note} <= {"liar"}
    assert settled >= (2 if name in LIES or name == "hang" else 6), settled
    assert failed > 0 or not failing

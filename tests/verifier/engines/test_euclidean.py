"""Norm 2: relaxations come before solvers, which are asked for what is better than known alone, and whose claims are proved again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import margin_within, nearest

from advverify.verifier.api import certify, distance
from advverify.verifier.encoding import MixedIntegerProgram
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.engines.milp import ask, euclidean
from advverify.verifier.mip_record import CONFIRMATION, RELAXATION, SOLVE
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict
from advverify.verifier.solvers import Progress, SolveOptions, SolveResult, SolverStatus
from advverify.verifier.specification import Threat

PLAIN = Settings(timeout=20, gap=1e-5, threads=1, milp=MilpOptions(tighten="none"))


class Denier:
    """It says of every program that nothing is below the cut-off, which is right where the query's best point is known."""

    name = "denier"
    features = frozenset({"lp", "milp", "qp", "miqp", "qcp", "miqcp", "cutoff", "stream"})

    def __init__(self) -> None:
        self.asked: list[tuple[MixedIntegerProgram, SolveOptions]] = []

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        self.asked.append((program, options))
        return SolveResult(SolverStatus.INFEASIBLE, None, np.inf, options.cutoff, 0.01, version="1")


@pytest.fixture
def denier(monkeypatch: pytest.MonkeyPatch) -> Denier:
    solver = Denier()
    for module in (ask, euclidean):
        monkeypatch.setattr(module, "get_solver", lambda _: solver)
    return solver


def case(seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network("mlp", seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


def test_a_solver_gets_what_relaxations_leave_and_is_stopped_once_it_has_passed_what_is_needed(denier: Denier) -> None:
    relaxed = solved = 0
    for seed in range(5):
        network, image, label = case(seed)
        before = len(denier.asked)
        outcome = distance(network, image, label, Threat("2"), settings=PLAIN, engines=("milp",))
        truth = nearest(network, image, label, "2")
        assert outcome.bracket.lower <= truth * (1 + 1e-6) and outcome.bracket.gap <= 2e-5 * truth
        settled = {record.target for record in outcome.mips if record.role == RELAXATION}
        given = [record for record in outcome.mips if record.role == SOLVE and record.solver == denier.name]
        assert not settled & {record.target for record in given}
        assert len(given) == len(denier.asked) - before
        for record, (_, options) in zip(given, denier.asked[before:], strict=True):
            assert options.progress is not None and record.cutoff is not None
            assert (
                record.cutoff == pytest.approx(np.sqrt(options.cutoff)) and record.cutoff <= outcome.bracket.upper * 2
            )
            assert record.root["lp"] <= record.proved + 1e-12 and record.proved <= record.cutoff
            assert not options.progress(Progress(0.0, np.inf, 0.5 * options.cutoff))
            assert options.progress(Progress(0.0, np.inf, 1.1 * options.cutoff + 1e-6))
            proofs = [r for r in outcome.mips if r.target == record.target and r.role == CONFIRMATION]
            assert proofs and (record.proved == pytest.approx(record.cutoff) or proofs[0].primal < record.cutoff)
        relaxed, solved = relaxed + len(settled), solved + len(given)
    assert relaxed > 0 and solved > 0, (relaxed, solved)


def test_no_answer_rests_on_a_solver_that_denies_what_there_is(denier: Denier) -> None:
    asked = 0
    for seed in range(3):
        network, image, label = case(seed)
        truth = nearest(network, image, label, "2")
        for eps in (0.9 * truth, 1.3 * truth):
            before = len(denier.asked)
            least = margin_within(network, image, label, "2", eps)
            verdict = certify(network, image, label, Threat("2", eps), settings=PLAIN, engines=("milp",)).verdict
            assert verdict is (Verdict.ROBUST if eps < truth else Verdict.ADVERSARIAL), (seed, eps)
            exact = certify(
                network, image, label, Threat("2", eps), exact_margin=True, settings=PLAIN, engines=("milp",)
            )
            assert exact.bracket.lower <= least + 1e-6 and exact.bracket.upper >= least - 1e-6
            asked += len(denier.asked) - before
    assert asked > 0


def test_a_proof_says_which_tree_it_rests_on() -> None:
    network, image, label = case(0)
    settings = replace(PLAIN, gap=1e-4)
    found = {
        norm: distance(network, image, label, Threat(norm), settings=settings, engines=("milp",)) for norm in ("2", "1")
    }
    for outcome in found.values():
        trees = {record.solver for record in outcome.mips if record.solver.endswith("tree")}
        assert not trees or outcome.statistics["lower_rests_on"] in trees

"""Every formulation, norm and objective against the enumeration of all activation patterns: the programs themselves.

Norm 2 has a quadratic objective or row: those programs are written to a file that SCIP reads and solves.
"""

import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from mip_files import solve_by_scip
from networks import KINDS, random_network
from oracle import margin_within, nearest

from advverify.verifier.api import certify, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, encode
from advverify.verifier.encoding.files import Listing, write_listing
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat, robustness

FORMS = [
    *(
        Formulation(name)
        for name in ("symmetric", "asymmetric", "partition-1", "partition-2", "partition-4", "extended")
    ),
    *(Formulation(name, fix_stable=False) for name in ("symmetric", "asymmetric", "partition-2", "extended")),
]
SEEDS = {"mlp": (2, 4), "leaky": (0,), "residual": (2,), "conv": (0,), "maxpool": (2,)}  # nothing to be found for mlp 4


@functools.cache
def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int]:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return network, image, int(predict(network, torch.tensor(image)[None]))


@functools.cache
def truth(kind: str, seed: int, norm: str) -> float:
    network, image, label = case(kind, seed)
    return nearest(network, image, label, norm)


@functools.cache
def margin(kind: str, seed: int, norm: str, eps: float) -> float:
    network, image, label = case(kind, seed)
    return margin_within(network, image, label, norm, eps)


def optimum(kind: str, seed: int, threat: Threat, objective: Objective, form: Formulation, folder: Path) -> float:
    """Of the program over CROWN's bounds; inf where it has no point."""
    network, image, label = case(kind, seed)
    disjunct = robustness(image, label, threat, network.output_size).disjuncts[0]
    region = disjunct.region
    bounds = crown(network, InputSet.from_regions([region]))
    program = encode(network, bounds, region, disjunct.unsafe, objective, form, quadratic=True)
    assert region.ball is not None
    if threat.norm == "2":
        path = folder / "program.lp"
        write_listing(Listing(program), path)
        value = solve_by_scip(path)
        return math.sqrt(max(value, 0.0)) if objective is Objective.MIN_DISTORTION else value
    result = Highs().solve(program, SolveOptions(time_limit=60, relative_gap=1e-9))
    assert result.status in (SolverStatus.OPTIMAL, SolverStatus.INFEASIBLE)
    return result.objective if result.status is SolverStatus.OPTIMAL else math.inf


BY_SCIP = [form for form in FORMS if form.fix_stable == (form.name != "partition-2") and form.name != "partition-1"]


@pytest.mark.parametrize(
    ("norm", "form"),
    [*itertools.product(("inf", "1", "0"), FORMS), *(("2", form) for form in BY_SCIP)],
    ids=lambda value: str(value),
)
def test_programs_are_exact(norm: str, form: Formulation, tmp_path: Path) -> None:
    if norm == "2":
        pytest.importorskip("pyscipopt")
    near = 1e-6 if norm != "2" else 2e-4
    distances = margins = verdicts = 0
    for kind, seeds in SEEDS.items():
        if norm == "0" and kind in ("conv", "maxpool"):
            continue  # nine inputs make too many supports to enumerate
        for seed in seeds:
            known = truth(kind, seed, norm)
            found = optimum(kind, seed, Threat(norm), Objective.MIN_DISTORTION, form, tmp_path)
            if math.isinf(known):
                assert math.isinf(found), (kind, seed)
                continue
            assert found == pytest.approx(known, abs=near), (kind, seed)
            distances += 1
            inside, outside = (known - 1, known) if norm == "0" else (0.97 * known, 1.03 * known)
            for eps in (inside, outside):
                value = optimum(kind, seed, Threat(norm, eps), Objective.FEASIBILITY, form, tmp_path)
                assert math.isinf(value) == (eps == inside), (kind, seed, eps)
                verdicts += 1
            if norm == "inf" or kind in ("mlp", "leaky", "residual"):
                value = optimum(kind, seed, Threat(norm, outside), Objective.MAX_MARGIN, form, tmp_path)
                assert value == pytest.approx(margin(kind, seed, norm, outside), abs=near), (kind, seed)
                margins += 1
    assert distances >= (3 if norm == "0" else 5) and verdicts == 2 * distances and margins >= 3


def test_there_is_a_case_of_every_kind() -> None:
    assert set(SEEDS) == set(KINDS)


@pytest.mark.parametrize("name", ["symmetric", "partition-2", "extended"])
@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
def test_the_engine_is_exact_by_every_formulation(norm: str, name: str) -> None:
    """Distances and verdicts of the MILP engine with an attack, all the way through what it proves."""
    settled = 0
    for kind, seed, fix in (("mlp", 2, True), ("leaky", 0, False), ("residual", 2, True)):
        network, image, label = case(kind, seed)
        known = truth(kind, seed, norm)
        options = MilpOptions(formulation=name, fix_stable=fix)
        settings = Settings(timeout=20, gap=1e-3 if norm == "2" else 5e-7, threads=1, milp=options)
        engines = ("falsify", "milp")
        outcome = distance(network, image, label, Threat(norm), settings=settings, engines=engines)
        assert outcome.bracket.lower <= known + 1e-6 <= outcome.bracket.upper + 2e-6, (kind, seed)
        settled += outcome.bracket.lower >= known * (1 - 2e-3) - 1e-6
        if norm == "0":
            continue
        for share, verdict in ((0.95, Verdict.ROBUST), (1.05, Verdict.ADVERSARIAL)):
            threat = Threat(norm, share * known)
            found = certify(network, image, label, threat, settings=settings, engines=engines).verdict
            assert found in (verdict, Verdict.UNKNOWN)
            settled += found is verdict
    assert settled >= (2 if norm == "0" else 7)

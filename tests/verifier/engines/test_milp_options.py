"""Options of programs: who reads them, and that none is without effect unnoticed."""

import re

import numpy as np
import pytest
import torch
from networks import deep, random_network

import advverify
from advverify.verifier.api import certify, certify_all, distance
from advverify.verifier.engines import (
    ENGINES,
    READERS,
    MilpOptions,
    ReluSplitOptions,
    SearchState,
    Settings,
    get_engine,
)
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.errors import InvalidInput, SolverUnavailable
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Outcome
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import FEATURES, SOLVERS, adapter
from advverify.verifier.specification import Threat, robustness

QUERIES = (
    ("deep", "inf", Objective.MIN_DISTORTION),
    ("deep", "2", Objective.MIN_DISTORTION),
    ("mlp", "0", Objective.MIN_DISTORTION),
    ("deep", "1", Objective.MAX_MARGIN),
    ("deep", "inf", Objective.FEASIBILITY),
)


class Recorded(MilpOptions):
    """Options that know which of them were read."""

    read: set[str] = set()

    def __getattribute__(self, name: str) -> object:
        if name in READERS:
            Recorded.read.add(name)
        return super().__getattribute__(name)


def case(kind: str) -> tuple[Network, np.ndarray, int]:
    network = deep(0) if kind == "deep" else random_network(kind, 0)
    image = np.full(network.input_size, 0.5)
    return network, image, int(predict(network, torch.tensor(image[None])))


def test_readers_are_the_engines_that_read() -> None:
    read = {name: set[str]() for name in READERS}
    for engine in ENGINES:
        for kind, norm, objective in QUERIES:
            network, image, label = case(kind)
            eps = None if objective is Objective.MIN_DISTORTION else 0.4
            specification = robustness(image, label, Threat(norm, eps), network.output_size)
            settings = Settings(timeout=3, threads=1, milp=Recorded())
            state = SearchState.open(Query(network, specification, objective), settings, NetworkExecutor(network))
            if objective is Objective.MIN_DISTORTION:
                get_engine("falsify").run(state, 1.0)
            Recorded.read = set()
            get_engine(engine).run(state, 3.0)
            for name in Recorded.read:
                read[name].add(engine)
    assert {name: tuple(engine for engine in ENGINES if engine in engines) for name, engines in read.items()} == READERS


@pytest.mark.parametrize(
    ("options", "engines", "message"),
    [
        ({"solver": "cbc"}, ("crown",), "solver is read by milp alone, and the engines are crown: add milp"),
        ({"formulation": "extended"}, ("falsify", "relu-split"), "formulation is read by lp-split and milp alone"),
        ({"cuts": "none"}, ("lp-split",), "cuts is read by milp alone"),
        ({"substitute": False}, ("propagate",), "or leave substitute out"),
    ],
)
def test_an_option_that_no_engine_reads_is_refused(
    options: dict[str, object], engines: tuple[str, ...], message: str
) -> None:
    network, image, label = case("mlp")
    settings = Settings(timeout=5, threads=1, milp=MilpOptions(**options))  # type: ignore[arg-type]
    for ask in (
        lambda: distance(network, image, label, settings=settings, engines=engines),
        lambda: certify(network, image, label, Threat(eps=0.1), settings=settings, engines=engines),
        lambda: list(certify_all(network, [image], [label], Threat(eps=0.1), settings=settings, engines=engines)),
    ):
        with pytest.raises(InvalidInput, match=f"^{re.escape(message)}|{re.escape(message)}$"):
            ask()


def test_a_solver_that_is_not_installed_is_refused_before_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    network, image, label = case("mlp")
    settings = Settings(timeout=5, threads=1, milp=MilpOptions(solver="glpk"))
    with pytest.raises(SolverUnavailable, match="glpk is not installed"):
        distance(network, image, label, settings=settings)


def test_an_outcome_says_who_was_asked() -> None:
    network, image, label = case("deep")
    settings, threat = Settings(timeout=20, threads=1), Threat("inf", 0.4)
    alone = certify(network, image, label, threat, exact_margin=True, settings=settings, engines=("milp",))
    assert alone.engines_run == ("milp",) and alone.solvers_asked == ("highs",)
    tree = certify(network, image, label, threat, exact_margin=True, settings=settings, engines=("falsify", "lp-split"))
    assert tree.engines_run == ("falsify", "lp-split") and tree.mips and tree.solvers_asked == ()
    kept = Outcome.from_json(alone.to_json())
    assert (kept.engines_run, kept.solvers_asked) == (alone.engines_run, alone.solvers_asked)
    easy = certify(network, image, label, Threat("inf", 1e-6), settings=settings)
    assert easy.engines_run == ("crown",) and easy.solvers_asked == ()
    ((_, batched),) = certify_all(network, [image], [label], Threat("inf", 1e-6), settings=settings)
    assert batched.engines_run == ("crown",)
    assert certify(network, image, (label + 1) % 3, threat).engines_run == ()


def test_every_feature_is_some_solvers() -> None:
    """What no solver has is nothing that anyone could ask for."""
    assert FEATURES.keys() == set().union(*(adapter(name).features for name in SOLVERS))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Settings(timeout=0), "timeout must be a number of seconds above 0, got 0"),
        (lambda: Settings(timeout=float("nan")), "timeout must be"),
        (lambda: Settings(proof_seconds=-1), "proof_seconds must be"),
        (lambda: Settings(gap=1.0), "gap must be above 0 and below 1, got 1"),
        (lambda: Settings(threads=0), "threads must be a whole number from 1"),
        (lambda: Settings(seed=-1), "seed must be a whole number from 0"),
        (lambda: ReluSplitOptions("babs"), "unknown branching score 'babs': did you mean babsr?"),
        (lambda: ReluSplitOptions(beta_steps=0), "beta_steps must be a whole number from 1, got 0"),
    ],
)
def test_limits_that_make_no_sense_are_refused_at_once(make: object, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{re.escape(message)}"):
        make()  # type: ignore[operator]


def test_the_types_of_settings_are_public() -> None:
    for name in ("MilpOptions", "ReluSplitOptions", "Settings"):
        assert name in dir(advverify) and getattr(advverify, name).__name__ == name

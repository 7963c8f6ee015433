"""Many images side by side: what each gets alone, and on a device that cannot be mixed with the CPU."""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_device import DEVICE, MixedDevices, foreign_device
from networks import KINDS, random_network
from oracle import nearest, worst_margin

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier import cascade
from advverify.verifier.api import Interrupted, Model, certify, certify_all
from advverify.verifier.attacks import AttackProblem, base, run
from advverify.verifier.attacks.base import project
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.checker import check
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.relu import engine as relu_split
from advverify.verifier.engines.branch_and_bound.relu.domain import Domain
from advverify.verifier.engines.branch_and_bound.relu.tree import Root, Tree
from advverify.verifier.engines.clock import Clock
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.milp.engine import Milp
from advverify.verifier.engines.propagate import Propagate
from advverify.verifier.engines.region_bounds import RegionBatch, RegionBounds
from advverify.verifier.engines.state import SearchState
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate_all, predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Threat, robustness

SETTINGS = Settings(timeout=20, threads=1)


def images_of(network: Network, count: int, seed: int = 0) -> tuple[list[np.ndarray], list[int]]:
    images = list(np.random.default_rng(seed).random((count, network.input_size)))
    return images, predict(network, torch.tensor(np.stack(images))).tolist()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps", [0.02, 0.1, 0.3])
def test_what_is_settled_together_is_true(kind: str, eps: float) -> None:
    network = random_network(kind, 5)
    images, labels = images_of(network, 12)
    settled = dict(certify_all(network, images, labels, Threat("inf", eps), settings=SETTINGS, rest=False))
    for k, outcome in settled.items():
        low, high = np.clip(images[k] - eps, 0, 1), np.clip(images[k] + eps, 0, 1)
        truth = worst_margin(network, low, high, labels[k])
        assert outcome.verdict is (Verdict.ROBUST if truth > 0 else Verdict.ADVERSARIAL)
        assert outcome.bracket.lower <= truth + 1e-6 <= outcome.bracket.upper + 2e-6
    every = dict(certify_all(network, images, labels, Threat("inf", eps), settings=SETTINGS))
    assert sorted(every) == list(range(12))
    assert all(every[k].verdict is outcome.verdict for k, outcome in settled.items())
    assert all(outcome.verdict is not Verdict.UNKNOWN for outcome in every.values())


@pytest.mark.parametrize("kind", ["mlp", "leaky", "residual", "conv"])
def test_one_tree_for_many_queries_proves_nothing_false(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"settings": SETTINGS, "engines": ("relu-split",)}
    settled = {0: 0, 6: 0, 256: 0}
    for seed, eps in itertools.product(range(2), (0.1, 0.25)):
        network = random_network(kind, seed)
        images, labels = images_of(network, 10, seed)
        boxes = [(np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1)) for image in images]
        truth = [worst_margin(network, *box, label) for box, label in zip(boxes, labels, strict=True)]
        for easy in settled:
            monkeypatch.setattr(relu_split, "_EASY", easy)
            found = dict(certify_all(network, images, labels, Threat("inf", eps), rest=False, **options))
            for k, outcome in found.items():
                assert outcome.verdict is (Verdict.ROBUST if truth[k] > 0 else Verdict.ADVERSARIAL), (seed, eps, k)
            every = dict(certify_all(network, images, labels, Threat("inf", eps), **options))
            assert all(every[k].verdict is outcome.verdict for k, outcome in found.items())
            assert sum(outcome.verdict is Verdict.UNKNOWN for outcome in every.values()) <= 1
            settled[easy] += len(found)
    assert 20 <= settled[0] <= settled[6] <= settled[256]


@pytest.mark.parametrize("norm", ["1", "2"])
def test_one_tree_for_many_queries_in_other_norms(norm: str) -> None:
    network = random_network("mlp", 3)
    images, labels = images_of(network, 12)
    options: dict[str, Any] = {"settings": SETTINGS, "engines": ("relu-split",)}
    found = dict(certify_all(network, images, labels, Threat(norm, 0.25), rest=False, **options))
    assert len(found) > 6
    for k, outcome in found.items():
        truth = nearest(network, images[k], labels[k], norm)
        assert outcome.verdict is (Verdict.ROBUST if truth > 0.25 else Verdict.ADVERSARIAL)


def test_a_tree_that_left_a_pair_reports_nothing_more_of_it() -> None:
    network = random_network("mlp", 0)
    image = np.full(network.input_size, 0.5)
    specification = robustness(image, 0, Threat("inf", 0.1), 3)
    state = SearchState.open(Query(network, specification, Objective.FEASIBILITY), SETTINGS, NetworkExecutor(network))
    tree = Tree([Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems])
    whole = Domain(np.zeros(0, np.int8), np.zeros(0, np.int8), -1.0, -1.0)
    tree.push(0, whole)
    tree.close(0, 3.0)
    tree.abandon(0)
    assert tree.pop(4, 0.0) == [] and not tree.heap
    tree.report("test")
    assert state.subproblems[0].lower == -math.inf


@pytest.mark.parametrize("norm", ["inf", "1", "2", "0"])
@pytest.mark.parametrize("kind", KINDS)
def test_stacked_bounds_are_those_of_each_region(kind: str, norm: str) -> None:
    network = random_network(kind, 3)
    images, labels = images_of(network, 5)
    radii = [1, 1, 2, 1, 2] if norm == "0" else [0.05, 0.1, 0.3, 0.2, 0.15]
    regions = [
        robustness(x, y, Threat(norm, r), 3).disjuncts[0].region for x, y, r in zip(images, labels, radii, strict=True)
    ]
    searches = [(RegionBounds(network), region) for region in regions]
    known = searches[3][0].of(regions[3])  # one of them is known already
    stack = RegionBatch.of(searches).rows(torch.tensor([4, 0, 3]))
    assert searches[3][0].of(regions[3]) is known
    for row, k in enumerate((4, 0, 3)):
        alone = RegionBounds(network)
        expected, losses = alone.of(regions[k]), alone.losses(regions[k])
        for node in expected.intervals:
            lower, upper = stack.bounds[node].lower[row], stack.bounds[node].upper[row]
            if norm in ("1", "2"):  # balls of nodes are used for all where one needs them: other bounds, as true
                points = project(alone.inputs(regions[k]).expand(200), torch.rand(200, network.input_size).double())
                values = evaluate_all(network, points)[node]
                assert bool(((values >= lower - 1e-12) & (values <= upper + 1e-12)).all())
                continue
            torch.testing.assert_close(lower, expected[node].lower[0], rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(upper, expected[node].upper[0], rtol=1e-9, atol=1e-12)
        if norm in ("1", "2"):
            continue
        for mine, theirs in zip(stack.losses.vectors, losses.vectors, strict=True):
            torch.testing.assert_close(mine[row], theirs[0], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("norm", ["1", "2", "0"])
def test_other_norms_agree_with_one_by_one(norm: str) -> None:
    network = random_network("residual", 2)
    images, labels = images_of(network, 8)
    eps = 1.0 if norm == "0" else 0.2
    for k, outcome in certify_all(network, images, labels, Threat(norm, eps), settings=SETTINGS, rest=False):
        assert outcome.verdict is certify(network, images[k], labels[k], Threat(norm, eps), settings=SETTINGS).verdict


def test_misclassified_images_are_answered_and_radii_checked() -> None:
    model = Model(path_of("digits-mlp"))
    images = [np.zeros(64), np.zeros(64)]
    label = model.predict(images[0])
    got = dict(certify_all(model, images, [label, (label + 1) % 10], Threat("inf", 0.0), settings=SETTINGS, rest=False))
    assert got[1].verdict is Verdict.MISCLASSIFIED and got[1].labels["eps"] == 0.0
    with pytest.raises(InvalidInput, match="eps must be"):
        list(certify_all(model, images, [label, label], Threat("inf", -1.0), rest=False))


def test_engines_left_out_do_not_run() -> None:
    network = random_network("mlp", 5)
    images, labels = images_of(network, 12)
    for engines in (("propagate",), ("falsify", "milp"), ("milp",)):
        found = certify_all(network, images, labels, Threat("inf", 0.2), settings=SETTINGS, engines=engines, rest=False)
        assert {outcome.engine for _, outcome in found} <= set(engines) - {"milp"}


def test_what_fails_side_by_side_is_said_and_answered_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network("mlp", 5)
    images, labels = images_of(network, 12)

    def fail(self: Propagate, states: Sequence[SearchState], deadline: float) -> None:
        if len(states) > 1:
            raise MemoryError("no room")
        run_all(self, states, deadline)

    run_all = Propagate.run_all
    monkeypatch.setattr(Propagate, "run_all", fail)
    with pytest.warns(UserWarning, match="propagate failed on a batch \\(MemoryError: no room\\)"):
        every = dict(
            certify_all(network, images, labels, Threat("inf", 0.02), settings=SETTINGS, engines=("propagate", "milp"))
        )
    assert len(every) == 12 and all(outcome.verdict is not Verdict.UNKNOWN for outcome in every.values())


def test_networks_too_large_to_share_memory_are_left_to_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network("mlp", 5)
    images, labels = images_of(network, 12)
    monkeypatch.setattr(cascade, "batch_size", lambda network: 2)
    assert not list(certify_all(network, images, labels, Threat("inf", 0.01), settings=SETTINGS, rest=False))
    monkeypatch.setattr(cascade, "batch_size", lambda network: 5)  # three parts
    assert {
        k for k, _ in certify_all(network, images, labels, Threat("inf", 0.001), settings=SETTINGS, rest=False)
    } == set(range(12))


def test_ctrl_c_among_the_hard_ones_keeps_what_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network("mlp", 2)
    images, labels = images_of(network, 12)
    options: dict[str, Any] = {"settings": SETTINGS, "engines": ("crown", "milp")}
    easy = dict(certify_all(network, images, labels, Threat("inf", 0.2), rest=False, **options))
    hard = [k for k in range(12) if k not in easy]
    assert easy and len(hard) > 1

    def stop(engine: Milp, state: SearchState, deadline: float) -> None:
        if np.array_equal(state.query.specification.disjuncts[0].region.ball.center, images[hard[1]]):  # type: ignore[union-attr]
            raise KeyboardInterrupt
        run_milp(engine, state, deadline)

    run_milp = Milp.run
    monkeypatch.setattr(Milp, "run", stop)
    found: dict[int, Verdict] = {}
    with pytest.raises(Interrupted) as stopped:
        found.update(
            (k, outcome.verdict) for k, outcome in certify_all(network, images, labels, Threat("inf", 0.2), **options)
        )
    about = stopped.value.outcome
    assert about.verdict is Verdict.UNKNOWN and "interrupted" in about.reason
    assert about.labels["label"] == labels[hard[1]] and about.labels["eps"] == 0.2
    assert math.isfinite(about.bracket.lower)


def test_many_queries_are_numbered_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cascade, "batch_size", lambda network: 5)
    network = random_network("mlp", 2)
    images, labels = images_of(network, 13)
    found = dict(certify_all(network, images, labels, Threat("inf", 0.2), settings=SETTINGS))
    assert sorted(found) == list(range(13))
    for k, outcome in found.items():
        assert outcome.verdict is certify(network, images[k], labels[k], Threat("inf", 0.2), settings=SETTINGS).verdict


def test_seconds_are_shares() -> None:
    clock = Clock()
    clock.divide_among(math.inf)
    before = clock.elapsed
    time.sleep(0.02)
    assert clock.elapsed == before
    clock.divide_among(10)
    time.sleep(0.05)
    assert 0.004 <= clock.elapsed - before < 0.05
    network = random_network("mlp", 5)
    images, labels = images_of(network, 64)
    began = time.perf_counter()
    outcomes = [o for _, o in certify_all(network, images, labels, Threat("inf", 0.05), settings=SETTINGS, rest=False)]
    wall = time.perf_counter() - began
    assert sum(outcome.seconds for outcome in outcomes) <= wall
    for outcome in outcomes:
        times = [event.seconds for event in outcome.trace]
        assert all(a <= b for a, b in itertools.pairwise(times)) and times[-1] <= outcome.seconds


def test_descents_that_leave_a_batch_keep_what_they_found() -> None:
    """A batch that is cut down to those that go on finds what each problem alone finds."""
    network = random_network("conv", 1)
    images, labels = images_of(network, 16)
    subproblems = []
    for x, y in zip(images, labels, strict=True):
        disjunct = robustness(x, y, Threat("inf", 0.3), 3).disjuncts[0]
        subproblems += [(disjunct.region, polytope) for polytope in disjunct.unsafe]
    for attack in (Pgd(steps=12, restarts=1, trial=3, hope=0.6), Pgd(steps=9, restarts=1)):
        together = run(attack, AttackProblem.build(network, subproblems))
        violation = torch.stack(
            [run(attack, AttackProblem.build(network, [subproblem])).violation[0] for subproblem in subproblems]
        )
        assert bool((together.success == (violation < 0)).all())
        assert bool(together.success.any()) and not bool(together.success.all())
        still = ~together.success
        torch.testing.assert_close(together.violation[still], violation[still], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("kind", [*KINDS, "zoo"])
def test_nothing_stays_on_the_cpu(kind: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same answers on a device whose tensors refuse to meet those of the CPU."""
    monkeypatch.setattr(base, "seeded", lambda device, seed: torch.Generator().manual_seed(seed))
    if kind == "zoo":
        network, eps = Model(path_of("digits-conv")).network, 0.05
    else:
        network, eps = random_network(kind, 5), 0.2
    images, labels = images_of(network, 5)
    here = dict(certify_all(network, images, labels, Threat(norm, eps), settings=SETTINGS, rest=False))
    with foreign_device():
        away = network.to(network.dtype, DEVICE)
        assert away.device.type == DEVICE
        queries = []
        for x, y in zip(images, labels, strict=True):
            specification = robustness(x, y, Threat(norm, eps), network.output_size)
            queries.append(Query(away, specification, Objective.FEASIBILITY))
        there = dict(cascade.solve_all(queries, NetworkExecutor(network), replace(SETTINGS, device=DEVICE), rest=False))
        with pytest.raises(MixedDevices):
            away.nodes[-1].bias + network.nodes[-1].bias  # type: ignore[union-attr]
    assert here and {k: o.verdict for k, o in there.items()} == {k: o.verdict for k, o in here.items()}
    for k, outcome in there.items():
        assert outcome.bracket.lower == pytest.approx(here[k].bracket.lower, abs=1e-5)


def test_what_batches_settle_is_proved(tmp_path: Path) -> None:
    """Each proof is about its own image; who leaves the rest to others gets none made here."""
    path = path_of("digits-mlp")
    model, digits = Model(path), load_dataset("digits")
    images, labels = list(digits.images[:12]), digits.labels[:12].tolist()
    settings = replace(SETTINGS, proofs=tmp_path)
    found = dict(certify_all(model, images, labels, Threat("inf", 0.03), settings=settings))
    plain = dict(certify_all(model, images, labels, Threat("inf", 0.03), settings=SETTINGS))
    assert {k: o.verdict for k, o in found.items()} == {k: o.verdict for k, o in plain.items()}
    robust = {k: outcome for k, outcome in found.items() if outcome.verdict is Verdict.ROBUST}
    assert len(robust) >= 8 and all(outcome.trust is Trust.CHECKED for outcome in robust.values())
    for k, outcome in robust.items():
        assert outcome.proof is not None
        (statement,) = check(outcome.proof, path).cases
        assert statement.center is not None and np.array_equal(statement.center, model.flat(images[k]))
        assert statement.radius == 0.03
    assert not list(certify_all(model, images, labels, Threat("inf", 0.03), settings=settings, rest=False))

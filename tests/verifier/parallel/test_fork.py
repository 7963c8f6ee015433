"""Copies of this process: what they compute is what it would have computed itself, and whatever happens none is left."""

import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from networks import KINDS, deep, random_network
from torch import Tensor

from advverify.verifier.api import certify, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.relu_columns import ReluColumns
from advverify.verifier.engines import ReluSplitOptions, Settings
from advverify.verifier.engines.branch_and_bound.relu import search as relu_search
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Relu
from advverify.verifier.parallel.fork import Team, helpers_for
from advverify.verifier.specification import Threat

pytestmark = pytest.mark.skipif(helpers_for(2) == 0, reason="copies of a process are made on Linux only")
HERE = os.getpid()


def gone(pid: int) -> bool:
    """Whether a process has ended and somebody has waited for it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_replies_come_in_the_order_of_the_shares() -> None:
    with Team[int, tuple[int, int]](lambda x: (x * x, os.getpid()), helpers=2) as team:
        for _ in range(3):
            replies = team.work([2, 3, 4])
            assert [value for value, _ in replies] == [4, 9, 16]
            assert replies[0][1] == HERE and len({pid for _, pid in replies}) == 3
        assert team.work([5]) == [(25, HERE)]
    assert all(gone(pid) for _, pid in replies[1:])


def test_tensors_travel_whole() -> None:
    """Any precision and shape, views too; what arrives can be written to."""
    things: list[Tensor] = [
        torch.randn(3, 4, dtype=torch.float64),
        torch.tensor([1, -1, 0], dtype=torch.int8),
        torch.tensor([True, False]),
        torch.zeros(0, 5),
        torch.tensor(2.5),
        torch.randn(6, 4)[::2, 1:3].T,
        torch.zeros(1).expand(3),
    ]
    with Team[list[Tensor], list[Tensor]](lambda tensors: [t.clone() for t in tensors], helpers=1) as team:
        _, back = team.work([[], things])
    for sent, received in zip(things, back, strict=True):
        assert received.dtype == sent.dtype and received.shape == sent.shape and torch.equal(received, sent)
        received.zero_()


def fail_in(copy: bool) -> Callable[[int], int]:
    def work(x: int) -> int:
        if (os.getpid() != HERE) == copy:
            raise MemoryError("no room")
        return x

    return work


@pytest.mark.parametrize("copy", [False, True])
def test_errors_are_raised_here_and_leave_no_copy_behind(copy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, fork, pids = torch.get_num_threads(), os.fork, list[int]()

    def noted() -> int:
        pids.append(fork())
        return pids[-1]

    monkeypatch.setattr(os, "fork", noted)
    team = Team(fail_in(copy), helpers=1)
    with pytest.raises(MemoryError, match="no room"):
        team.work([1, 2])
    assert torch.get_num_threads() == threads
    assert len(pids) == 1 and gone(pids[0])


def test_the_share_of_a_lost_copy_is_done_here() -> None:
    def work(x: int) -> int:
        if os.getpid() != HERE and x == 7:
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * x

    with Team(work, helpers=2) as team:
        assert team.work([1, 2, 3]) == [2, 4, 6]
        assert team.work([5, 7, 6]) == [10, 14, 12]
        assert team.lost == 1 and team.size == 2
        assert team.work([8, 9]) == [16, 18]


def test_a_copy_that_died_between_two_shares() -> None:
    with Team[int, tuple[int, int]](lambda x: (x, os.getpid()), helpers=1) as team:
        (_, pid) = team.work([1, 2])[1]
        os.kill(pid, signal.SIGKILL)
        assert team.work([3, 4]) == [(3, HERE), (4, HERE)]
        assert team.lost == 1 and team.size == 1


def spy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many processes worked on each batch, with shares so small that all get some."""
    seen: list[int] = []
    work = Team.work

    def noted(self: Team[Any, Any], shares: Sequence[Any]) -> list[Any]:
        seen.append(len(shares))
        return work(self, shares)

    monkeypatch.setattr(relu_search, "_SHARE", 2)
    monkeypatch.setattr(Team, "work", noted)
    return seen


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_distances_are_the_same_in_one_process_and_in_three(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = deep(1)
    image = np.random.default_rng(1).random(6)
    label = int(predict(network, torch.tensor(image[None])))
    seen, brackets = spy(monkeypatch), []
    for threads in (1, 3):
        settings = Settings(
            timeout=60, gap=5e-5, threads=threads, relu_split=ReluSplitOptions("slack", intermediate_bounds=False)
        )
        outcome = distance(network, image, label, Threat(norm), settings=settings, engines=("falsify", "relu-split"))
        brackets.append(outcome.bracket)
        assert (max(seen) > 1) == (threads > 1)
    for one in brackets:
        assert one.upper <= one.lower * (1 + 1e-4)
        assert one.lower <= min(other.upper for other in brackets) * (1 + 1e-6)


def test_margins_are_the_same_in_one_process_and_in_two(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = spy(monkeypatch)
    for seed in range(4):
        network = deep(seed)
        image = np.random.default_rng(seed).random(6)
        label = int(predict(network, torch.tensor(image[None])))
        margins = []
        for threads in (1, 2):
            settings = Settings(
                timeout=60, gap=1e-5, threads=threads, relu_split=ReluSplitOptions(intermediate_bounds=False)
            )
            outcome = certify(
                network,
                image,
                label,
                Threat("inf", 0.15),
                exact_margin=True,
                settings=settings,
                engines=("relu-split",),
            )
            margins.append(outcome.bracket.lower)
        assert margins[0] == pytest.approx(margins[1], abs=1e-4)
    assert max(seen) == 2


@pytest.mark.parametrize("kind", [*KINDS, "deep"])
def test_parts_of_a_domain_share_what_their_split_leaves_alone(kind: str) -> None:
    """CROWN of pairs of domains that differ in one phase: as if each were bounded by itself."""
    rng = np.random.default_rng(5)
    network = deep(5) if kind == "deep" else random_network(kind, 5)
    columns = ReluColumns(network)
    center = torch.tensor(rng.random((1, network.input_size)))
    box = InputSet(center - 0.3, center + 0.3)
    root = crown(network, box)
    phases, parted = [], []
    for _ in range(6):
        domain = torch.tensor(rng.integers(-1, 2, columns.count) * (rng.random(columns.count) < 0.3), dtype=torch.int8)
        relu = int(rng.integers(columns.count))
        phases += [domain.scatter(0, torch.tensor([relu]), sign) for sign in (1, -1)]
        split = network.nodes[columns.relus[int(np.searchsorted(np.cumsum(columns.sizes), relu, side="right"))]]
        assert isinstance(split, Relu)
        parted.append(split.input)
    known = root.expand(12).clipped(network, columns.by_node(torch.stack(phases)))
    alone = crown(network, box.expand(12), known)
    together = crown(network, box.expand(12), known, parted=torch.tensor(parted))
    for node in network.bounded:
        torch.testing.assert_close(together[node].lower, alone[node].lower, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(together[node].upper, alone[node].upper, rtol=1e-9, atol=1e-12)


def test_no_copies_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of a process whose PyTorch sees a GPU, used or not, cannot compute gradients."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert helpers_for(3) == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert not torch.cuda.is_initialized() and helpers_for(3) == 0

"""Workers that die, hang, run short of memory or start slowly: their own task is lost, all others are done."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from advverify.verifier.errors import InvalidInput
from advverify.verifier.parallel import pool as pools
from advverify.verifier.parallel.accident import Accident, AccidentKind
from advverify.verifier.parallel.pool import ProcessPool, Work
from advverify.verifier.parallel.worker import Duty, Tell


def square(task: int, tell: Tell) -> int:
    """Some tasks end badly, always; the others take a moment."""
    tell(f"begun {task}")
    match task:
        case 3:
            os._exit(9)
        case 5:
            raise ValueError("five")
        case 7:
            raise Accident(AccidentKind.FILE, "seven is not there\nand more")
        case 8:
            raise MemoryError
        case 9:
            time.sleep(60)
        case 10:
            os.kill(os.getpid(), signal.SIGKILL)
        case 11:
            ctypes.PyDLL(None).sleep(60)  # native code that lets no other thread of its process run
    time.sleep(0.05)
    return task * task


def even(tasks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Even tasks are settled together, until one ends badly."""
    for position, task in enumerate(tasks):
        if task % 2 == 0:
            yield position, square(task, lambda message: None)


def fails_late(tasks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """All tasks are settled, and then something goes wrong."""
    for position, task in enumerate(tasks):
        yield position, task * task
    raise Accident(AccidentKind.FAILED, "too late to matter")


def hangs(tasks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The first task is settled, and the second hangs."""
    yield 0, square(tasks[0], lambda message: None)
    square(9, lambda message: None)


def slowly(task: Any) -> None:
    time.sleep(0.6)


def work(duty: Duty = Duty(square), seconds: float = 60.0) -> Work[int, int]:  # noqa: B008
    return Work(duty, lambda task: seconds)


def run(groups: list[list[int]], work: Work[int, int], jobs: int = 2) -> dict[int, tuple[Any, int]]:
    """Reply or kind of accident, and attempts."""
    found = list(ProcessPool(work, jobs).run(groups))
    assert sorted(task for task, _, _ in found) == sorted(task for group in groups for task in group)
    return {task: (r.kind if isinstance(r, Accident) else r, attempts) for task, r, attempts in found}


def test_a_dying_worker_costs_one_task() -> None:
    found = run([[k] for k in (0, 1, 2, 3, 4, 6, 10)], work())
    assert found.pop(3) == (AccidentKind.KILLED, 2) and found.pop(10) == (AccidentKind.KILLED, 2)
    assert found == {k: (k * k, 1) for k in (0, 1, 2, 4, 6)}


def test_what_became_of_a_worker_is_said() -> None:
    ((_, killed, _),) = ProcessPool(work(), 1).run([[10]])
    ((_, missing, _),) = ProcessPool(work(), 1).run([[7]])
    assert isinstance(killed, Accident) and "SIGKILL" in killed.message
    assert isinstance(missing, Accident) and missing.message == "seven is not there"


def test_a_hang_is_ended_at_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.3)
    found = run([[9], [1], [11], [2]], work(seconds=0.2))
    assert found == {9: (AccidentKind.HUNG, 2), 1: (1, 1), 11: (AccidentKind.HUNG, 2), 2: (4, 1)}


def test_a_group_that_hangs_is_ended_at_the_limit_of_one_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "GRACE", 0.3)
    allowed: list[float] = []
    allow = pools._Worker.allow

    def look(self: Any, seconds: float) -> None:
        allowed.append(seconds)
        allow(self, seconds)

    monkeypatch.setattr(pools._Worker, "allow", look)
    assert run([[2, 9, 4]], work(Duty(square, together=hangs), seconds=0.2), jobs=1) == {
        2: (4, 1),
        4: (16, 2),
        9: (AccidentKind.HUNG, 2),
    }
    assert set(allowed) == {pools._START, 0.5}


def test_time_starts_when_the_worker_is_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Preparing takes longer than the limit and its grace, which costs nobody anything."""
    monkeypatch.setattr(pools, "GRACE", 0.2)
    assert run([[1], [2]], work(Duty(square, slowly), seconds=0.2)) == {1: (1, 1), 2: (4, 1)}


def test_only_what_may_pass_is_tried_again() -> None:
    assert run([[7], [8], [1]], work()) == {7: (AccidentKind.FILE, 1), 8: (AccidentKind.MEMORY, 2), 1: (1, 1)}


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="five"):
        list(ProcessPool(work(), 2).run([[0], [5]]))


def test_groups_lose_no_more_than_the_task_that_ends_badly() -> None:
    """3 is left to be done alone, and 10 ends its group's worker before 12 is done."""
    found = run([[0, 1, 2, 3, 4], [6, 10, 12], [14]], work(Duty(square, together=even)))
    assert found == {k: (k * k, 1) for k in (0, 1, 2, 4, 6, 14)} | {
        3: (AccidentKind.KILLED, 2),
        10: (AccidentKind.KILLED, 2),
        12: (144, 2),
    }


def test_what_goes_wrong_after_the_last_reply_is_nobodys() -> None:
    groups = [[k, k + 1] for k in range(0, 40, 2)]
    assert run(groups, work(Duty(square, together=fails_late))) == {k: (k * k, 1) for k in range(40)}


def test_what_is_told_is_heard_before_the_end() -> None:
    heard: dict[int, list[Any]] = {}
    groups = [[k] for k in (1, 3, 7, 9, 10, 11)]
    pool = ProcessPool(work(seconds=0.5), 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pools, "GRACE", 0.0)
        list(pool.run(groups, lambda task, told: heard.setdefault(task, []).extend(told)))
    assert {task: set(told) for task, told in heard.items()} == {k: {f"begun {k}"} for k in (1, 3, 7, 9, 10, 11)}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_too_little_memory_is_said() -> None:
    with pytest.raises(InvalidInput, match="1 MiB of memory: workers do not start with so little .*holds [0-9]+ MiB"):
        list(ProcessPool(work(), 1, 1).run([[1]]))


def broken(line: Any, value: Any) -> None:
    raise ImportError("no such package here")


def test_workers_that_never_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advverify.verifier.parallel.worker.serve", broken)
    found = list(ProcessPool(work(), 2).run([[1], [2, 3]]))
    assert [task for task, _, _ in found] == [1, 2, 3]
    for _, reply, _ in found:
        assert isinstance(reply, Accident) and reply.kind is AccidentKind.START and "no such package" in reply.message


def test_a_fresh_interpreter_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """What systems without forks do; functions are found by name."""
    monkeypatch.setattr(pools, "FORKS", False)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    assert run([[1], [2]], Work(Duty(abs_of), lambda task: 60.0), jobs=1) == {1: (1, 1), 2: (2, 1)}


@pytest.mark.parametrize("threads", [1, 2])
def test_workers_compute_beside_a_process_that_has_computed_on_threads(threads: int) -> None:
    """A copy of a process whose pool of threads is in use waits for threads that it does not have."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        expected = product(2, lambda message: None)
        work: Work[int, float] = Work(Duty(product), lambda task: 5.0)
        pool = ProcessPool(work, 2, single_threaded=threads == 1)
        found = {task: reply for task, reply, _ in pool.run([[threads], [threads + 10]])}
    finally:
        torch.set_num_threads(before)
    assert found == {threads: expected, threads + 10: expected}


def product(task: int, tell: Tell) -> float:
    """Large enough for a pool of threads; tasks say how many there are."""
    torch.set_num_threads(task % 10)
    return float((torch.ones(600, 600) @ torch.ones(600, 600) + torch.ones(600, 600).exp()).sum().round())


def abs_of(task: int, tell: Tell) -> int:
    return abs(task)

"""Workers that die: their own task is lost, all others are done; what a task raises reaches the caller."""

import os
import time

import pytest

from advverify.verifier.parallel.pool import ProcessPool, Work


def square(task: int) -> int:
    """Task 3 kills its worker, always; task 5 is refused; the others take a moment."""
    if task == 3:
        os._exit(9)
    if task == 5:
        raise ValueError("five")
    time.sleep(0.05)
    return task * task


def lost(task: int, reason: str) -> int:
    assert "status 9" in reason
    return -task


WORK = Work(square, lost, lambda task: 60.0)


def test_a_dying_worker_costs_one_answer() -> None:
    got = list(ProcessPool(WORK, 2).run([0, 1, 2, 3, 4, 6]))
    assert {task: reply for task, reply, _ in got} == {0: 0, 1: 1, 2: 4, 3: -3, 4: 16, 6: 36}
    assert {attempts for task, _, attempts in got if task == 3} == {2}


def test_what_a_task_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="five"):
        list(ProcessPool(WORK, 2).run([0, 5]))

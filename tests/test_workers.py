"""Workers that die: their own query is lost, all others are answered, in order."""

import os
import time

from advverify.cli.workers import answers


def square(task: int) -> int:
    """Process 3 kills itself, always; the others take a moment."""
    if task == 3:
        os._exit(9)
    time.sleep(0.05)
    return task * task


def test_a_dying_worker_costs_one_answer() -> None:
    got = list(answers(square, list(range(8)), 2, lambda task: -task))
    assert got == [0, 1, 4, -3, 16, 25, 36, 49]
    assert list(answers(square, [1, 2], 1, lambda task: -1)) == [1, 4]

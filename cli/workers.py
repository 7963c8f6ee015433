"""Answers in order, from this process or from several; a worker that dies costs its own query and no other."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def answers(ask: Callable[[T], R], tasks: list[T], jobs: int, lost: Callable[[T], R]) -> Iterator[R]:
    """ask(task) for every task, in order.

    Args:
        ask: importable by name in a fresh process.
        tasks: what to ask about.
        jobs: processes; with 1 everything happens in this one.
        lost: the answer to a task whose worker died twice (killed for its memory, or crashed in a solver).
    """
    if jobs == 1:
        yield from map(ask, tasks)
        return
    context = multiprocessing.get_context("spawn")
    done: dict[int, R] = {}
    following, suspects = 0, list[int]()
    while following < len(tasks):
        # Nobody knows whose task broke a pool: those that were open then are asked again one by one.
        alone = bool(suspects)
        waiting = suspects[:1] if alone else [i for i in range(following, len(tasks)) if i not in done]
        pool = ProcessPoolExecutor(1 if alone else jobs, mp_context=context)
        futures: dict[int, Future[R]] = {i: pool.submit(ask, tasks[i]) for i in waiting}
        try:
            for i in waiting:
                done[i] = futures[i].result()
                while following in done:
                    yield done.pop(following)
                    following += 1
            suspects = suspects[1:]
        except BrokenProcessPool:
            done |= {i: f.result() for i, f in futures.items() if i >= following and f.done() and not f.exception()}
            if alone:
                done[suspects.pop(0)] = lost(tasks[waiting[0]])
            else:
                suspects = [i for i in waiting if i >= following and i not in done][:jobs]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        while following in done:
            yield done.pop(following)
            following += 1

"""Answers to requests, one after another in this process or from several processes at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from .outcome import Outcome, TraceEvent
from .parallel.accident import ACCIDENT, Accident
from .parallel.worker import Duty, Tell
from .request import Request, answer_all

Hear = Callable[[int, TraceEvent], None]


def answers(requests: Sequence[Request], jobs: int, hear: Hear | None = None) -> Iterator[tuple[int, Outcome]]:
    """Position and outcome of requests as they come; a worker that dies costs its own request only.

    What an accident leaves without an answer is `unknown` and has the label `accident`.

    Args:
        requests: what is asked.
        jobs: so many at once, each in a process of its own; 1 for this process.
        hear: called with the position of a request and a move of its bracket, while it is worked on.

    Yields:
        Position of a request and its outcome; in order in this process.

    Raises:
        InvalidInput: in this process, a request that makes no sense.
        Interrupted: by Ctrl-C in this process, with the outcome so far.
    """
    if jobs == 1:
        for k, request in enumerate(requests):
            yield k, request.answer(None if hear is None else partial(hear, k))
        return
    from .parallel.pool import ProcessPool, Work

    work: Work[Request, Outcome] = Work(Duty(_reply), lambda request: request.seconds)
    pool = ProcessPool(work, jobs, single_threaded=all(request.settings.threads == 1 for request in requests))
    positions = {id(request): k for k, request in enumerate(requests)}

    def told(request: Request, events: Sequence[TraceEvent]) -> None:
        if hear is not None:
            hear(positions[id(request)], events[-1])

    for request, found, attempts in pool.run([[request] for request in requests], told):
        if isinstance(found, Accident):
            reason = f"{found.message} (attempt {attempts})"
            found = request.unanswered(reason).labelled(**{ACCIDENT: found.kind.value})
        yield positions[id(request)], found


def answers_to_many(requests: Sequence[Request], jobs: int, hear: Hear | None = None) -> Iterator[tuple[int, Outcome]]:
    """As `answers`, for requests that differ in image and label alone: batches in this process settle what they can before.

    A GPU looks at those batches only.
    """
    left = set(range(len(requests)))
    for k, outcome in answer_all(requests, rest=jobs == 1, hear=hear):
        left.remove(k)
        yield k, outcome
    order = sorted(left)
    alone = [replace(requests[k], settings=replace(requests[k].settings, device="cpu")) for k in order]
    told: Hear | None = None if hear is None else lambda k, event: hear(order[k], event)
    for k, outcome in answers(alone, jobs, told):
        yield order[k], outcome


def _reply(request: Request, tell: Tell) -> Outcome:
    return request.answer(tell)

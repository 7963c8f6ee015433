"""Who listens hears the bracket of every query that is worked on, here and from processes, and answers stay what they are."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from networks import random_network

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.answers import answers, answers_to_many
from advverify.verifier.api import Model, certify_all
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.outcome import TraceEvent
from advverify.verifier.request import Command, Request
from advverify.verifier.specification import Threat

DIGITS = load_dataset("digits")


class Heard:
    """Moves of brackets by the position of their query."""

    def __init__(self) -> None:
        self.events: dict[int, list[TraceEvent]] = defaultdict(list)

    def __call__(self, position: int, event: TraceEvent) -> None:
        self.events[position].append(event)

    def check(self) -> None:
        """Lower sides never fall, upper sides never rise."""
        for events in self.events.values():
            for before, after in zip(events, events[1:], strict=False):
                assert before.lower <= after.lower and after.upper <= before.upper


def requests(command: Command, count: int, eps: float | None, **options: object) -> list[Request]:
    model = Model(path_of("digits-mlp"))
    settings = Settings(timeout=10, threads=1)
    return [
        Request(
            command,
            str(model.path),
            model.network.sha256,
            Threat("inf", eps),
            DIGITS.images[k],
            int(DIGITS.labels[k]),
            settings=settings,
            **options,  # type: ignore[arg-type]
        )
        for k in range(count)
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_distances(jobs: int) -> None:
    heard, asked = Heard(), requests("distance", 3, None)
    found = dict(answers(asked, jobs, heard))
    assert set(found) == {0, 1, 2} and heard.events
    heard.check()
    for position, events in heard.events.items():
        assert events[-1].lower <= found[position].lower and found[position].upper <= events[-1].upper
    if jobs == 1:
        assert {k: len(events) for k, events in heard.events.items()} == {k: len(found[k].trace) for k in found}


@pytest.mark.parametrize("jobs", [1, 2])
def test_verdicts_of_a_batch(jobs: int) -> None:
    """Those that batches settle are not heard of, the hard ones are; verdicts are the same as without a listener."""
    heard, asked = Heard(), requests("certify", 8, 0.085)
    found = dict(answers_to_many(asked, jobs, heard))
    assert {k: found[k].verdict for k in found} == {k: o.verdict for k, o in answers_to_many(asked, jobs)}
    heard.check()
    for position, events in heard.events.items():
        assert events[-1].lower <= found[position].lower and found[position].upper <= events[-1].upper


def test_the_hard_ones_of_certify_all_are_heard() -> None:
    network = random_network("mlp", 3)
    images = list(np.random.default_rng(0).random((12, network.input_size)))
    labels = predict(network, torch.tensor(np.stack(images))).tolist()
    for options in ({}, {"exact_margin": True}):
        heard = Heard()
        settings = Settings(timeout=10, threads=1)
        engines = ("propagate", "lp-split") if not options else ()
        asked = (network, images, labels, Threat("inf", 0.3))
        found = dict(certify_all(*asked, settings=settings, engines=engines, listener=heard, **options))  # type: ignore[arg-type]
        assert len(found) == 12
        heard.check()
        if options:
            assert set(heard.events) == set(range(12))
        for position, events in heard.events.items():
            assert found[position].lower >= events[-1].lower > -math.inf or events[-1].lower == -math.inf

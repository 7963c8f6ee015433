"""Who gets the time: searches that say how long they still need, and the rule that hands over to the next engine."""

import math

import numpy as np
import pytest
import torch
from networks import deep

from advverify.verifier import cascade
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound.relu.search import ReluSearch
from advverify.verifier.engines.branch_and_bound.relu.tree import Root
from advverify.verifier.engines.executor import NetworkExecutor
from advverify.verifier.engines.protocol import Resumable
from advverify.verifier.engines.state import SearchState
from advverify.verifier.network.evaluate import predict
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Threat, robustness


def opened(timeout: float = 60.0) -> SearchState:
    """The distance of a small network, with an adversarial example that is known to lie at 0.4 or nearer."""
    network = deep(0)
    image = np.full(6, 0.5)
    label = int(predict(network, torch.tensor(image[None])))
    specification = robustness(image, label, Threat("inf", 0.4, channels=1), 3)
    query = Query(network, specification, Objective.MIN_DISTORTION, None, False)
    return SearchState.open(query, Settings(timeout=timeout, threads=1), NetworkExecutor(network))


def test_what_a_search_still_needs() -> None:
    state = opened()
    search = ReluSearch([Root(state, subproblem, state.region_bounds) for subproblem in state.subproblems], "test")
    assert search.remaining() == math.inf  # nothing begun
    search.tree.push(0, search.bounds.undivided())
    search.course.points = [(0.0, 0.0), (1.0, 0.1), (2.0, 0.2), (4.0, 0.25)]
    assert search.remaining() == pytest.approx(3 * (0.4 - 0.25) / (0.25 - 0.1))
    search.course.points = [(1.0, 0.1), (2.0, 0.1), (4.0, 0.1)]
    assert search.remaining() == math.inf
    search.tree.pop(1, 1.0)
    search.course.points = [(1.0, 0.1), (2.0, 0.2)]
    assert search.remaining() == math.inf  # nothing open


class Climber:
    """Says so many times that it will arrive."""

    name = "climber"
    fraction = 1.0

    def __init__(self, turns: int, under_way: bool = True) -> None:
        self.turns, self.resumed, self.under_way = turns, 0, under_way

    def run(self, state: SearchState, deadline: float) -> None:
        raise AssertionError("it has run already")

    def arrives(self, state: SearchState) -> bool:
        return self.resumed < self.turns

    def resume(self, state: SearchState, deadline: float) -> None:
        assert deadline <= state.settings.timeout
        self.resumed += 1


def test_an_engine_keeps_the_others_waiting_while_it_will_arrive() -> None:
    state, engine = opened(), Climber(turns=2)
    assert isinstance(engine, Resumable)
    cascade._go_on(state, engine, "milp")
    assert engine.resumed == 2 and "handed_over" in state.statistics
    assert any("climber handed over to milp" in note for note in state.notes)


def test_nothing_is_handed_over_when_all_is_settled_or_time_is_out() -> None:
    for state in (opened(), opened(timeout=1e-9)):
        if state.time_left > 0:
            for subproblem in state.subproblems:
                state.raise_lower_bound(subproblem, 0.4, "test")
        engine = Climber(turns=2)
        cascade._go_on(state, engine, "milp")
        assert engine.resumed == 0 and not state.notes


def test_an_engine_that_does_not_apply_hands_nothing_over() -> None:
    state, engine = opened(), Climber(turns=2, under_way=False)
    cascade._go_on(state, engine, "milp")
    assert engine.resumed == 0 and not state.notes and not state.statistics

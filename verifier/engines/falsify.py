"""The falsifier: batched attacks on all open subproblems, then polishing of what they found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ..attacks import run
from ..attacks.greedy_l0 import GreedyL0
from ..attacks.minimal import minimal
from ..attacks.pgd import Pgd
from .attacking import attack_problem, found_points, guided, late, offer_ray
from .state import SearchState, Subproblem

_CHUNK = 128
_OFFERED = 8  # points that are judged, of each attack
_WEAK, _STRONG = Pgd(steps=25, restarts=2), Pgd(steps=40, restarts=4)  # for distances
_LARGE = 500  # ReLUs


class Falsify:
    """Moves the upper side only. A short attack on what CROWN left open: what it misses, alpha-CROWN often proves.

    Where three of its steps leave most of the violation, nine more would hardly ever find anything either.
    """

    name = "falsify"
    fraction = 0.25
    repeats = False
    attacks: tuple[Pgd | GreedyL0, ...] = (Pgd(steps=12, restarts=1, trial=3, hope=0.6),)
    sparse: tuple[Pgd | GreedyL0, ...] = (GreedyL0(),)  # for norm 0

    def run(self, state: SearchState, deadline: float) -> None:
        """Attack every open subproblem, in chunks; stop at the first counterexample of a feasibility query."""
        self.run_all([state], deadline)

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        """The same for several states, their subproblems in one batch."""
        if states[0].is_min_distortion:
            for state in states:
                self._nearest(state, deadline)
            return
        subproblems = [(state, subproblem) for state in states for subproblem in state.open_subproblems]
        for begin in range(0, len(subproblems), _CHUNK):
            for attack in self._attacks(states[0]):
                part = [
                    (s, subproblem)
                    for s, subproblem in subproblems[begin : begin + _CHUNK]
                    if not s.done and s.elapsed <= deadline
                ]
                if part:
                    self._attack(replace(attack, stop=late(part[0][0], deadline)), part)

    def _attacks(self, state: SearchState) -> tuple[Pgd | GreedyL0, ...]:
        """In turn."""
        return self.sparse if state.is_l0 else self.attacks

    def _attack(self, attack: Pgd | GreedyL0, subproblems: list[tuple[SearchState, Subproblem]]) -> None:
        """Whatever is most unsafe in each state is offered to it."""
        asked = [subproblem for _, subproblem in subproblems]
        seed = subproblems[0][0].settings.seed
        result = run(guided(attack, asked), attack_problem(subproblems[0][0], asked), seed)
        points, violation = found_points(result.points, asked), result.violation.tolist()
        own: dict[int, list[int]] = {}
        for row in sorted(range(len(subproblems)), key=violation.__getitem__):
            own.setdefault(id(subproblems[row][0]), []).append(row)
        for rows in own.values():
            for row in rows[:_OFFERED]:
                state, subproblem = subproblems[row]
                state.add_counterexample(points[row], self.name, subproblem.disjunct)

    def _nearest(self, state: SearchState, deadline: float) -> None:
        """The nearest unsafe points of every open subproblem, the best of them polished."""
        from .polish import polish, worth_polishing  # brings the MILP encoding with it

        polished = worth_polishing(state)  # then a weak attack will do
        open_ = state.open_subproblems
        for begin in range(0, len(open_), _CHUNK):
            if state.done or state.elapsed > deadline:
                return
            subproblems = open_[begin : begin + _CHUNK]
            attack = _WEAK if polished else _STRONG
            seed, stop = state.settings.seed, late(state, deadline)
            found = minimal(attack_problem(state, subproblems), attack=attack, seed=seed, first=True, stop=stop)
            order = [int(i) for i in found.distance.argsort() if bool(torch.isfinite(found.distance[i]))]
            points = found_points(found.points, subproblems)
            for i in order:
                offer_ray(state, points[i], self.name)
            for i in order[:3]:
                if state.elapsed < deadline:
                    polish(state, points[i], subproblems[i], self.name)


class FalsifyMore(Falsify):
    """Longer attacks with restarts, on what bound propagation left open."""

    name = "falsify-more"
    fraction = 0.05
    repeats = False
    attacks = (Pgd(steps=40, restarts=6), Pgd(steps=120, restarts=12))
    sparse = ()  # the tree over supports does better

    def _attacks(self, state: SearchState) -> tuple[Pgd | GreedyL0, ...]:
        """The longest one for large networks alone: on others a tree finds what it would, in no more time."""
        attacks = super()._attacks(state)
        return attacks if state.network.relu_count > _LARGE else attacks[:1]

    def run(self, state: SearchState, deadline: float) -> None:
        """Distances have had their long attack already."""
        if not state.is_min_distortion:
            super().run(state, deadline)

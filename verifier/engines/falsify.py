"""The falsifier: batched attacks on all open pairs, then polishing of what they found."""

from __future__ import annotations

import torch

from ..attacks import AttackProblem, run
from ..attacks.base import Attack
from ..attacks.minimal import minimal
from ..attacks.pgd import Pgd
from .state import Pair, SearchState

_CHUNK = 128


class Falsify:
    """Moves the upper side only. A short attack: what it misses, bound propagation mostly proves."""

    name = "falsify"
    attacks: tuple[Attack, ...] = (Pgd(steps=12, restarts=1),)

    def run(self, state: SearchState, deadline: float) -> None:
        """Attack every open pair, in chunks; stop at the first counterexample of a feasibility query."""
        pairs = state.open_pairs
        for begin in range(0, len(pairs), _CHUNK):
            part = pairs[begin : begin + _CHUNK]
            if state.done or state.elapsed > deadline:
                return
            if state.distances:
                problem = AttackProblem.build(state.network, [(pair.region, pair.polytope) for pair in part])
                self._nearest(state, problem, part, deadline)
                continue
            problem = AttackProblem.build(state.region_bounds.fast, [(pair.region, pair.polytope) for pair in part])
            for attack in self.attacks:
                result = run(attack, problem, state.settings.seed)
                order = result.violation.argsort()[:8]
                state.offer(result.points[order].double().cpu().numpy(), self.name)
                if state.done or state.elapsed > deadline:
                    return

    def _nearest(self, state: SearchState, problem: AttackProblem, pairs: list[Pair], deadline: float) -> None:
        found = minimal(problem, seed=state.settings.seed)
        order = [int(i) for i in found.distance.argsort() if bool(torch.isfinite(found.distance[i]))]
        for i in order:
            state.offer(found.points[i].cpu().numpy(), self.name)
        from .polish import polish  # brings the MILP encoding with it

        for i in order[:3]:
            if state.elapsed < deadline:
                polish(state, found.points[i].cpu().numpy(), pairs[i])


class FalsifyMore(Falsify):
    """Longer attacks with restarts, on what bound propagation left open."""

    name = "falsify-more"
    attacks = (Pgd(steps=40, restarts=6), Pgd(steps=120, restarts=12))

    def run(self, state: SearchState, deadline: float) -> None:
        """Distances have had their long attack already."""
        if not state.distances:
            super().run(state, deadline)

"""The falsifier: batched attacks on all open pairs, then polishing of what they found."""

from __future__ import annotations

import torch

from ..attacks import AttackProblem, run
from ..attacks.minimal import minimal
from ..attacks.pgd import Pgd
from .polish import polish
from .state import Pair, SearchState

_CHUNK = 128


class Falsify:
    """Moves the upper side only."""

    name = "falsify"

    def run(self, state: SearchState, deadline: float) -> None:
        """Attack every open pair, in chunks; stop at the first counterexample of a feasibility query."""
        pairs = state.open_pairs
        for begin in range(0, len(pairs), _CHUNK):
            if state.done or state.elapsed > deadline:
                return
            chunk = [(pair.region, pair.polytope) for pair in pairs[begin : begin + _CHUNK]]
            problem = AttackProblem.build(state.network, chunk)
            if state.distances:
                self._nearest(state, problem, pairs[begin : begin + _CHUNK], deadline)
                continue
            for attack in (Pgd(steps=20, restarts=2), Pgd(steps=60, restarts=6)):
                result = run(attack, problem, state.settings.seed)
                order = result.violation.argsort()[:8]
                state.offer(result.points[order].cpu().numpy(), self.name)
                if state.done or state.elapsed > deadline:
                    return

    def _nearest(self, state: SearchState, problem: AttackProblem, pairs: list[Pair], deadline: float) -> None:
        found = minimal(problem, seed=state.settings.seed)
        order = [int(i) for i in found.distance.argsort() if bool(torch.isfinite(found.distance[i]))]
        for i in order:
            state.offer(found.points[i].cpu().numpy(), self.name)
        for i in order[:3]:
            if state.elapsed < deadline:
                polish(state, found.points[i].cpu().numpy(), pairs[i])

"""Turns a verdict into a proof: finds the trees and multipliers that the checker needs to come to it by itself.

The prover works with the checker's own bounds - each step that is written is evaluated by the checker's code at once -
so a statement that goes through here is accepted later. First CROWN and one bound for each unsafe set; then a
short tree over ReLU phases; where few neurons are open, trees of LPs, one for each unsafe set; where these are too large,
lemmas on intermediate neurons (alpha-CROWN, then trees for single neurons, longer each time). For networks with few inputs
halved boxes, for l0 balls a choice of the pixels that change.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..bounds import Bounds, InputSet, Interval, ibp
from ..bounds.alpha_crown import AlphaCrown, raise_bounds
from ..bounds.backward import lower_and_upper
from ..bounds.neuron_split import NeuronSplit, NeuronTrees
from ..bounds.relu_columns import ReluColumns
from ..bounds.rounding import Losses, RoundingLoss
from ..checker.check import Case as CheckedCase
from ..checker.model_file import open_model
from ..checker.network import Network as CheckedNetwork
from ..checker.network import Rejected
from ..encoding import Formulation, MixedIntegerProgram, encode
from ..engines.branch_and_bound.relu.domain import Batch, Domain
from ..engines.branch_and_bound.relu.search import ReluSearch
from ..engines.branch_and_bound.relu.tree import Root
from ..engines.branch_and_bound.rows.engine import MOST_UNSTABLE
from ..engines.executor import NetworkExecutor
from ..engines.region_bounds import MANY_UNSTABLE, RegionBounds
from ..engines.settings import Settings
from ..engines.state import SearchState
from ..network.nodes import Max, Network, Relu
from ..norms import UnitBall
from ..query import Objective, Query
from ..solvers.dual_leaf import DualLeaf
from ..solvers.lp_tree import LpTree
from ..solvers.row_tree import RowTree
from ..specification import Disjunct, Specification
from .file import ProofFile, Unproved
from .leaf_duals import leaf_duals
from .parts import parts
from .program_goals import program_goal
from .question import remaining, statements
from .trees import Leaves, pack, single_rows

_PASSES = (None, 0.0, 1.0, 4.0, 16.0, 64.0)  # before each search: no lemmas, alpha-CROWN, seconds of neuron trees
_ROWS_SHARE = 0.4  # of the time left, at most, for a tree over all rows of an unsafe set
_PROGRAMS_SHARE = 0.5  # of the time left, at most, for trees of LPs after a pass
_SEARCH_SHARE = 0.5  # of the time spent on lemmas
_SHORTEST_SEARCH = 1.0
_GLANCE = 0.3  # the same where trees of LPs follow
_THRESHOLDS = (1e-6, 1e-3)  # violation that a leaf must reach, relative to 1: room for the checker's own arithmetic
_FEW_INPUTS = 20
_TREE_SECONDS = 2.0  # with few inputs, or over an l0 ball, before the region is parted
_LEMMA_ROWS = 256


def prove(query: Query, model: Path, seconds: float, about: dict[str, Any] | None = None) -> ProofFile:
    """A proof that no input of any region of a query reaches its unsafe set; the objective does not matter.

    Args:
        query: regions and unsafe sets; for a distance, balls of the radius to be proved.
        model: the ONNX file.
        seconds: when to give up.
        about: words for people, kept in the header.

    Raises:
        Unproved: the checker does not read this network, or time is out.
    """
    deadline = time.perf_counter() + seconds
    proof = ProofFile(query.network.sha256, about or {})
    try:
        network = CheckedNetwork(open_model(model)[0])
        sizes = [network.nodes[i].size for i in network.relus]
        if sizes != [query.network.nodes[i].size for i in query.network.relus]:
            raise Unproved("the checker reads only ReLUs as nonlinearities; this network has others")
        said = statements(query)
        if not said:
            raise Unproved("no output is unsafe: there is nothing to prove")
        disjuncts = [kept for kept in map(remaining, query.specification.disjuncts) if kept.unsafe]
        for disjunct, statement in zip(disjuncts, said, strict=True):
            entry = proof.add_case(statement)
            checked = CheckedCase(network, proof, str(len(proof.header["cases"]) - 1), entry)
            unsafe = [p.with_offset(offset) for p, (_, offset) in zip(disjunct.unsafe, checked.unsafe, strict=True)]
            _Prover(query.network, replace(disjunct, unsafe=tuple(unsafe)), proof, checked, deadline).run()
    except Rejected as error:
        raise Unproved(f"the checker objects: {error}") from error
    return proof


class _Prover:
    """One case."""

    def __init__(
        self, network: Network, disjunct: Disjunct, proof: ProofFile, checked: CheckedCase, deadline: float
    ) -> None:
        self.network, self.disjunct, self.proof, self.checked, self.deadline = (
            network,
            disjunct,
            proof,
            checked,
            deadline,
        )
        if not network.relus:  # nothing to split
            return
        self.known = RegionBounds(network, balls=False)  # the checker has none
        self.columns = ReluColumns(network)
        self.inputs = InputSet.from_regions([disjunct.region])

    def run(self) -> None:
        """Pass after pass, each with stronger lemmas and a longer search."""
        if self.network.relus and not self.checked.entry["float32"]:  # there the checker has done so already
            self._add({"kind": "crown"}, {})
        self._at_once()
        if not self.network.relus:  # nothing to split but the region
            for polytope in self._left:
                self._parts(polytope)
        if not self._left:
            return
        region = self.disjunct.region
        for polytope in self._left:
            if len(self.disjunct.unsafe[polytope].offset) > 1 and not region.is_l0 and not self.network.has_max:
                self._rows(polytope)
        if not self._left:
            return
        if region.is_l0 or (region.is_box and self.network.input_size <= _FEW_INPUTS):
            if self._goals(min(time.perf_counter() + _TREE_SECONDS, self.deadline)):
                return
            for polytope in self._left:
                self._parts(polytope)
            return
        spent = 0.0
        for seconds in _PASSES:
            began = time.perf_counter()
            if seconds is not None:
                self._lemmas(seconds)
            spent += time.perf_counter() - began
            last, shortest = seconds == _PASSES[-1], _GLANCE if self._has_programs else _SHORTEST_SEARCH
            limit = self.deadline if last else time.perf_counter() + max(shortest, _SEARCH_SHARE * spent)
            if self._goals(min(limit, self.deadline)) or self._programs():
                return
            if time.perf_counter() > self.deadline:
                break
        raise Unproved("no proof within the time limit")

    def _at_once(self) -> None:
        """One leaf for every unsafe set of which a single row is enough, without splits and with the default slopes."""
        last, unsafe = len(self.checked.network.nodes) - 1, self.checked.unsafe
        counts = [len(offset) for _, offset in unsafe]
        matrix = np.concatenate([matrix for matrix, _ in unsafe])
        offset = np.concatenate([offset for _, offset in unsafe])
        found = np.concatenate(
            [
                self.checked.relaxation.lower_bounds(
                    {last: matrix[part]}, -offset[part], self.checked.bounds, np.zeros(len(part), dtype=np.int64)
                )
                for part in np.array_split(np.arange(len(offset)), -(-len(offset) // _LEMMA_ROWS))
            ]
        )
        values = np.split(found, np.cumsum(counts)[:-1])
        polytopes = np.array([p for p, rows in enumerate(values) if rows.max() > 0], dtype=np.int32)
        if len(polytopes):
            best = np.array([values[p].argmax() for p in polytopes])
            own = [counts[p] for p in polytopes]
            empty = np.zeros((len(polytopes), 0), dtype=np.float32)
            leaves = Leaves(np.arange(len(polytopes)), empty.astype(np.int8), empty, empty, single_rows(best, max(own)))
            arrays = pack(leaves, np.zeros(0, np.int64), own)
            with suppress(Rejected):  # in other company a product may round to the other side of 0
                self._add({"kind": "goals", "refine": False}, {**arrays, "polytopes": polytopes})

    def _add(self, step: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """Write a step down and let the checker take it; a rejected step is taken back."""
        self.proof.add_step(step, arrays)
        try:
            self.checked.step()
        except Rejected:
            self.proof.drop_step()
            self.checked.done -= 1
            raise

    def _bounds(self) -> Bounds:
        """What the checker has proved so far."""
        intervals: dict[int, Interval] = {}
        for k, i in enumerate(self.network.relus):
            node = self.network.nodes[i]
            assert isinstance(node, Relu)
            found = Interval(
                torch.from_numpy(self.checked.bounds.lower[k]), torch.from_numpy(self.checked.bounds.upper[k])
            )
            intervals[node.input] = intervals[node.input].intersect(found) if node.input in intervals else found
        self._add_maxima(intervals)
        return Bounds(intervals, "checked")

    def _add_maxima(self, intervals: dict[int, Interval]) -> None:
        """What maxima read: ReLUs of known bounds, or affine nodes, whose intervals are computed."""
        for node in self.network.nodes:
            if isinstance(node, Max) and node.input not in intervals:
                source = self.network.nodes[node.input]
                if isinstance(source, Relu):
                    read = intervals[source.input]
                    intervals[node.input] = Interval(read.lower.clamp(min=0), read.upper.clamp(min=0))
                else:
                    intervals[node.input] = ibp(self.network, self.inputs)[node.input]

    @property
    def _left(self) -> list[int]:
        """Polytopes that no step excludes so far."""
        return [polytope for polytope in range(len(self.checked.unsafe)) if polytope not in self.checked.excluded]

    def _rows(self, polytope: int) -> None:
        """A tree over all rows of a polytope together, where they say something together."""
        unsafe, bounds = self.disjunct.unsafe[polytope], self._bounds()
        if not 0 < bounds.unstable_count(self.network) <= MOST_UNSTABLE:
            return
        program = encode(self.network, bounds, self.disjunct.region, (unsafe,), Objective.FEASIBILITY)
        until = time.perf_counter() + _ROWS_SHARE * (self.deadline - time.perf_counter())
        tree = RowTree(program)
        result = tree.search(until - time.perf_counter()) if tree.promises else None
        if result is not None and result.infeasible:
            self._closed(polytope, program, result.leaves)  # else searches by single rows may have more room

    @property
    def _has_programs(self) -> bool:
        """Whether there are LPs (none for maxima and balls of norms 2 and 0) that are small enough for trees of them."""
        ball = self.disjunct.region.ball
        flat = ball is None or ball.norm.unit_ball not in (UnitBall.EUCLIDEAN, UnitBall.COUNT)
        return flat and not self.network.has_max and self._bounds().unstable_count(self.network) <= MANY_UNSTABLE

    def _programs(self) -> bool:
        """Trees of LPs, one for each unsafe set that is left, which are exact where bound propagation has to ascend.

        Returns whether nothing is left.
        """
        if self._has_programs:
            bounds = self._bounds()  # what is excluded on the way does not change them
            end = time.perf_counter() + _PROGRAMS_SHARE * (self.deadline - time.perf_counter())
            for polytope in self._left:
                if time.perf_counter() >= end:
                    break
                try:
                    self._program(polytope, bounds, end)
                except RuntimeError:  # the solver failed: lemmas and other searches may do without it
                    break
        return not self._left

    def _program(self, polytope: int, bounds: Bounds, until: float) -> None:
        """A tree of LPs over one unsafe set."""
        unsafe = self.disjunct.unsafe[polytope]
        form = Formulation(substitute=True)
        program = encode(self.network, bounds, self.disjunct.region, (unsafe,), Objective.MAX_MARGIN, form)
        tree = LpTree(program)
        for room in reversed(_THRESHOLDS):
            seconds = until - time.perf_counter()
            if seconds <= 0:
                return
            found = tree.minimum(seconds, room, visit=partial(_shallow, program, room), keep=True)
            if not found.finished and found.objective >= room:  # time is out; else less room may be enough
                return
            if found.leaves is not None and self._closed(polytope, program, found.leaves):
                return

    def _closed(self, polytope: int, program: MixedIntegerProgram, leaves: Sequence[DualLeaf]) -> bool:
        """Whether the checker excludes an unsafe set by the leaves of a tree over its program."""
        rows = len(self.disjunct.unsafe[polytope].offset)
        arrays = pack(program_goal(self.network, program, leaves, rows), self._unstable(self.columns), [rows])
        try:
            step = {"kind": "goals", "refine": False, "passed": True}
            self._add(step, {**arrays, "polytopes": np.array([polytope], dtype=np.int32)})
        except Rejected:
            return False  # a leaf had too little room for the checker's arithmetic
        return True

    def _goals(self, limit: float) -> bool:
        """Searches over ReLU phases; whether one came to an end that the checker accepts."""
        for threshold in _THRESHOLDS:
            search = self._search(limit, threshold)
            if search is None:
                return False
            try:
                self._write(search)
            except Rejected:
                continue  # a leaf had too little room for the checker's arithmetic
            return True
        return False

    def _search(self, limit: float, threshold: float) -> ReluSearch | None:
        """A finished search, or None where time ran out."""
        left = tuple(self.disjunct.unsafe[polytope] for polytope in self._left)
        specification = Specification((replace(self.disjunct, unsafe=left),))
        query = Query(self.network, specification, Objective.FEASIBILITY)
        settings = Settings(timeout=max(limit - time.perf_counter(), 0.01), threads=torch.get_num_threads())
        state = SearchState.open(query, settings, NetworkExecutor(self.network))
        self.known.learn(self.disjunct.region, self._bounds())
        roots = [Root(state, subproblem, self.known) for subproblem in state.subproblems]
        search = ReluSearch(roots, "proof", threshold=threshold, closed=[])
        search.run(settings.timeout)
        return None if search.tree.heap or state.witness is not None else search

    def _write(self, search: ReluSearch) -> None:
        """The leaves of a finished search as goals."""
        assert search.closed is not None
        domains = [domain for _, domain in search.closed]
        batch = Batch.of([subproblem for subproblem, _ in search.closed], domains, siblings=False)
        assert batch.alpha is not None and batch.beta is not None  # all have been bounded
        pick = torch.tensor([domain.row for domain in domains])
        lines = torch.arange(len(domains))
        left = self._left
        counts = [len(self.disjunct.unsafe[polytope].offset) for polytope in left]
        betas = batch.beta[lines, pick].numpy()
        self._finish(search.closed, batch.phases.numpy(), betas)
        leaves = Leaves(
            batch.subproblems.numpy(),
            batch.phases.numpy(),
            batch.alpha[lines, pick].numpy(),
            betas,
            single_rows(pick.numpy(), max(counts)),
        )
        arrays = pack(leaves, self._unstable(self.columns), counts)
        arrays["polytopes"] = np.array(left, dtype=np.int32)
        split = bool((leaves.phases != 0).any())
        self._add({"kind": "goals", "refine": search.bounds.refine and split}, arrays)

    def _finish(self, closed: list[tuple[int, Domain]], phases: NDArray[np.int8], betas: NDArray[np.float32]) -> None:
        """Exact multipliers where all phases are known but ascent has not come to an end."""
        for k, (subproblem, domain) in enumerate(closed):
            if domain.bound <= 0 and not domain.branches and not self.network.has_max:
                split = np.flatnonzero(phases[k])
                row = self.checked.unsafe[self._left[subproblem]][0][domain.row]
                betas[k, split] = leaf_duals(self.checked.network, self.checked.region, domain.implied, split, row)

    def _unstable(self, columns: ReluColumns, before: int | None = None) -> NDArray[np.int64]:
        """Numbers of the neurons (before a node) whose sign is open."""
        masks = self._bounds().unstable_relus(self.network, before)
        flat = torch.cat([mask[0] for mask in masks.values()]) if masks else torch.zeros(0, dtype=torch.bool)
        return torch.nonzero(flat).squeeze(-1).numpy()

    def _lemmas(self, seconds: float) -> None:
        """Bounds on the open neurons of every layer, in order; `seconds` of trees for single neurons, or none."""
        end = min(time.perf_counter() + seconds, self.deadline)
        for k, i in enumerate(self.network.relus):
            node = self.network.nodes[i]
            assert isinstance(node, Relu)
            bounds = self._bounds()
            neurons = torch.nonzero(bounds[node.input].unstable[0]).squeeze(-1)
            if len(self._unstable(self.columns, i)) == 0 or len(neurons) == 0:
                continue
            losses = RoundingLoss.of(self.known.bounding_network, self.inputs, bounds)
            parts = neurons.split(_LEMMA_ROWS)
            for p, part in enumerate(parts):
                if time.perf_counter() > self.deadline:
                    return
                if seconds > 0:
                    left = (end - time.perf_counter()) / (len(self.network.relus) - k) / (len(parts) - p)
                    self._trees(k, i, part, bounds, losses, left)
                else:
                    self._ascents(k, i, part, bounds, losses)

    def _ascents(self, k: int, relu: int, neurons: Tensor, bounds: Bounds, losses: Losses) -> None:
        """One leaf for each side of each neuron."""
        node = self.network.nodes[relu]
        assert isinstance(node, Relu)
        start = lower_and_upper(self.known.bounding_network, node.input, neurons[None], losses[node.input])
        best = raise_bounds(
            self.known.bounding_network,
            self.inputs,
            start,
            bounds,
            options=AlphaCrown(steps=10),
            threshold=torch.inf,
            float32_network=self.known.float32_network,
            losses=losses,
        )
        count = 2 * len(neurons)
        slopes = self.columns.flat(best.multipliers.alpha, (1, count))[0].numpy()
        empty = np.zeros((count, self.columns.count))
        leaves = Leaves(np.arange(count), empty.astype(np.int8), slopes, empty.astype(np.float32))
        self._lemma(k, relu, neurons, leaves)

    def _trees(self, k: int, relu: int, neurons: Tensor, bounds: Bounds, losses: Losses, seconds: float) -> None:
        """A tree for each side of each neuron."""
        node = self.network.nodes[relu]
        assert isinstance(node, Relu)
        forest = NeuronTrees(
            self.known.bounding_network,
            self.inputs,
            bounds,
            node.input,
            neurons,
            NeuronSplit(),
            self.known.float32_network,
            losses,
        )
        forest.grow(time.perf_counter() + max(seconds, 0.0))
        tree, leaf = torch.nonzero(torch.isfinite(forest.bound), as_tuple=True)

        def spread(columns: Tensor) -> NDArray[Any]:
            by_node = forest.columns.by_node(columns[tree, leaf])
            return self.columns.flat(by_node, (len(tree),)).numpy()

        phases = spread(forest.phases).astype(np.int8)
        self._lemma(k, relu, neurons, Leaves(tree.numpy(), phases, spread(forest.alpha), spread(forest.beta)))

    def _lemma(self, k: int, relu: int, neurons: Tensor, leaves: Leaves) -> None:
        arrays = pack(leaves, self._unstable(self.columns, relu))
        half = len(neurons)
        arrays["neurons"] = np.tile(neurons.numpy(), 2).astype(np.int32)
        arrays["sides"] = np.repeat(np.array([1, -1], dtype=np.int8), half)
        self._add({"kind": "lemmas", "relu": k, "refine": False}, arrays)

    def _parts(self, polytope: int) -> None:
        """Part the input region until CROWN settles every part."""
        arrays = parts(self.checked, polytope, self.deadline)
        self._add({"kind": "boxes", "polytope": polytope}, arrays)


def _shallow(program: MixedIntegerProgram, room: float, point: NDArray[np.float64]) -> bool:
    """Whether a point shows that a program's optimum is less than a proof needs."""
    return program.objective(point) < room

"""Branch and bound for single neurons: what MIP-based tightening (OBBT) gives, in batches and without a solver.

A neuron whose sign is open after alpha-CROWN gets a small tree of its own, over the phases of earlier ReLUs, for each
of its two bounds; the worst leaf of every tree is split in every round, all trees in one batch. The bound is the
minimum over the leaves, so it only rises. The inputs at which bounds are attained are executed as well: a tree whose
bound comes near to what its neuron really takes there has no more to give. Widths matter as much as signs do: the
bounds of every later layer are made of them.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from ..network.evaluate import evaluate_all
from ..network.nodes import Network
from ..parallel.fork import Team
from .alpha_crown import AlphaCrown, Multipliers, raise_bounds
from .backward import Start, lower_and_upper
from .bounds import Bounds, Interval
from .branching import slack
from .inputs import InputSet
from .relu_columns import ReluColumns
from .rounding import Losses, RoundingLoss

_LEAF_ENTRIES = 1 << 26  # most multipliers remembered at once
_SHARE, _WORTH_A_COPY = 8, 0.1  # neurons, at least, for each process, and seconds for all of them
_DOMAIN_ENTRIES = 1 << 22  # most coefficients on the largest node in one batch


@dataclass(frozen=True)
class NeuronSplit:
    """Options: seconds for all neurons together, most rounds of splitting, ascent steps a leaf, domains bounded at once,

    the relative gap to what a neuron really takes at which its tree is content, and copies of the process that help.
    """

    seconds: float = 1.0
    rounds: int = 512
    steps: int = 3
    batch: int = 1024
    gap: float = 0.03
    helpers: int = 0


def tighten_node(
    network: Network,
    inputs: InputSet,
    bounds: Bounds,
    node: int,
    seconds: float,
    options: NeuronSplit | None = None,
    float32_network: Network | None = None,
    losses: Losses | None = None,
) -> Bounds:
    """Bounds with the open neurons of one node tightened for so many seconds; for one region (a batch of one).

    `losses` are those of this region or of a larger one; computed where not given.
    """
    options = options or NeuronSplit()
    deadline = time.perf_counter() + seconds
    interval = bounds[node]
    neurons = torch.nonzero(interval.unstable[0]).squeeze(-1)
    splittable = any(bool(mask.any()) for mask in bounds.unstable_relus(network, node).values())
    if len(neurons) == 0 or seconds <= 0 or not splittable:
        return bounds
    losses = losses or RoundingLoss.of(network, inputs, bounds)

    def grown(share: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Neurons whose trees were grown, and what these prove."""
        found = []
        parts = share.split(max(1, options.batch // 4))
        for k, part in enumerate(parts):
            left = deadline - time.perf_counter()
            if left <= 0:
                break
            forest = NeuronTrees(network, inputs, bounds, node, part, options, float32_network, losses)
            forest.grow(time.perf_counter() + left / (len(parts) - k))
            found.append((part, forest.value))
        return found

    lower, upper = interval.lower.clone(), interval.upper.clone()
    count = min(options.helpers + 1, max(1, len(neurons) // _SHARE)) if seconds >= _WORTH_A_COPY else 1
    with Team(grown, count - 1) as team:
        replies = team.work([neurons[k::count] for k in range(count)])
    for part, values in itertools.chain.from_iterable(replies):
        lower[0, part] = torch.maximum(lower[0, part], values[: len(part)])
        upper[0, part] = torch.minimum(upper[0, part], -values[len(part) :])
    return bounds.tighten(Bounds({node: Interval(lower, upper)}, "neuron-split"))


class NeuronTrees:
    """One tree for each side of each neuron; leaves in tensors (trees, leaves, ...)."""

    def __init__(
        self,
        network: Network,
        inputs: InputSet,
        bounds: Bounds,
        node: int,
        neurons: Tensor,
        options: NeuronSplit,
        float32_network: Network | None,
        losses: Losses,
    ) -> None:
        self.network, self.inputs, self.bounds, self.node, self.neurons = network, inputs, bounds, node, neurons
        self.options, self.float32_network, self.losses = options, float32_network, losses
        start = lower_and_upper(network, node, neurons.unsqueeze(0), losses[node])
        self.start = Start({j: w[0].unsqueeze(1) for j, w in start.weights.items()}, start.offset[0].unsqueeze(1))
        unstable = torch.cat([mask[0] for mask in bounds.unstable_relus(network, node).values()])
        self.columns = ReluColumns(network, node, torch.nonzero(unstable).squeeze(-1))
        self.leaves = 0
        trees = 2 * len(neurons)
        self.phases = torch.zeros(trees, 0, self.columns.count, dtype=torch.int8)
        self.alpha = torch.zeros(trees, 0, self.columns.count)
        self.beta = torch.zeros(trees, 0, self.columns.count)
        self.bound = torch.zeros(trees, 0, dtype=torch.float64)
        self.branch = torch.zeros(trees, 0, dtype=torch.long)
        self.attained = torch.full((trees,), torch.inf, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        """What is proved, (trees,)."""
        return self.bound.amin(1)

    def grow(self, deadline: float) -> None:
        """Bound the roots, then split the worst leaf of every open tree, round by round, until `time.perf_counter()`."""
        trees = torch.arange(len(self.attained))
        self._widen()
        self._store(trees, torch.zeros_like(trees), self.phases[:, 0], None, torch.full((len(trees),), -torch.inf))
        for _ in range(self.options.rounds):
            value, worst = self.bound.min(1)
            verified = value >= 0
            verified |= verified.roll(len(verified) // 2)  # by the neuron's other tree
            exact = value >= self.attained - self.options.gap * self.attained.abs()
            open_ = ~verified & ~exact & (self.branch[trees, worst] >= 0)
            if time.perf_counter() > deadline or self.phases.numel() > _LEAF_ENTRIES or not bool(open_.any()):
                return
            tree, leaf = trees[open_], worst[open_]
            parent = self.phases[tree, leaf]
            split = self.branch[tree, leaf].unsqueeze(-1)
            active = parent.scatter(1, split, torch.ones_like(split, dtype=torch.int8))
            inactive = parent.scatter(1, split, -torch.ones_like(split, dtype=torch.int8))
            fresh = torch.full_like(tree, self.leaves)
            known = (self.alpha[tree, leaf].repeat(2, 1), self.beta[tree, leaf].repeat(2, 1))
            floor = self.bound[tree, leaf].repeat(2)
            self._widen()
            self._store(tree.repeat(2), torch.cat([leaf, fresh]), torch.cat([active, inactive]), known, floor)

    def _widen(self) -> None:
        """Room for one more leaf in every tree; what is not used looks settled."""
        if self.leaves == self.bound.shape[1]:
            more = max(4, self.leaves)
            self.phases = _longer(self.phases, more, 0)
            self.alpha, self.beta = _longer(self.alpha, more, 0), _longer(self.beta, more, 0)
            self.bound, self.branch = _longer(self.bound, more, torch.inf), _longer(self.branch, more, -1)
        self.leaves += 1

    def _store(
        self, tree: Tensor, leaf: Tensor, phases: Tensor, known: tuple[Tensor, Tensor] | None, floor: Tensor
    ) -> None:
        largest = max(n.size for n in self.network.nodes[: self.node])
        batch = max(1, min(self.options.batch, _DOMAIN_ENTRIES // largest))
        for part in torch.arange(len(tree)).split(batch):
            multipliers = None if known is None else (known[0][part], known[1][part])
            self._bound(tree[part], leaf[part], phases[part], multipliers, floor[part])

    def _bound(
        self, tree: Tensor, leaf: Tensor, phases: Tensor, known: tuple[Tensor, Tensor] | None, floor: Tensor
    ) -> None:
        """Bound leaves with the given phases and write them down."""
        count = len(tree)
        inputs = self.inputs.expand(count)
        by_node = self.columns.by_node(phases)
        bounds = self.bounds.expand(count).clipped(self.network, by_node)
        multipliers = None
        if known is not None:
            alpha, beta = (self.columns.by_node(t.unsqueeze(1)) for t in known)
            multipliers = Multipliers(alpha, beta)
        best = raise_bounds(
            self.network,
            inputs,
            self.start.select(tree),
            bounds,
            by_node,
            multipliers,
            AlphaCrown(steps=self.options.steps),
            0.0,
            self.float32_network,
            self.losses,
        )
        found = best.multipliers
        with torch.no_grad():
            network = self.float32_network or self.network
            values = evaluate_all(network, best.point[:, 0].to(network.dtype), self.node + 1)
            self._execute(tree, values[self.node])
        weights = {i: w[:, 0] for i, w in best.form.at_output.items()}
        scores = slack(self.network, bounds, weights, {i: a[:, 0] for i, a in found.alpha.items()}, values, self.node)
        highest, branch = scores[:, self.columns.chosen].max(-1)
        self.bound[tree, leaf] = torch.maximum(best.bound[:, 0], floor)
        self.phases[tree, leaf] = phases
        self.branch[tree, leaf] = torch.where(highest >= 0, branch, -1)
        self.alpha[tree, leaf] = self.columns.flat(found.alpha, (count, 1))[:, 0]
        self.beta[tree, leaf] = self.columns.flat(found.beta, (count, 1))[:, 0]

    def _execute(self, tree: Tensor, values: Tensor) -> None:
        """Note the lowest values that the trees' functions really take."""
        half = len(self.attained) // 2
        neuron = self.neurons[tree % half]
        value = values[torch.arange(len(tree)), neuron].to(torch.float64)
        value = torch.where(tree < half, value, -value)
        self.attained.scatter_reduce_(0, tree, value, "amin")


def _longer(values: Tensor, more: int, fill: float) -> Tensor:
    """More entries along the second axis."""
    shape = (values.shape[0], more, *values.shape[2:])
    return torch.cat([values, torch.full(shape, fill, dtype=values.dtype)], 1)

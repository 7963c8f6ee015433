"""What one neuron of a convolutional network sees: a network of the size of its receptive field, the same at every place.

A backward pass for a neuron of an early convolution touches a few percent of the neurons and pixels before it. All
neurons of such a node are therefore bounded on one small network, each as a member of a batch whose inputs and bounds
are cut out at its place. Beyond the borders of an image the original network reads zeros: the window's inputs are 0
there, and its ReLUs have both bounds 0, so that no relaxation lets anything through. The linear form of a window is that
of the whole network, with nothing outside the window: nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..network.nodes import Affine, Input, Max, Network, Node, Relu, predecessors
from ..network.operators import Conv2d, Dense, Operator, Select
from .backward import Relaxation, Start, backward, lower_and_upper
from .bounds import Bounds, Interval
from .halfspace import HalfSpaces
from .inputs import InputSet
from .relaxation import ReluRelaxation
from .rounding import Losses

_WORTH = 0.35  # a window pays where it has at most this share of the entries that the whole network has
_DENSE = 16  # up to so many times its entries, a convolution of a window is faster as a matrix


@dataclass(frozen=True)
class _Field:
    """The part of a node's image that is seen: rows and columns [first, last) relative to `scale` times a place."""

    first: tuple[int, int]
    last: tuple[int, int]
    scale: tuple[int, int]

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return self.last[0] - self.first[0], self.last[1] - self.first[1]

    def union(self, other: _Field) -> _Field | None:
        """The smallest field that holds both, where both move alike."""
        if self.scale != other.scale:
            return None
        first = min(self.first[0], other.first[0]), min(self.first[1], other.first[1])
        last = max(self.last[0], other.last[0]), max(self.last[1], other.last[1])
        return _Field(first, last, self.scale)

    def read_by(self, operator: Conv2d) -> _Field:
        """What a convolution reads to fill this field."""

        def axis(a: int) -> tuple[int, int, int]:
            stride, pad, reach = operator.stride[a], operator.pads[a], operator.dilation[a] * (_kernel(operator)[a] - 1)
            return self.first[a] * stride - pad, (self.last[a] - 1) * stride - pad + reach + 1, self.scale[a] * stride

        (top, bottom, down), (left, right, across) = axis(0), axis(1)
        return _Field((top, left), (bottom, right), (down, across))


@dataclass(frozen=True, eq=False)
class ReceptiveField:
    """The small network of a node; its last node holds all channels at one place.

    Attributes:
        network: its nodes are those of the whole network that are seen, in the same order.
        nodes: which ones, by number in the whole network.
        entries: for each of them (places, size), the entry of the whole node that is seen; -1 beyond the borders.
    """

    network: Network
    nodes: tuple[int, ...]
    entries: tuple[Tensor, ...]

    @property
    def places(self) -> int:
        """Places of the node's image."""
        return len(self.entries[-1])

    def lower_bounds(
        self,
        inputs: InputSet,
        index: Tensor,
        relaxations: Mapping[int, Relaxation],
        losses: Losses,
    ) -> Tensor:
        """What `backward` and the regions' minimum prove for `lower_and_upper` of neurons (batch, rows); (batch, 2 rows).

        Args:
            inputs: regions, a batch.
            index: neurons of the node.
            relaxations: of the whole network's ReLUs.
            losses: of its passes.
        """
        local: dict[int, Relaxation] = {}
        for k, node in enumerate(self.nodes):
            relaxation = relaxations.get(node)
            if isinstance(self.network.nodes[k], Relu):
                assert isinstance(relaxation, ReluRelaxation)
                lines = relaxation.lower_slope, relaxation.upper_slope, relaxation.upper_offset
                lower, upper, offset = self._cut(k, index, *(line.squeeze(1) for line in lines))
                local[k] = ReluRelaxation(lower.unsqueeze(1), upper.unsqueeze(1), offset.unsqueeze(1))
        start = self.start(index, losses)
        form = backward(self.network, start, local, losses=self.losses(losses, index))
        if inputs.boxed:
            return sides(self.inputs(inputs, index).minimum(form.coefficients, form.offset), index)
        offset = sides(form.offset, index)
        spread = form.coefficients.new_zeros(*offset.shape, inputs.lower.shape[1])
        coefficients = form.coefficients.view(*index.shape, 2, -1).transpose(1, 2).flatten(1, 2)
        seen = self.entries[0][index % self.places].repeat(1, 2, 1)
        kept = torch.where(seen >= 0, coefficients, 0.0)
        return inputs.minimum(spread.scatter_add_(-1, seen.clamp(min=0), kept), offset)

    def inputs(self, inputs: InputSet, index: Tensor) -> InputSet:
        """The boxes that neurons (batch, rows) see, a batch of batch * rows, with the half-spaces' shadows in them.

        What is seen of {f x + g <= 0} is {f' x' + g + least <= 0}, with the least value over the box of what f adds outside.
        """
        lower, upper = self._cut(0, index, inputs.lower, inputs.upper)
        seen = InputSet(lower, upper)
        if inputs.halfspace is None:
            return seen
        f = inputs.halfspace.coefficients
        terms = torch.minimum(f * inputs.lower, f * inputs.upper)
        part, inside = self._cut(0, index, f, terms)
        size = (f.abs() * torch.maximum(inputs.lower.abs(), inputs.upper.abs())).sum(-1) + inputs.halfspace.offset.abs()
        rounding = size * (4 * f.shape[1] + 8) * 2.0**-53
        offset = (inputs.halfspace.offset + terms.sum(-1) - rounding).unsqueeze(1) - inside.sum(-1).view(index.shape)
        return seen.within(HalfSpaces(part, offset.flatten()))

    def bounds(self, bounds: Bounds, index: Tensor) -> Bounds:
        """The bounds before the node that neurons (batch, rows) see."""
        found = {}
        for k, node in enumerate(self.nodes[:-1]):
            if node in bounds:
                found[k] = Interval(*self._cut(k, index, bounds[node].lower, bounds[node].upper))
        return Bounds(found, bounds.source)

    def losses(self, losses: Losses, index: Tensor) -> Losses:
        """The rounding losses that neurons (batch, rows) see; a window's passes round no more than the network's."""
        count, rows = index.shape
        vectors = [self._cut(k, index, losses[node].expand(count, -1))[0] for k, node in enumerate(self.nodes)]
        return Losses(vectors, losses.floor.expand(count).repeat_interleave(rows))

    def start(self, index: Tensor, losses: Losses) -> Start:
        """Each of the neurons (batch, rows) and its negative, as two rows of a batch of batch * rows."""
        last = len(self.nodes) - 1
        (loss,) = self._cut(last, index, losses[self.nodes[last]].expand(len(index), -1))
        return lower_and_upper(self.network, last, (index // self.places).reshape(-1, 1), loss)

    def _cut(self, k: int, index: Tensor, *values: Tensor) -> list[Tensor]:
        """Each (batch, size) of a whole node to (batch * rows, entries seen), 0 beyond the borders."""
        seen = self.entries[k][index % self.places].flatten(1)
        inside, at = seen >= 0, seen.clamp(min=0)
        width = self.entries[k].shape[1]
        return [torch.where(inside, value.gather(1, at), 0.0).reshape(-1, width) for value in values]


def sides(values: Tensor, index: Tensor) -> Tensor:
    """(batch * rows, 2) to (batch, 2 rows): the first side of all neurons, then the second."""
    return values.view(*index.shape, 2).transpose(1, 2).flatten(1)


_known: WeakKeyDictionary[Network, dict[int, ReceptiveField | None]] = WeakKeyDictionary()


def receptive_field_of(network: Network, node: int) -> ReceptiveField | None:
    """The window of a node's neurons, or None where there is none that pays; made once."""
    windows = _known.setdefault(network, {})
    if node not in windows:
        windows[node] = _receptive_field(network, node)
    return windows[node]


def _receptive_field(network: Network, node: int) -> ReceptiveField | None:
    shapes: dict[int, tuple[int, int, int]] = {}
    fields = {node: _Field((0, 0), (1, 1), (1, 1))}
    for i in range(node, -1, -1):  # every reader of a node comes after it
        if i not in fields:
            continue
        reads = _reads(network, i, fields[i], shapes, inner=i != node)
        if reads is None:
            return None
        for j, field in reads:
            joined = fields[j].union(field) if j in fields else field
            if joined is None:
                return None
            fields[j] = joined
    seen = sum(shapes[i][0] * field.sides[0] * field.sides[1] for i, field in fields.items())
    if len(fields) < 3 or seen > _WORTH * sum(network.nodes[i].size for i in fields):
        return None
    nodes = tuple(sorted(fields))
    parts = [_part(network.nodes[i], i, fields, nodes, shapes) for i in nodes]
    local = Network(tuple(parts), (shapes[0][0], *fields[0].sides))
    entries = tuple(_entries(fields[i], shapes[i], shapes[node]).to(network.device) for i in nodes)
    return ReceptiveField(local, nodes, entries)


def _reads(
    network: Network, i: int, field: _Field, shapes: dict[int, tuple[int, int, int]], inner: bool
) -> list[tuple[int, _Field]] | None:
    """What a node reads to fill its field, or None where it is not part of a convolutional network.

    An affine node before the last must be read by ReLUs alone: only they turn what lies beyond the borders into zeros.
    """
    node = network.nodes[i]
    match node:
        case Input():
            return []
        case Max():
            return None
        case Relu():
            if shapes.setdefault(node.input, shapes[i]) != shapes[i]:
                return None
            return [(node.input, field)]
        case Affine():
            readers = [reader for reader in network.nodes[i + 1 :] if i in predecessors(reader)]
            if inner and not all(isinstance(reader, Relu) for reader in readers):
                return None
            shape = next((op.out_shape for op in node.operators if isinstance(op, Conv2d)), None)
            if shape is None or shapes.setdefault(i, shape) != shape:
                return None
            reads = []
            for j, operator in zip(node.inputs, node.operators, strict=True):
                match operator:
                    case Conv2d(out_shape=out, in_shape=read) if out == shape:
                        reads.append((j, field.read_by(operator)))
                    case Select(is_identity=True):
                        read = shape
                        reads.append((j, field))
                    case _:
                        return None
                if shapes.setdefault(j, read) != read:
                    return None
            channels = node.bias.view(shape[0], -1)
            return reads if bool((channels == channels[:, :1]).all()) else None


def _part(
    node: Node,
    i: int,
    fields: Mapping[int, _Field],
    nodes: tuple[int, ...],
    shapes: Mapping[int, tuple[int, int, int]],
) -> Node:
    """A node cut down to its field."""
    channels, field = shapes[i][0], fields[i]
    size = channels * field.sides[0] * field.sides[1]
    match node:
        case Input():
            return Input(size, node.name)
        case Relu():
            return Relu(nodes.index(node.input), size, node.name)
        case Affine():
            operators = tuple(
                _operator(operator, field, fields[j], shapes[j][0])
                for j, operator in zip(node.inputs, node.operators, strict=True)
            )
            bias = node.bias.view(channels, -1)[:, 0].repeat_interleave(size // channels)
            return Affine(tuple(nodes.index(j) for j in node.inputs), operators, bias, node.name)
        case Max():
            raise AssertionError("windows hold no maxima")


def _operator(operator: Operator, field: _Field, read: _Field, channels: int) -> Operator:
    """An operator from one field to another; negative paddings cut off what others read and this one does not."""
    shape = channels, *read.sides
    if isinstance(operator, Conv2d):
        needed = field.read_by(operator)
        before = needed.first[0] - read.first[0], needed.first[1] - read.first[1]
        after = read.last[0] - needed.last[0], read.last[1] - needed.last[1]
        pads = -before[0], -before[1], -after[0], -after[1]
        local = Conv2d(operator.weight, shape, operator.stride, pads, operator.dilation, operator.groups)
        if local.in_size > _DENSE * operator.weight[0].numel():
            return local
        unit = torch.eye(local.in_size, dtype=operator.weight.dtype, device=operator.weight.device)
        return Dense(local.apply(unit).T.contiguous())  # its zeros add no roundings to those of a convolution
    assert isinstance(operator, Select)
    entries = torch.arange(channels * read.sides[0] * read.sides[1], device=operator.index.device).view(shape)
    top, left = field.first[0] - read.first[0], field.first[1] - read.first[1]
    kept = entries[:, top : top + field.sides[0], left : left + field.sides[1]]
    return Select(kept.flatten(), entries.numel())


def _entries(field: _Field, shape: tuple[int, int, int], target: tuple[int, int, int]) -> Tensor:
    """(places, size): which entry of the whole node each entry of its field is, -1 beyond the borders."""
    channels, height, width = shape
    rows = _axis(field, 0, target[1])[:, None, :, None]
    columns = _axis(field, 1, target[2])[None, :, None, :]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    flat = torch.where(inside, rows * width + columns, -1).flatten(0, 1).flatten(1)
    whole = flat[:, None, :] + torch.arange(channels)[None, :, None] * (height * width)
    return torch.where(flat[:, None, :] >= 0, whole, -1).flatten(1)


def _axis(field: _Field, axis: int, places: int) -> Tensor:
    """(places, side): positions along an axis."""
    start = torch.arange(places)[:, None] * field.scale[axis]
    return start + torch.arange(field.first[axis], field.last[axis])[None, :]


def _kernel(operator: Conv2d) -> tuple[int, int]:
    return int(operator.weight.shape[2]), int(operator.weight.shape[3])

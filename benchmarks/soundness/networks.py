"""Small networks that are nasty on purpose: pruned, doubled, dead, tied, badly scaled, constant, pooled, normalised."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from .build import Builder, Value

Array = np.ndarray


class Source:
    """Random shapes and weights, all from one seed."""

    def __init__(self, rng: random.Random) -> None:
        """Draw the number of inputs, of outputs, and whether weights are short binary fractions."""
        self.rng = rng
        self.numbers = np.random.default_rng(rng.randrange(1 << 62))
        self.inputs = rng.choice((1, 1, 2, 2, 2, 3, 3, 4))
        self.outputs = rng.choice((2, 2, 3, 4))
        self.short = rng.random() < 0.5

    def width(self) -> int:
        """ReLUs of a layer: fewer where inputs are many, because the pieces are all enumerated."""
        return self.rng.randint(2, {1: 8, 2: 7, 3: 5, 4: 4}[self.inputs])

    def weights(self, *shape: int) -> Array:
        """Normal weights."""
        drawn = self.numbers.normal(size=shape) * self.rng.choice((0.5, 1.0, 2.0))
        found: Array = (np.round(drawn * 16) / 16 if self.short else drawn).astype(np.float32)
        return found

    def begin(self) -> Builder:
        """A builder of a network of vectors."""
        return Builder((self.inputs,), self.rng.random() < 0.2)

    def hidden(self, b: Builder, x: Value) -> Value:
        """A layer of ReLUs."""
        weights = self.weights(self.width(), x.size)
        return b.relu(b.gemm(x, weights, self.bias(weights), self.rng.randrange(3)))

    def bias(self, weights: Array) -> Array:
        """Normal, or such that every neuron has its kink at a point of its own in [0, 1]."""
        if self.rng.random() < 0.4:
            return self.weights(len(weights))
        points = np.round(self.numbers.random(weights.shape) * 16) / 16
        bias: Array = (-(weights * points).sum(1)).astype(np.float32)
        return bias

    def last(self, b: Builder, x: Value, ending: str = "", scale: float = 1.0) -> Builder:
        """The output layer."""
        weights, bias = scale * self.weights(self.outputs, x.size), scale * self.weights(self.outputs)
        b.finish(b.gemm(x, weights, bias, self.rng.randrange(3)), ending, self.rng.choice(("", "", "", "Identity")))
        return b


def plain(s: Source) -> Builder:
    """One or two layers of ReLUs."""
    b = s.begin()
    x = s.hidden(b, b.input)
    return s.last(b, s.hidden(b, x) if s.rng.random() < 0.5 else x)


def linear(s: Source) -> Builder:
    """No ReLU at all."""
    b = s.begin()
    x = b.input if s.rng.random() < 0.5 else b.gemm(b.input, s.weights(3, s.inputs), s.weights(3))
    return s.last(b, x)


def pruned(s: Source) -> Builder:
    """A layer, or most of one, of zeros: in a row, or in one of two branches."""
    b = s.begin()
    width = s.width()
    weights = s.weights(width, s.inputs)
    bias = s.bias(weights)
    how = s.rng.randrange(4)
    if how == 0:  # a whole layer
        weights[:] = 0
        return s.last(b, b.relu(b.gemm(b.input, weights, bias)))
    if how == 1:  # some neurons
        weights[: max(1, width // 2)] = 0
        bias[: max(1, width // 2)] = s.rng.choice((0, 1, -1))
        return s.last(b, b.relu(b.gemm(b.input, weights, bias)))
    if how == 2:  # one of two branches
        x = b.relu(b.gemm(b.input, weights, bias))
        zero = b.relu(b.gemm(b.input, np.zeros((2, s.inputs)), s.rng.choice((0, 1)) * s.weights(2)))
        return s.last(b, b.concat([x, zero]))
    x = b.relu(b.gemm(b.input, weights, bias))  # one of two layers, past which there is a way
    zero = b.relu(b.gemm(x, np.zeros((width, width)), np.zeros(width)))
    return s.last(b, b.add(x, zero))


def doubled(s: Source) -> Builder:
    """Every neuron twice, or the same layer twice."""
    b = s.begin()
    width = max(2, s.width() // 2 + 1)
    weights = s.weights(width, s.inputs)
    bias = s.bias(weights)
    if s.rng.random() < 0.5:
        return s.last(b, b.relu(b.gemm(b.input, np.concatenate([weights] * 2), np.concatenate([bias] * 2))))
    one, two = (b.relu(b.gemm(b.input, weights, bias)) for _ in range(2))
    return s.last(b, b.concat([one, two]) if s.rng.random() < 0.5 else b.add(one, two, s.rng.choice((1, -1))))


def settled(s: Source) -> Builder:
    """ReLUs that are always on, always off, or just so (zero at a corner of the input range)."""
    b = s.begin()
    width = s.width()
    weights = s.weights(width, s.inputs)
    bias = s.bias(weights)
    reach = np.abs(weights).sum(1)
    how = s.numbers.integers(4, size=width)
    corner = -np.minimum(weights, 0).sum(1)  # least value of W x over [0, 1]
    bias = np.choose(how, [bias, bias + 10 * reach, bias - 10 * reach, corner]).astype(np.float32)
    x = b.relu(b.gemm(b.input, weights, bias))
    return s.last(b, s.hidden(b, x) if s.rng.random() < 0.3 else x)


def ties(s: Source) -> Builder:
    """Small integers: outputs, neurons and distances tie."""
    b = s.begin()
    width = s.width()
    draw = s.numbers.integers
    x = b.relu(b.gemm(b.input, draw(-2, 3, size=(width, s.inputs)), draw(-2, 3, size=width)))
    if s.rng.random() < 0.4:
        x = b.relu(b.gemm(x, draw(-2, 3, size=(width, width)), draw(-2, 3, size=width)))
    b.finish(b.gemm(x, draw(-2, 3, size=(s.outputs, width)), draw(-2, 3, size=s.outputs)))
    return b


def scales(s: Source) -> Builder:
    """Layers of scales from 1e-6 to 1e6, which cancel or not."""
    b = s.begin()
    width, power = s.width(), s.rng.choice((-6, -4, -3, 3, 4, 6))
    weights, bias = s.weights(width, s.inputs) * 10.0**power, s.weights(width) * 10.0**power
    x = b.relu(b.gemm(b.input, weights, bias))
    return s.last(b, x, scale=10.0**-power if s.rng.random() < 0.6 else 1.0)


def rows(s: Source) -> Builder:
    """Neurons of one layer whose scales differ by up to 1e8."""
    b = s.begin()
    width = s.width()
    factor = 10.0 ** s.numbers.integers(-4, 5, size=width)
    weights, bias = s.weights(width, s.inputs) * factor[:, None], s.weights(width) * factor
    x = b.relu(b.gemm(b.input, weights, bias))
    b.finish(b.gemm(x, s.weights(s.outputs, width) / factor, s.weights(s.outputs)))
    return b


def kinks(s: Source) -> Builder:
    """Every ReLU is exactly 0 at (1/2, ..., 1/2), where images of this kind lie."""
    b = s.begin()
    width = s.width()
    weights = (s.numbers.integers(-16, 17, size=(width, s.inputs)) / 8).astype(np.float32)
    return s.last(b, b.relu(b.gemm(b.input, weights, -weights.sum(1) / 2)))


def constant(s: Source) -> Builder:
    """Outputs that do not depend on the input, or all but one of them."""
    b = s.begin()
    x = s.hidden(b, b.input)
    weights = np.zeros((s.outputs, x.size), dtype=np.float32)
    if s.rng.random() < 0.5:
        weights[s.rng.randrange(s.outputs)] = s.weights(x.size)
    b.finish(b.gemm(x, weights, s.weights(s.outputs)))
    return b


def single(s: Source) -> Builder:
    """One output."""
    s.outputs = 1
    return plain(s)


def _ended(s: Source, ending: str) -> Builder:
    b = s.begin()
    x = s.hidden(b, b.input)
    if ending == "Sigmoid" and s.rng.random() < 0.5:
        s.outputs = 1
    shift = s.rng.choice((0.0, 0.0, 3.0, -3.0))  # the same of all logits changes no probability
    weights, bias = s.weights(s.outputs, x.size), s.weights(s.outputs) + (shift if ending != "Sigmoid" else 0)
    b.finish(b.gemm(x, weights, bias), ending, s.rng.choice(("", "", "Identity", "Reshape")))
    return b


def softmax(s: Source) -> Builder:
    """Softmax at the end."""
    return _ended(s, "Softmax")


def log_softmax(s: Source) -> Builder:
    """LogSoftmax at the end."""
    return _ended(s, "LogSoftmax")


def sigmoid(s: Source) -> Builder:
    """Sigmoid at the end."""
    return _ended(s, "Sigmoid")


def _image(s: Source) -> Builder:
    s.inputs = s.rng.choice((2, 3, 4))
    return Builder({2: (1, 1, 2), 3: (1, 1, 3), 4: (1, 2, 2)}[s.inputs], s.rng.random() < 0.2)


def convolved(s: Source) -> Builder:
    """A tiny convolution."""
    b = _image(s)
    size = (2, 2) if s.inputs == 4 else (1, 2)
    channels = s.rng.randint(1, 2)
    pad = s.rng.choice((0, 1)) if s.inputs == 4 and channels == 1 else 0
    x = b.relu(b.conv(b.input, s.weights(channels, 1, *size), s.weights(channels), pad, pad + 1))
    return s.last(b, b.flatten(x))


def max_pooled(s: Source) -> Builder:
    """A max pool, of a convolution's values or of ReLUs."""
    b = _image(s)
    channels = 1 if s.inputs == 4 else 2
    x = b.conv(b.input, s.weights(channels, 1, 1, 1), s.weights(channels))
    if s.rng.random() < 0.5:
        x = b.relu(x)
    return s.last(b, b.flatten(b.pool(x, "MaxPool", (1, 2))))


def mean_pooled(s: Source) -> Builder:
    """A mean pool."""
    b = _image(s)
    x = b.relu(b.conv(b.input, s.weights(1, 1, 1, 1), s.weights(1)))
    return s.last(b, b.flatten(b.pool(x, "AveragePool", (1, 2))))


def residual(s: Source) -> Builder:
    """A way past a layer."""
    b = s.begin()
    width = min(s.width(), 3 if s.inputs > 2 else 4)
    first = b.relu(b.gemm(b.input, s.weights(width, s.inputs), s.weights(width)))
    x = b.add(first, b.gemm(first, s.weights(width, width), s.weights(width)), s.rng.choice((1, -1)))
    return s.last(b, b.relu(x))


def branched(s: Source) -> Builder:
    """Two branches, one of them the input itself or a linear layer, concatenated."""
    b = s.begin()
    one = s.hidden(b, b.input)
    two = b.input if s.rng.random() < 0.5 else b.gemm(b.input, s.weights(2, s.inputs), s.weights(2))
    return s.last(b, b.concat([one, two]))


def normalised(s: Source) -> Builder:
    """Normalisation of the input (Sub and Div), of a hidden layer, or a BatchNormalization."""
    b = s.begin()
    how = s.rng.randrange(3)
    x = b.input
    if how == 1:
        x = b.scaled(x, 2.0 ** s.numbers.integers(-2, 3, size=x.size), s.weights(x.size), 0)
    elif how == 2:  # a constant that is not short would be divided inexactly
        scale = 2.0 ** s.numbers.integers(-2, 3, size=x.size)
        x = b.scaled(x, scale, s.numbers.integers(-8, 9, size=x.size) / 8, 1)
    width = s.width()
    x = b.gemm(x, s.weights(width, x.size), s.weights(width))
    if how == 0:
        x = b.scaled(x, s.weights(width), s.weights(width), 2)
    return s.last(b, b.relu(x))


def chained(s: Source) -> Builder:
    """Layers without an activation in between, whose product cancels but for little."""
    b = s.begin()
    width, large, little = s.width(), 2.0 ** s.rng.choice((3, 8, 13)), 2.0 ** -s.rng.choice((0, 10, 20, 30))
    weights, one = s.weights(width, s.inputs), np.eye(width)
    x = b.gemm(b.input, np.concatenate([weights, large * weights, -large * weights]), np.zeros(3 * width))
    blocks = [little * one, large * one, large * one]
    if s.rng.random() < 0.5:  # the order decides which term a sum loses
        blocks = [blocks[1], little * one, blocks[2]]
        x = b.gemm(x, np.kron(np.eye(3)[[1, 0, 2]], one), np.zeros(3 * width))
    x = b.relu(b.gemm(x, np.concatenate(blocks, 1), little * s.bias(weights)))
    return s.last(b, x, scale=min(1 / little, 1e6) if s.rng.random() < 0.7 else 1.0)


def tiny(s: Source) -> Builder:
    """Weights near and below the smallest numbers of float32, in one layer or in all."""
    b = s.begin()
    power = s.rng.choice((12, 20, 30, 37, 41))
    width = s.width()
    weights = s.weights(width, s.inputs)
    x = b.relu(b.gemm(b.input, weights * 10.0**-power, s.bias(weights) * 10.0**-power))
    if s.rng.random() < 0.5:  # beside neurons of the usual size
        x = b.concat([x, s.hidden(b, b.input)])
    return s.last(b, x, scale=s.rng.choice((1.0, 1e4, 10.0 ** -min(power, 20))))


Maker = Callable[[Source], Builder]
NETWORKS: dict[str, Maker] = {
    "plain": plain,
    "linear": linear,
    "pruned": pruned,
    "doubled": doubled,
    "settled": settled,
    "ties": ties,
    "scales": scales,
    "rows": rows,
    "kinks": kinks,
    "constant": constant,
    "single": single,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "sigmoid": sigmoid,
    "convolved": convolved,
    "max_pooled": max_pooled,
    "mean_pooled": mean_pooled,
    "residual": residual,
    "branched": branched,
    "normalised": normalised,
    "chained": chained,
    "tiny": tiny,
}


def kind_of(number: int) -> str:
    """The kind of the network of a case."""
    return list(NETWORKS)[number % len(NETWORKS)]


def make(kind: str, rng: random.Random) -> Builder:
    """A network of a kind."""
    return NETWORKS[kind](Source(rng))

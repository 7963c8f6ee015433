"""Does the reading of a file compute what onnxruntime computes? Compared on inputs, within what rounding explains.

An affine node that a runtime executes is off by at most gamma(n) (|A| |x| + |b|) for n roundings, in any order of
summation (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2). Sent through the network by |A| these
errors bound the difference of every output (`worst`), but in deep networks by far too much. So they are also sent as
standard deviations of independent errors (`likely`, by the squares of A's entries), and of 64 such and the bound itself
the smaller one is allowed. Both come from the network before anything is folded: what cancels in a folded weight
(a normalisation whose mean and bias are large) does not cancel in an execution.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidModel
from .evaluate import evaluate
from .nodes import Affine, Input, Max, Network, Relu
from .onnx_runtime import OnnxExecutor
from .operators import Select

_FOLDED = 16  # roundings that a runtime may add to a node by what it folds at load time
_LIKELY = 64.0  # standard deviations
_LARGE = 1 << 20  # entries of all nodes together: from here on fewer inputs are tried
_OVERFLOW = {"float32": 2.0**126, "float64": 2.0**1022}
_UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
_PROBABILITY = 1e-5  # error of a runtime's own exponential function, relative to a largest probability of 1


@dataclass(frozen=True)
class Rounding:
    """How far an execution may be from the exact values of a network, for each output of each input.

    Attributes:
        worst: a bound.
        likely: a standard deviation, for independent errors.
        largest: (batch,) the largest number that may occur.
    """

    worst: Tensor
    likely: Tensor
    largest: Tensor


class Agreement:
    """Compares a network with the file it was read from."""

    def __init__(self, network: Network, plain: Network, executor: OnnxExecutor, dtype: str = "") -> None:
        """Of a network, the same before it was simplified, the file's executor, and the narrowest type that it computes in."""
        self.network, self.plain, self.executor = network, plain, executor
        self.dtype = dtype or network.input_dtype

    def check(self) -> None:
        """Compare on inputs of all kinds.

        Raises:
            InvalidModel: the two disagree by more than rounding explains, or an execution overflows in the data range.
        """
        rng, n = np.random.default_rng(0), self.network.input_size
        plain = [rng.random(n), np.zeros(n)]
        if sum(node.size for node in self.network.nodes) < _LARGE:
            plain += [np.ones(n), rng.integers(0, 2, n).astype(np.float64), rng.random(n) * 2 - 1, rng.random(n)]
        self.check_on(np.stack(plain))
        self._compare(np.stack([rng.normal(size=n) * 10.0]), overflow=True)

    def check_on(self, inputs: np.ndarray) -> None:
        """Compare on given inputs, (batch, inputs).

        Raises:
            InvalidModel: as `check`.
        """
        self._compare(np.asarray(inputs, dtype=np.float64).reshape(-1, self.network.input_size), overflow=False)

    def _compare(self, inputs: np.ndarray, overflow: bool) -> None:
        kind = self.dtype
        x = torch.from_numpy(inputs.astype(self.executor.dtype).astype(np.float64))
        with torch.no_grad(), np.errstate(all="ignore"):
            rounding = rounding_errors(self.plain, x, kind)
            ours = evaluate(self.network, x).numpy()
        kept = (rounding.largest < _OVERFLOW[kind]).numpy()
        if not kept.all():
            if not overflow:
                raise InvalidModel(f"{self.executor.path}: executing the network may overflow its own precision")
            x, ours = x[kept], ours[kept]
        if not len(x):
            return
        worst, likely = rounding.worst.numpy()[kept], rounding.likely.numpy()[kept]
        likely = np.where(np.isfinite(likely), likely, np.inf)  # squares may be too large for numbers
        allowed = np.minimum(worst, _LIKELY * likely) * 2 + 1e-30
        self._same(self.executor.logits(x.numpy()), ours, allowed)
        if self.network.ending:
            self._same(self.executor.run(x.numpy()), *ending_of(self.network.ending, ours, allowed))

    def _same(self, theirs: np.ndarray, ours: np.ndarray, allowed: np.ndarray) -> None:
        why = ""
        if theirs.shape != ours.shape:
            why = f"{theirs.shape[1]} outputs, {ours.shape[1]} were read"
        else:
            wrong = ~(np.abs(theirs - ours) <= allowed)
            if wrong.any():
                row, k = np.argwhere(wrong)[0]
                why = f"output {k} is {theirs[row, k]:.6g}, {ours[row, k]:.6g} was read"
        if why:
            raise InvalidModel(
                f"{self.executor.path}: onnxruntime computes something else than what was read ({why}); please report it"
            )


def ending_of(ending: str, logits: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What an ending makes of logits, and how far it may be off when they are."""
    if ending == "Sigmoid":
        with np.errstate(over="ignore"):
            return 1.0 / (1.0 + np.exp(-logits)), np.minimum(allowed / 4, 1.0) + _PROBABILITY
    shifted = logits - logits.max(-1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    spread = 2 * allowed.max(-1, keepdims=True)
    if ending == "LogSoftmax":
        return logs, spread + _PROBABILITY * (1 + np.abs(logs) + np.abs(logits).max(-1, keepdims=True))
    values = np.exp(logs)
    return values, values * np.expm1(np.minimum(spread, 50.0)) + _PROBABILITY


def rounding_errors(network: Network, x: Tensor, kind: str) -> Rounding:
    """Errors of an execution in float32 or float64 on inputs (batch, inputs) that are exact in it."""
    unit, smallest = _UNIT[kind], 1.0 / _OVERFLOW[kind]
    values: list[Tensor] = []
    worst: list[Tensor] = []
    squares: list[Tensor] = []
    largest = x.abs().amax(-1)
    for node in network.nodes:
        match node:
            case Input():
                values.append(x)
                worst.append(torch.zeros_like(x))
                squares.append(torch.zeros_like(x))
            case Affine():
                pairs = list(zip(node.inputs, node.operators, strict=True))
                value = sum((o.apply(values[j]) for j, o in pairs), node.bias.expand(len(x), -1))
                size = sum((o.absolute.apply(values[j].abs()) for j, o in pairs), node.bias.abs().expand(len(x), -1))
                off = sum((o.absolute.apply(worst[j]) for j, o in pairs), torch.zeros_like(value))
                square = sum((o.squared().apply(squares[j]) for j, o in pairs), torch.zeros_like(value))
                if not all(isinstance(o, Select) for _, o in pairs) or len(pairs) > 1 or bool(node.bias.any()):
                    roundings = sum(o.fan_in for _, o in pairs) + len(pairs) + _FOLDED
                    share = roundings * unit / (1 - roundings * unit) if roundings * unit < 0.5 else float("inf")
                    own = share * (size + off) + 2 * roundings * smallest
                    off, square = off + own, square + own**2
                values.append(value)
                worst.append(off)
                squares.append(square)
                largest = torch.maximum(largest, (size + off).amax(-1).nan_to_num(float("inf")))
            case Relu():
                value, off, square = values[node.input], worst[node.input], squares[node.input]
                values.append(value.clamp(min=0))
                worst.append(torch.where(value + off < 0, 0.0, off))
                squares.append(torch.where(value + _LIKELY * square.sqrt() < 0, 0.0, square))
            case Max():
                values.append(values[node.input][:, node.windows].amax(-1))
                worst.append(worst[node.input][:, node.windows].amax(-1))
                squares.append(squares[node.input][:, node.windows].amax(-1))
            case _:
                assert_never(node)
    return Rounding(worst[-1], squares[-1].sqrt(), largest)

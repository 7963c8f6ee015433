"""Executions of the checker's reading of a network in float32, as products and sums in several orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from advverify.verifier.checker.network import Network

Sum = Callable[[np.ndarray], np.ndarray]
SINGLE = np.float32


def left_to_right(terms: np.ndarray) -> np.ndarray:
    """Sums over the last axis, one term after the other."""
    return np.add.accumulate(terms, axis=-1, dtype=SINGLE)[..., -1]


def from_the_largest(terms: np.ndarray) -> np.ndarray:
    """Large terms first: what is small is lost."""
    return left_to_right(np.take_along_axis(terms, np.argsort(-np.abs(terms), axis=-1), -1))


def negative_first(terms: np.ndarray) -> np.ndarray:
    """All that is negative before all that is positive: the largest partial sums."""
    return left_to_right(np.sort(terms, axis=-1))


ORDERS: dict[str, Sum] = {
    "left to right": left_to_right,
    "largest first": from_the_largest,
    "negative first": negative_first,
}


def _matrix(term: Any, size: int) -> np.ndarray:
    """A linear map of the checker, written out."""
    return np.asarray(term.apply(np.eye(size)).T)


def execute(network: Network, x: np.ndarray, order: Sum) -> np.ndarray:
    """One input in float32, every node as products and a sum in some order."""
    values = [x.astype(SINGLE)]
    for node in network.nodes[1:]:
        if node.relu >= 0:
            values.append(np.maximum(values[node.relu], SINGLE(0)))
        elif node.pool >= 0:
            values.append(values[node.pool][node.windows].max(-1))
        else:
            parts = [node.bias.astype(SINGLE)[:, None]]
            for j, term in node.terms:
                parts.append(_matrix(term, network.nodes[j].size).astype(SINGLE) * values[j])
            values.append(order(np.concatenate(parts, axis=1)))
    return values[-1].astype(np.float64)

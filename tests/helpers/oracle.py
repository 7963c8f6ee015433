"""Ground truth by brute force: every activation pattern of a tiny network, one LP or QP each.

Written against numpy, scipy and Clarabel only, from the definition of the problem, with no code of the verifier's engines. No LP is
solved where a row taken alone, over the box that is left, says that there is nothing to be found: most cells end there.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import clarabel
import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from advverify.verifier.network.nodes import Affine, Input, Max, Network, Relu


@dataclass
class Cell:
    """One activation pattern: output = matrix x + constant where rows x <= limit."""

    matrix: np.ndarray
    constant: np.ndarray
    rows: np.ndarray
    limit: np.ndarray


_SLACK = 1e-9  # what misses a row by less is no reason to leave a cell out

Matrices = dict[int, list[np.ndarray]]


@functools.lru_cache(maxsize=4)
def cells(network: Network) -> list[Cell]:
    """All cells, feasible or not."""
    dense: Matrices = {
        i: [operator.to_sparse().toarray() for operator in node.operators]
        for i, node in enumerate(network.nodes)
        if isinstance(node, Affine)
    }
    choices: list[list[tuple[int, ...]]] = []
    for node in network.nodes:
        if isinstance(node, Relu):
            choices.append(list(itertools.product((0, 1), repeat=node.size)))
        elif isinstance(node, Max):
            choices.append(list(itertools.product(range(node.windows.shape[1]), repeat=node.size)))
    return [_cell(network, dense, combination) for combination in itertools.product(*choices)]


def _cell(network: Network, dense: Matrices, combination: tuple[tuple[int, ...], ...]) -> Cell:
    n = network.input_size
    values: list[tuple[np.ndarray, np.ndarray]] = []
    rows, limit = [np.zeros((0, n))], [np.zeros(0)]
    picks = iter(combination)
    for i, node in enumerate(network.nodes):
        match node:
            case Input():
                values.append((np.eye(n), np.zeros(n)))
            case Affine():
                matrix, constant = np.zeros((node.size, n)), node.bias.numpy().copy()
                for j, weight in zip(node.inputs, dense[i], strict=True):
                    matrix, constant = matrix + weight @ values[j][0], constant + weight @ values[j][1]
                values.append((matrix, constant))
            case Relu():
                on = np.array(next(picks), dtype=float)
                matrix, constant = values[node.input]
                sign = 1 - 2 * on  # active: -h <= 0, inactive: h <= 0
                rows.append(sign[:, None] * matrix)
                limit.append(-sign * constant)
                values.append((on[:, None] * matrix, on * constant))
            case Max():
                pick = next(picks)
                matrix, constant = values[node.input]
                windows = node.windows.numpy()
                winner = windows[np.arange(node.size), list(pick)]
                for g in range(node.size):
                    for other in windows[g]:
                        rows.append((matrix[other] - matrix[winner[g]])[None])
                        limit.append(np.array([constant[winner[g]] - constant[other]]))
                values.append((matrix[winner], constant[winner]))
    return Cell(*values[-1], np.concatenate(rows), np.concatenate(limit))


@functools.lru_cache(maxsize=4)
def _stacked(network: Network) -> tuple[np.ndarray, np.ndarray]:
    """Rows (cells, rows, inputs) and limits of all cells."""
    every = cells(network)
    return np.stack([cell.rows for cell in every]), np.stack([cell.limit for cell in every])


def _least(rows: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The least value of rows over a box."""
    least: np.ndarray = np.where(rows > 0, rows * lower, rows * upper).sum(-1)
    return least


def met(network: Network, lower: np.ndarray, upper: np.ndarray) -> list[Cell]:
    """The cells that a box may meet: none of their rows, taken alone, excludes it."""
    rows, limit = _stacked(network)
    meets: np.ndarray = np.all(_least(rows, lower, upper) <= limit + _SLACK, axis=-1)
    return [cell for cell, there in zip(cells(network), meets, strict=True) if there]


def worst_margin(network: Network, lower: np.ndarray, upper: np.ndarray, label: int) -> float:
    """min over the box of y_label - max of the others."""
    rows = [row for k, row in enumerate(_differences(label, network.output_size)) if k != label]
    return min(lowest(network, lower, upper, row) for row in rows)


def _differences(label: int, outputs: int) -> np.ndarray:
    """Rows whose products with the outputs are y_label - y_k."""
    rows = -np.eye(outputs)
    rows[:, label] += 1.0
    return rows


def lowest(network: Network, lower: np.ndarray, upper: np.ndarray, row: np.ndarray) -> float:
    """min over the box of row . output."""
    best = np.inf
    for cell in met(network, lower, upper):
        cost, constant = row @ cell.matrix, row @ cell.constant
        if _least(cost, lower, upper) + constant >= best:
            continue
        result = linprog(cost, cell.rows, cell.limit, bounds=list(zip(lower, upper, strict=True)))
        if result.status == 0:
            best = min(best, result.fun + constant)
    return float(best)


def nearest(network: Network, center: np.ndarray, label: int, norm: str, channels: int = 1) -> float:
    """Distance from the center to the nearest x in [0, 1]^n with another class on top or tied; inf if there is none.

    For norm 0, `channels` entries a pixel, plane after plane.
    """
    best, inside = np.inf, met(network, np.zeros(len(center)), np.ones(len(center)))
    for cell in sorted(inside, key=lambda cell: float((cell.rows @ center - cell.limit).max(initial=-np.inf))):
        for k in range(len(cell.constant)):
            if k != label:
                row = (cell.matrix[label] - cell.matrix[k])[None]
                rows = np.concatenate([cell.rows, row])
                limit = np.append(cell.limit, cell.constant[k] - cell.constant[label])
                reach = np.inf if norm == "0" else best  # balls of the other norms lie in the box of their radius
                box = np.maximum(center - reach, 0.0), np.minimum(center + reach, 1.0)
                if _meets(rows, limit, *box):
                    best = min(best, _distance(rows, limit, center, norm, best, channels))
    return float(best)


def _meets(rows: np.ndarray, limit: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> bool:
    """Whether no row, taken alone, says that a box holds nothing."""
    return bool((_least(rows, lower, upper) <= limit + _SLACK).all())


def _distance(rows: np.ndarray, limit: np.ndarray, center: np.ndarray, norm: str, best: float, channels: int) -> float:
    n = len(center)
    box = [(0.0, 1.0)] * n
    if norm == "0":
        pixels = n // channels
        if linprog(np.zeros(n), rows, limit, bounds=box).status != 0:
            return np.inf  # nor with fewer free entries
        for k in range(pixels + 1):
            if k >= best:
                return np.inf
            for free in itertools.combinations(range(pixels), k):
                freed = np.isin(np.arange(n) % pixels, free)
                if not _meets(rows, limit, np.where(freed, 0.0, center), np.where(freed, 1.0, center)):
                    continue
                bounds = [(0.0, 1.0) if i % pixels in free else (center[i], center[i]) for i in range(n)]
                if linprog(np.zeros(n), rows, limit, bounds=bounds).status == 0:
                    return float(k)
        return np.inf
    if norm == "inf":
        eye = np.eye(n)
        a = np.block([[rows, np.zeros((len(rows), 1))], [eye, -np.ones((n, 1))], [-eye, -np.ones((n, 1))]])
        b = np.concatenate([limit, center, -center])
        result = linprog(np.append(np.zeros(n), 1.0), a, b, bounds=[*box, (0, None)])
    elif norm == "1":
        eye = np.eye(n)
        a = np.block([[rows, np.zeros((len(rows), n))], [eye, -eye], [-eye, -eye]])
        b = np.concatenate([limit, center, -center])
        result = linprog(np.append(np.zeros(n), np.ones(n)), a, b, bounds=[*box, *[(0, None)] * n])
    else:
        return _euclidean(rows, limit, center)
    return float(result.fun) if result.status == 0 else np.inf


def _euclidean(rows: np.ndarray, limit: np.ndarray, center: np.ndarray) -> float:
    n = len(center)
    if linprog(np.zeros(n), rows, limit, bounds=[(0.0, 1.0)] * n).status != 0:
        return np.inf
    cost = np.append(np.zeros(n), 1.0)
    return _second_order(cost, np.hstack([rows, np.zeros((len(rows), 1))]), limit, center, None)


def _second_order(
    cost: np.ndarray, rows: np.ndarray, limit: np.ndarray, center: np.ndarray, radius: float | None
) -> float:
    """min of cost over rows <= limit, x in [0, 1]^n and |x - center| <= the radius, or the last variable; inf where there is none."""
    n, width = len(center), len(cost)
    eye = np.eye(n, width)
    length = np.zeros((1, width))
    if radius is None:
        length[0, n] = -1.0
    matrix = np.concatenate([rows, eye, -eye, length, -eye])
    sides = np.concatenate([limit, np.ones(n), np.zeros(n), [radius or 0.0], -center])
    cones: Sequence[object] = [clarabel.NonnegativeConeT(len(rows) + 2 * n), clarabel.SecondOrderConeT(n + 1)]
    options = clarabel.DefaultSettings()
    options.verbose = False
    zero = sp.csc_matrix((width, width))
    found = clarabel.DefaultSolver(zero, cost, sp.csc_matrix(matrix), sides, cones, options).solve()
    solved = found.status in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved)
    return float(found.obj_val) if solved else np.inf


def margin_within(network: Network, center: np.ndarray, label: int, norm: str, radius: float) -> float:
    """min of y_label - max of the others over the x in [0, 1]^n within a radius of the center."""
    n = len(center)
    if norm == "inf":
        return worst_margin(network, np.clip(center - radius, 0, 1), np.clip(center + radius, 0, 1), label)
    if norm == "0":
        free = itertools.combinations(range(n), min(int(radius), n))
        sides = [np.isin(np.arange(n), chosen) for chosen in free]
        return min(
            worst_margin(network, np.where(s, 0.0, center), np.where(s, 1.0, center), label) for s in sides
        )  # fmt: skip
    best = np.inf
    lower, upper = np.clip(center - radius, 0, 1), np.clip(center + radius, 0, 1)  # the ball lies in this box
    for cell in met(network, lower, upper):
        for k in range(len(cell.constant)):
            if k != label:
                cost, constant = cell.matrix[label] - cell.matrix[k], cell.constant[label] - cell.constant[k]
                if _least(cost, lower, upper) + constant < best:
                    best = min(best, _least_in_ball(cost, cell.rows, cell.limit, center, norm, radius) + constant)
    return float(best)


def _least_in_ball(
    cost: np.ndarray, rows: np.ndarray, limit: np.ndarray, center: np.ndarray, norm: str, radius: float
) -> float:
    """min of cost x over rows x <= limit, x in [0, 1]^n within a radius of the center; inf where there is none."""
    if norm == "2":
        return _second_order(cost, rows, limit, center, radius)
    n, eye = len(center), np.eye(len(center))
    a = np.block([[rows, np.zeros((len(rows), n))], [eye, -eye], [-eye, -eye], [np.zeros((1, n)), np.ones((1, n))]])
    b = np.concatenate([limit, center, -center, [radius]])
    result = linprog(np.append(cost, np.zeros(n)), a, b, bounds=[*[(0.0, 1.0)] * n, *[(0, None)] * n])
    return float(result.fun) if result.status == 0 else np.inf

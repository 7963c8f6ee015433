"""Ground truth by brute force: every activation pattern of a tiny network, one LP or QP each.

Written against numpy and scipy only, from the definition of the problem, with no code of the verifier's engines.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog

from advverify.verifier.network.nodes import Affine, Input, Max, Network, Relu


@dataclass
class Cell:
    """One activation pattern: output = matrix x + constant where rows x <= limit."""

    matrix: np.ndarray
    constant: np.ndarray
    rows: np.ndarray
    limit: np.ndarray


def cells(network: Network) -> list[Cell]:
    """All cells, feasible or not."""
    choices: list[list[tuple[int, ...]]] = []
    for node in network.nodes:
        if isinstance(node, Relu):
            choices.append(list(itertools.product((0, 1), repeat=node.size)))
        elif isinstance(node, Max):
            choices.append(list(itertools.product(range(node.windows.shape[1]), repeat=node.size)))
    return [_cell(network, combination) for combination in itertools.product(*choices)]


def _cell(network: Network, combination: tuple[tuple[int, ...], ...]) -> Cell:
    n = network.input_size
    values: list[tuple[np.ndarray, np.ndarray]] = []
    rows, limit = [np.zeros((0, n))], [np.zeros(0)]
    picks = iter(combination)
    for node in network.nodes:
        match node:
            case Input():
                values.append((np.eye(n), np.zeros(n)))
            case Affine():
                matrix, constant = np.zeros((node.size, n)), node.bias.numpy().copy()
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    dense = operator.to_sparse().toarray()
                    matrix, constant = matrix + dense @ values[j][0], constant + dense @ values[j][1]
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


def met(network: Network, lower: np.ndarray, upper: np.ndarray) -> list[Cell]:
    """The cells that a box may meet: none of their rows, taken alone, excludes it."""
    least = [(np.where(c.rows > 0, c.rows * lower, c.rows * upper).sum(1), c) for c in cells(network)]
    return [cell for values, cell in least if (values <= cell.limit + 1e-9).all()]


def worst_margin(network: Network, lower: np.ndarray, upper: np.ndarray, label: int) -> float:
    """min over the box of y_label - max of the others."""
    best = np.inf
    for cell in met(network, lower, upper):
        for k in range(len(cell.constant)):
            if k == label:
                continue
            cost = cell.matrix[label] - cell.matrix[k]
            result = linprog(cost, cell.rows, cell.limit, bounds=list(zip(lower, upper, strict=True)))
            if result.status == 0:
                best = min(best, result.fun + cell.constant[label] - cell.constant[k])
    return float(best)


def lowest(network: Network, lower: np.ndarray, upper: np.ndarray, row: np.ndarray) -> float:
    """min over the box of row . output."""
    best = np.inf
    for cell in met(network, lower, upper):
        result = linprog(row @ cell.matrix, cell.rows, cell.limit, bounds=list(zip(lower, upper, strict=True)))
        if result.status == 0:
            best = min(best, result.fun + row @ cell.constant)
    return float(best)


def nearest(network: Network, center: np.ndarray, label: int, norm: str, channels: int = 1) -> float:
    """Distance from the center to the nearest x in [0, 1]^n with another class on top or tied; inf if there is none.

    For norm 0, `channels` entries a pixel, plane after plane.
    """
    best = np.inf
    for cell in met(network, np.zeros(len(center)), np.ones(len(center))):
        for k in range(len(cell.constant)):
            if k != label:
                row = (cell.matrix[label] - cell.matrix[k])[None]
                rows = np.concatenate([cell.rows, row])
                limit = np.append(cell.limit, cell.constant[k] - cell.constant[label])
                best = min(best, _distance(rows, limit, center, norm, best, channels))
    return float(best)


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
    import cvxpy as cp

    n = len(center)
    if linprog(np.zeros(n), rows, limit, bounds=[(0.0, 1.0)] * n).status != 0:
        return np.inf
    x = cp.Variable(n)
    problem = cp.Problem(cp.Minimize(cp.norm(x - center)), [rows @ x <= limit, x >= 0, x <= 1])
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value)


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
    for cell in met(network, np.zeros(n), np.ones(n)):
        for k in range(len(cell.constant)):
            if k != label:
                cost = cell.matrix[label] - cell.matrix[k]
                found = _least_in_ball(cost, cell.rows, cell.limit, center, norm, radius)
                best = min(best, found + cell.constant[label] - cell.constant[k])
    return float(best)


def _least_in_ball(
    cost: np.ndarray, rows: np.ndarray, limit: np.ndarray, center: np.ndarray, norm: str, radius: float
) -> float:
    """min of cost x over rows x <= limit, x in [0, 1]^n within a radius of the center; inf where there is none."""
    import cvxpy as cp

    x = cp.Variable(len(center))
    ball = cp.norm(x - center, int(norm)) <= radius
    problem = cp.Problem(cp.Minimize(cost @ x), [rows @ x <= limit, x >= 0, x <= 1, ball])
    problem.solve(solver=cp.CLARABEL)
    return float(problem.value) if problem.status in ("optimal", "optimal_inaccurate") else np.inf

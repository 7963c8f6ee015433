"""Trees over all rows of an unsafe set: right on formulas and on random networks, and every leaf a proof by itself."""

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import cells
from scipy.optimize import linprog

from advverify.verifier.api import Model, verify
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import MixedIntegerProgram, encode
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict
from advverify.verifier.query import Objective
from advverify.verifier.solvers.row_propagation import RowPropagation
from advverify.verifier.solvers.row_tree import RowTree, RowTreeResult
from advverify.verifier.specification import Polytope, Region
from benchmarks.constructed import Formula, crowded_formula, flat_formula_network, planted_formula

SETTINGS = Settings(timeout=20, threads=1)


def program_of(network: Network, region: Region, polytope: Polytope) -> MixedIntegerProgram:
    bounds = crown(network, InputSet.from_regions([region]))
    return encode(network, bounds, region, (polytope,), Objective.FEASIBILITY)


def asked(formula: Formula, folder: Path) -> tuple[Network, MixedIntegerProgram]:
    """The network of a formula and the program of its property."""
    flat_formula_network(formula, folder / "f.onnx", folder / "f.vnnlib")
    model = Model(folder / "f.onnx")
    (disjunct,) = model.read_property(folder / "f.vnnlib").specification.disjuncts
    return model.network, program_of(model.network, disjunct.region, disjunct.unsafe[0])


def excludes(program: MixedIntegerProgram, result: RowTreeResult) -> None:
    """Fails unless the leaves cover all decisions and each is excluded by its multipliers, in rational arithmetic."""
    paths = [dict(leaf.path) for leaf in result.leaves]
    assert sum(Fraction(1, 2 ** len(path)) for path in paths) == 1
    for one, other in itertools.combinations(paths, 2):
        assert any(other.get(column, value) != value for column, value in one.items())
    rows, columns, values = _entries(program)
    for leaf in result.leaves:
        y = [Fraction(v) for v in leaf.multipliers.tolist()]
        total = Fraction(0)
        for k, v in enumerate(list(y)):
            side = program.row_lower[k] if v > 0 else program.row_upper[k]
            if v and np.isfinite(side):
                total += v * Fraction(float(side))
            else:
                y[k] = Fraction(0)
        reduced = [Fraction(0)] * len(program.cost)
        for i, j, entry in zip(rows, columns, values, strict=True):
            reduced[j] -= y[i] * Fraction(entry)
        low, high = program.col_lower.copy(), program.col_upper.copy()
        for column, value in leaf.path:
            low[column] = high[column] = value
        for j, coefficient in enumerate(reduced):
            if coefficient:
                total += coefficient * Fraction(float(low[j] if coefficient > 0 else high[j]))
        assert total > 0


def _entries(program: MixedIntegerProgram) -> tuple[list[int], list[int], list[float]]:
    matrix = program.matrix.tocoo()
    return matrix.row.tolist(), matrix.col.tolist(), matrix.data.tolist()


@pytest.mark.parametrize("seed", range(4))
def test_formulas_without_an_assignment_are_excluded(seed: int, tmp_path: Path) -> None:
    network, program = asked(crowded_formula(9, 280, seed), tmp_path)
    tree = RowTree(program)
    assert tree.promises and tree.rows.whole_inputs == 9
    result = tree.search(20)
    assert result.infeasible
    excludes(program, result)


@pytest.mark.parametrize("seed", range(4))
def test_formulas_with_an_assignment_are_not(seed: int, tmp_path: Path) -> None:
    network, program = asked(planted_formula(8, 30, seed), tmp_path)
    seen: list[np.ndarray] = []

    def visit(point: np.ndarray) -> bool:
        seen.append(point)
        return bool(program.violation(np.where(program.integer, np.round(point), point)) < 1e-6)

    result = RowTree(program).search(20, visit)
    assert not result.infeasible and result.finished and seen


@pytest.mark.parametrize("seed", range(12))
def test_conjunctions_on_random_networks(seed: int) -> None:
    """Two rows, around values that some input attains, against all cells of the network."""
    network = random_network("mlp", seed)
    rng = np.random.default_rng(seed)
    n = network.input_size
    region = Region(np.zeros(n), np.ones(n))
    matrix = rng.normal(size=(2, network.output_size))
    low = np.array([min(_least(network, region, row, None), 0.0) for row in matrix])
    polytope = Polytope(matrix, low + rng.uniform(0.05, 0.6) * np.abs(low) + 0.01, np.zeros(2, dtype=bool))
    possible = _least(network, region, matrix[1], (matrix[0], polytope.offset[0])) <= polytope.offset[1]
    result = RowTree(program_of(network, region, polytope)).search(20)
    assert result.infeasible is not possible or abs(_gap(network, region, polytope)) < 1e-6
    if result.infeasible:
        excludes(program_of(network, region, polytope), result)


def _least(network: Network, region: Region, row: np.ndarray, other: tuple[np.ndarray, float] | None) -> float:
    """The least value of a row over the region, where another row holds; inf where it never does."""
    best = np.inf
    for cell in cells(network):
        rows, limit = cell.rows, cell.limit
        if other is not None:
            rows = np.vstack([rows, other[0] @ cell.matrix])
            limit = np.append(limit, other[1] - other[0] @ cell.constant)
        sides = [*zip(region.lower, region.upper, strict=True)]
        found = linprog(row @ cell.matrix, rows, limit, bounds=sides, method="highs")
        if found.status == 0:
            best = min(best, found.fun + row @ cell.constant)
    return float(best)


def _gap(network: Network, region: Region, polytope: Polytope) -> float:
    other = polytope.matrix[0], float(polytope.offset[0])
    return _least(network, region, polytope.matrix[1], other) - float(polytope.offset[1])


@pytest.mark.parametrize(
    ("formula", "satisfiable"), [(planted_formula(30, 100, 1), True), (crowded_formula(40, 500, 1), False)]
)
def test_verdicts_and_proofs_of_formulas(formula: Formula, satisfiable: bool, tmp_path: Path) -> None:
    flat_formula_network(formula, tmp_path / "f.onnx", tmp_path / "f.vnnlib")
    settings = Settings(timeout=30, threads=1, proofs=tmp_path / "proofs")
    outcome = verify(tmp_path / "f.onnx", tmp_path / "f.vnnlib", settings=settings, engines=("row-split",))
    assert outcome.verdict is (Verdict.ADVERSARIAL if satisfiable else Verdict.ROBUST)
    assert satisfiable or outcome.proof, outcome.statistics


def test_propagation_keeps_every_feasible_point() -> None:
    """Points of the network are points of its program, and no row may cut them off."""
    kept = 0
    for seed in range(20):
        network = random_network("mlp", seed)
        rng = np.random.default_rng(seed)
        n = network.input_size
        region = Region(np.zeros(n), np.ones(n))
        x = rng.uniform(size=n)
        y = evaluate(network, torch.tensor(x)[None])[0].numpy()
        matrix = rng.normal(size=(2, network.output_size))
        polytope = Polytope(matrix, matrix @ y + 1e-3, np.zeros(2, dtype=bool))
        program = program_of(network, region, polytope)
        box = RowPropagation(program).root
        assert not box.empty
        inputs = program.columns.inputs
        assert (box.low[inputs] <= x + 1e-5).all() and (x <= box.high[inputs] + 1e-5).all()
        kept += 1
    assert kept == 20

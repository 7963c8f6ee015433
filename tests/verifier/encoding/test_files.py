"""Programs as .lp and .mps files: read back they are the same, number by number, and have the same optimum."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mip_files import read_by_highs, solve_by_highs, solve_by_scip
from networks import KINDS, random_network

from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, MixedIntegerProgram, encode
from advverify.verifier.encoding.files import FORMATS, Listing, write_listing
from advverify.verifier.encoding.program import ColumnMap, ProgramBuilder
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import predict
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat, robustness


def program_of(kind: str, seed: int, threat: Threat, objective: Objective, name: str) -> MixedIntegerProgram:
    network = random_network(kind, seed)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    label = int(predict(network, torch.tensor(image)[None]))
    disjunct = robustness(image, label, threat, 3).disjuncts[0]
    bounds = crown(network, InputSet.from_regions([disjunct.region]))
    return encode(network, bounds, disjunct.region, disjunct.unsafe, objective, Formulation(name), quadratic=True)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("name", ["symmetric", "asymmetric", "partition-2", "extended"])
def test_linear_programs_come_back_number_by_number(name: str, suffix: str, tmp_path: Path) -> None:
    optima = 0
    for (kind, norm), objective in zip(
        itertools.product(KINDS, ("inf", "1", "0")), itertools.cycle(Objective), strict=False
    ):
        program = program_of(kind, 2, Threat(norm, {"inf": 0.4, "1": 0.8, "0": 2}[norm]), objective, name)
        listing, path = Listing(program, ("what it is",)), tmp_path / f"p{suffix}"
        write_listing(listing, path)
        read = read_by_highs(path)
        assert set(read.columns) == set(listing.columns) and len(set(listing.columns)) == len(program.cost)
        for j, column in enumerate(listing.columns):
            cost, low, high, whole = read.columns[column]
            assert (cost, low, high) == (program.cost[j], program.col_lower[j], program.col_upper[j]), column
            assert whole == program.integer[j]
        rows = list(listing.rows())
        assert len({row.name for row in rows}) == len(rows) == len(read.rows)
        for row in rows:
            terms, low, high = read.rows[row.name]
            written = dict(zip((listing.columns[j] for j in row.columns), row.values.tolist(), strict=True))
            assert terms == written, row.name
            assert (low == row.side) == (row.sense != "<=") and (high == row.side) == (row.sense != ">=")
        assert read.offset == program.offset
        ours = Highs().solve(program, SolveOptions(relative_gap=1e-9))
        theirs = solve_by_highs(path)
        if ours.status is SolverStatus.INFEASIBLE:
            assert theirs == math.inf
        else:
            assert theirs == pytest.approx(ours.objective, abs=1e-6)
            optima += 1
    assert optima >= 10


@pytest.mark.parametrize("suffix", FORMATS)
def test_quadratic_objectives_and_rows_come_back(suffix: str, tmp_path: Path) -> None:
    """SCIP's optimum of a square distance, and within a ball of that radius and less; both formats the same program."""
    pytest.importorskip("pyscipopt")
    path, settled = tmp_path / f"p{suffix}", 0
    for kind, seed in (
        ("mlp", 0),
        ("mlp", 1),
        ("residual", 1),
        ("residual", 3),
        ("leaky", 0),
        ("leaky", 2),
        ("conv", 0),
    ):
        program = program_of(kind, seed, Threat("2"), Objective.MIN_DISTORTION, "asymmetric")
        write_listing(Listing(program), path)
        distance = math.sqrt(max(solve_by_scip(path), 0.0))
        if not 0.01 < distance < math.inf:
            continue
        for share in (0.95, 1.05):
            threat = Threat("2", share * distance)
            program = program_of(kind, seed, threat, Objective.FEASIBILITY, "asymmetric")
            write_listing(Listing(program), path)
            assert math.isinf(solve_by_scip(path)) == (share < 1)
            program = program_of(kind, seed, threat, Objective.MAX_MARGIN, "partition-2")
            write_listing(Listing(program), path)
            inside = solve_by_scip(path)
            assert (inside > 0) == (share < 1)
            write_listing(Listing(replace(program, ball=None)), path)
            assert solve_by_scip(path) <= inside + 1e-6, "the box holds the ball"
            settled += 1
    assert settled >= 6


@pytest.mark.parametrize("suffix", FORMATS)
def test_what_programs_of_networks_do_not_have(suffix: str, tmp_path: Path) -> None:
    """No rows, rows without terms, two sides, whole numbers, no sides, names that are missing, an offset."""
    builder = ProgramBuilder()
    free = builder.columns(np.array([-np.inf, -np.inf, 0.0]), np.array([np.inf, 7.25, np.inf]))
    whole = builder.columns(np.array([-3.0]), np.array([9.0]), integer=True, label="k")
    eye = np.eye(4)
    builder.rows(eye[:3], np.array([-2.5, -1.0, 0.5]), np.array([4.0, 2.0, 0.5]))
    builder.rows(eye[3:] + eye[:1], -np.inf, 3.5, label="both")
    builder.rows(eye[:1] * 0, -1.0, 1.0, label="nothing")
    program = builder.finish({int(free[0]): 1e-7, int(whole[0]): -1.0 / 3.0}, ColumnMap(free), offset=2.5)
    assert program.row_names.spelled(5, "row") == ["row_0", "row_1", "row_2", "both_0", "nothing_0"]
    listing, path = Listing(program), tmp_path / f"p{suffix}"
    write_listing(listing, path)
    ours = Highs().solve(program, SolveOptions())
    assert solve_by_highs(path) == pytest.approx(ours.objective, abs=1e-12) and ours.objective < 2.5
    read = read_by_highs(path)
    assert set(read.columns) == {"column_0", "column_1", "column_2", "k_0"}
    assert read.columns["column_0"] == (1e-7, -np.inf, np.inf, False) and read.columns["k_0"][3]
    assert read.rows["row_0"][2] == 4.0 and read.rows["row_0_low"][1] == -2.5
    more = program.with_rows(eye[:2], np.full(2, -9.0), np.full(2, np.inf)).with_only(np.array([3, 5, 6, 1]))
    assert more.row_names.spelled(4, "cut") == ["both_0", "cut_1", "cut_2", "row_1"]
    empty = ProgramBuilder()
    column = empty.columns(np.zeros(1), np.ones(1))
    write_listing(Listing(empty.finish({}, ColumnMap(column))), path)
    assert solve_by_highs(path) == 0.0


def test_other_formats_are_refused(tmp_path: Path) -> None:
    program = program_of("mlp", 0, Threat("inf", 0.1), Objective.FEASIBILITY, "asymmetric")
    with pytest.raises(InvalidInput, match=r"must end in \.lp or \.mps"):
        write_listing(Listing(program), tmp_path / "p.gms")
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_listing(Listing(program), tmp_path / "nowhere" / "p.lp")

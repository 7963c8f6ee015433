"""Formulations by name: their relaxations are ordered, their cells exact, their groups those of the paper."""

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import KINDS, random_network

from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.encoding import FORMULATIONS, Formulation, MixedIntegerProgram, encode
from advverify.verifier.encoding.formulations.partition import _grouped, _sides
from advverify.verifier.encoding.ideal_relu import separate
from advverify.verifier.engines import MilpOptions
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate_all
from advverify.verifier.network.nodes import Network, Relu
from advverify.verifier.network.operators import Dense
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Polytope, Region, Threat, robustness

ORDER = ("symmetric", "asymmetric", "partition-2", "partition-4", "extended")
EVERY = (*ORDER, "partition-1", "partition-3")


def relaxed(program: MixedIntegerProgram) -> float:
    """Optimum of the LP relaxation."""
    result = Highs().solve(program.relaxed(), SolveOptions())
    assert result.status is SolverStatus.OPTIMAL
    return result.objective


def test_every_line_of_the_table_is_tried() -> None:
    assert {name.rpartition("-")[0] + "-N" if name[-1].isdigit() else name for name in EVERY} == set(FORMULATIONS)


raised = {pair: 0 for pair in itertools.pairwise(ORDER)}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.sampled_from((*KINDS, "wide")),
    st.integers(0, 50),
    st.sampled_from((0.1, 0.3, 0.6)),
    st.sampled_from((ibp, crown)),
    st.booleans(),
    st.sampled_from((Objective.MAX_MARGIN, Objective.MIN_DISTORTION)),
)
def in_order(kind: str, seed: int, eps: float, method: object, fix: bool, objective: Objective) -> None:
    network, rng = random_network(kind, seed), np.random.default_rng(seed)
    disjunct = robustness(rng.random(network.input_size), 0, Threat("inf", eps), 3).disjuncts[0]
    bounds = (ibp if method is ibp else crown)(network, InputSet.from_regions([disjunct.region]))
    programs = [
        encode(network, bounds, disjunct.region, disjunct.unsafe[:1], objective, Formulation(name, fix))
        for name in ORDER
    ]
    results = [Highs().solve(program.relaxed(), SolveOptions()) for program in programs]
    if any(result.status is SolverStatus.INFEASIBLE for result in results):
        first = next(k for k, result in enumerate(results) if result.status is SolverStatus.INFEASIBLE)
        assert all(result.status is SolverStatus.INFEASIBLE for result in results[first:])
        results = results[:first]
    for pair, (weaker, stronger) in zip(itertools.pairwise(ORDER), itertools.pairwise(results), strict=False):
        assert weaker.objective <= stronger.objective + 1e-7, (pair, weaker.objective, stronger.objective)
        raised[pair] += weaker.objective < stronger.objective - 1e-6


def test_relaxations_are_ordered() -> None:
    """Each formulation is at least as strong as the one before it, and now and then stronger."""
    in_order()
    assert min(raised.values()) >= 3, raised


def single(seed: int, inputs: int = 6) -> tuple[Network, Region, np.random.Generator]:
    """One ReLU over a box, and its input once more as a second output."""
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(1, inputs)), rng.normal(size=1) * 0.3
    b = NetworkBuilder((inputs,))
    h = b.affine([0], [Dense(tensor(weight))], bias)
    z = b.relu(h)
    first = tensor(np.concatenate([np.zeros((1, inputs)), np.eye(inputs)]))
    network = b.finish(b.affine([z, 0], [Dense(tensor(np.eye(inputs + 1)[:, :1])), Dense(first)], np.zeros(inputs + 1)))
    center = rng.random(inputs)
    return network, Region(center - 0.5, center + 0.5), rng


def cut_to_the_end(network: Network, program: MixedIntegerProgram) -> float:
    """The relaxation with all ideal rows that matter."""
    known = program.preactivations
    for _ in range(200):
        result = Highs().solve(program.relaxed(), SolveOptions())
        assert result.point is not None
        matrix, limit = separate(known, program, result.point, 1e-7)  # rows are looser by 1e-9 of their terms
        if len(limit) == 0:
            return result.objective
        program = program.with_rows(matrix, np.full(len(limit), -np.inf), limit)
    raise AssertionError("the cuts never end")


def test_one_neurons_convex_hull_by_three_ways() -> None:
    """A copy of each input, a group for each, and big-M with all ideal rows; between them and big-M lie the others."""
    strict = 0
    for seed in range(25):
        network, region, rng = single(seed)
        row = rng.normal(size=(1, network.output_size))
        row[0, 0] = -abs(row[0, 0]) * 3
        unsafe = (Polytope(row, np.zeros(1), np.zeros(1, dtype=bool)),)
        bounds = ibp(network, InputSet.from_regions([region]))

        def program(name: str) -> MixedIntegerProgram:
            return encode(network, bounds, region, unsafe, Objective.MAX_MARGIN, Formulation(name, False))  # noqa: B023

        hull = relaxed(program("extended"))
        assert relaxed(program("partition-6")) == pytest.approx(hull, abs=1e-7)
        assert relaxed(program("partition-100")) == pytest.approx(hull, abs=1e-7)
        assert relaxed(program("partition-1")) == pytest.approx(relaxed(program("asymmetric")), abs=1e-7)
        assert cut_to_the_end(network, program("asymmetric")) == pytest.approx(hull, abs=1e-6)
        exact = Highs().solve(program("extended"), SolveOptions()).objective
        assert exact == pytest.approx(hull, abs=1e-7), "the hull of one neuron is its own optimum"
        strict += relaxed(program("asymmetric")) < hull - 1e-4
    assert strict >= 8


@pytest.mark.parametrize("fix_stable", [True, False])
@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("kind", KINDS)
def test_fixed_phases_make_the_cell(kind: str, name: str, fix_stable: bool) -> None:
    """With the phases of a point the point is feasible and its output the network's; with another one it is not."""
    refused = met = 0
    for seed, method in itertools.product(range(3), (ibp, crown)):
        network, rng = random_network(kind, seed), np.random.default_rng(seed)
        disjunct = robustness(rng.random(network.input_size), 0, Threat("inf", 0.4), 3).disjuncts[0]
        bounds = method(network, InputSet.from_regions([disjunct.region]))
        form = Formulation(name, fix_stable)
        program = encode(network, bounds, disjunct.region, disjunct.unsafe[:1], Objective.MAX_MARGIN, form)
        low, high = disjunct.region.bounding_box()
        x = low + rng.random(len(low)) * (high - low)
        values = evaluate_all(network, torch.tensor(x)[None])
        columns, phases, reads = [np.zeros(0, int)], [np.zeros(0)], [np.zeros(0)]
        for i, node in enumerate(network.nodes):
            if isinstance(node, Relu):
                chosen = program.columns.phase[i] >= 0
                columns.append(program.columns.phase[i][chosen])
                reads.append(values[node.input][0].numpy()[chosen])
                phases.append((reads[-1] >= 0).astype(float))
        where, phase, read = np.concatenate(columns), np.concatenate(phases), np.concatenate(reads)
        assert where.size == 0 or program.integer[where].all()
        at = program.fixed(program.columns.inputs, x)
        found = Highs().solve(at.fixed(where, phase), SolveOptions())
        assert found.objective == pytest.approx(disjunct.unsafe[0].violation(values[-1][0].numpy()), abs=1e-6)
        met += 1
        for k in np.flatnonzero(np.abs(read) > 1e-4):
            other = np.where(np.arange(len(phase)) == k, 1 - phase, phase)
            result = Highs().solve(at.fixed(where, other), SolveOptions())
            assert result.status is SolverStatus.INFEASIBLE
            refused += 1
    assert met == 6 and refused >= (3 if kind == "maxpool" else 12)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_groups_are_runs_of_sorted_weights_and_parts_of_each_other(seed: int, groups: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    dense = np.round(rng.normal(size=(4, 9)), 1) * (rng.random((4, 9)) < 0.8)
    matrix = sp.csr_matrix(dense)
    sums, owner, part = _grouped(matrix, groups)
    for row in range(4):
        runs = sums[owner == row].toarray()
        count = np.count_nonzero(dense[row])
        assert np.array_equal(runs.sum(0), dense[row]) and (np.count_nonzero(runs, axis=0) <= 1).all()
        sizes = np.count_nonzero(runs, axis=1)
        assert len(runs) == min(groups, count) and (count == 0 or sizes.max() - sizes.min() <= 1)
        assert list(part[owner == row]) == list(range(len(runs)))
        for before, after in itertools.pairwise(runs):
            assert before[before != 0].max() <= after[after != 0].min()
        finer, whose, _ = _grouped(matrix, groups * times)
        for run in finer[whose == row].toarray():
            inside = [(other != 0)[run != 0].all() for other in runs]
            assert sum(inside) == 1
    lower, upper = -rng.random(9), rng.random(9)
    low, high = _sides(sums, lower, upper)
    points = lower + rng.random((200, 9)).round() * (upper - lower)
    reached = points @ sums.toarray().T
    assert (reached >= low).all() and (reached <= high).all()
    assert np.allclose(low, np.where(sums.toarray() > 0, sums.toarray() * lower, sums.toarray() * upper).sum(1))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("asymetric", "did you mean asymmetric?"),
        ("bigm", "choose among symmetric, asymmetric, partition-N, extended"),
        ("partition", "did you mean partition-N?"),
        ("partition-N", "takes a whole number from 1, as partition-4 does"),
        ("partition-0", "takes a whole number from 1, as partition-4 does"),
        ("partition-2.5", "takes a whole number"),
        ("partition--2", "takes a whole number"),
        ("partition-02", "takes a whole number"),
        ("extended-3", "choose among"),
        ("", "choose among"),
    ],
)
def test_names_that_there_are_not(name: str, message: str) -> None:
    for make in (Formulation, lambda wrong: MilpOptions(formulation=wrong)):
        with pytest.raises(InvalidInput) as caught:
            make(name)
        assert message in str(caught.value) and f"unknown formulation '{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tighten": "obbt"}, "unknown tighten 'obbt': choose among none, lp, mip"),
        ({"targets": "seperate"}, "did you mean separate?"),
        ({"cuts": True}, "unknown cuts 'True': choose among none, root"),
        ({"cuts": "tree"}, "unknown cuts 'tree': choose among none, root"),
        ({"solver": "gorubi"}, "unknown solver 'gorubi': did you mean gurobi? choose among highs, scip"),
        ({"solver": ["scip"]}, "choose among highs, scip"),
        ({"solver": ""}, "choose among highs, scip"),
        ({"fix_stable": "no"}, "fix_stable must be True or False, got 'no'"),
        ({"substitute": 1}, "substitute must be True or False, got 1"),
    ],
)
def test_options_that_there_are_not(options: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        MilpOptions(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)

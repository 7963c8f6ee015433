"""What single lines promise, one at a time: faults in them that tests of whole answers are too coarse to notice."""

import importlib
import math
from dataclasses import replace
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch
from networks import KINDS, random_network
from scipy.sparse import csr_matrix
from test_proofs import base, repack, subject, unpack
from test_statements import linear
from test_windows import convolutional, regions, windowed_node

from advverify.verifier.api import certify
from advverify.verifier.bounds import InputSet, crown, forward, lipschitz
from advverify.verifier.bounds.backward import backward, both_sides
from advverify.verifier.bounds.balls import NodeBalls, ReluBall
from advverify.verifier.bounds.bounds import Interval
from advverify.verifier.bounds.crown import relaxations
from advverify.verifier.bounds.halfspace import HalfSpaces
from advverify.verifier.bounds.intermediate import tighten_intermediate
from advverify.verifier.bounds.neuron_split import NeuronSplit, tighten_node
from advverify.verifier.bounds.relaxation import relax_relu
from advverify.verifier.bounds.rounding import RoundingLoss
from advverify.verifier.bounds.windows import window_of
from advverify.verifier.encoding import encode
from advverify.verifier.encoding.program import ColumnMap, ProgramBuilder
from advverify.verifier.engines import Settings
from advverify.verifier.engines.branch_and_bound import domain_bounds, leaf, support_split
from advverify.verifier.engines.branch_and_bound.domain import Batch, Bounded
from advverify.verifier.engines.branch_and_bound.domain_bounds import DomainBounds
from advverify.verifier.engines.branch_and_bound.input_split import clip
from advverify.verifier.engines.branch_and_bound.leaf import LeafSolver
from advverify.verifier.engines.branch_and_bound.relu_split import ReluSplit
from advverify.verifier.engines.judgement import NetworkJudge
from advverify.verifier.engines.state import SearchState
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.agreement import Agreement, rounding_errors
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.evaluate import evaluate, evaluate_all, predict
from advverify.verifier.network.nodes import Network, Relu, predecessors
from advverify.verifier.network.onnx_runtime import OnnxJudge
from advverify.verifier.network.operators import Conv2d, Dense
from advverify.verifier.norms import get_norm
from advverify.verifier.norms.base import ball_box
from advverify.verifier.proof.checker import Rejected
from advverify.verifier.proof.checker.arithmetic import Relaxation
from advverify.verifier.proof.checker.network import Network as CheckedNetwork
from advverify.verifier.proof.checker.network import Pick
from advverify.verifier.proof.checker.region import Region as BoxRegion
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs, HighsLps, LpAnswer
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.solvers.protocol import SolveResult
from advverify.verifier.specification import Case, Polytope, Region, Specification, robustness
from advverify.verifier.specification.vnnlib import Facts
from advverify.verifier.specification.vnnlib.compile import compile_vnnlib
from advverify.verifier.specification.vnnlib.formula import Inequality, Linear
from advverify.verifier.specification.vnnlib.rows import row_of

F64 = torch.float64
backwards = importlib.import_module("advverify.verifier.bounds.backward")
checking = importlib.import_module("advverify.verifier.proof.checker.check")  # packages have functions of these names


def vector(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=F64)


# -- norms and boxes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("value", [-1.0, -1e-300, math.nan])
def test_nothing_is_certified_around_an_unsafe_center(name: str, value: float) -> None:
    norm, center = get_norm(name), vector(0.5, 0.5, 0.5)
    for a in (vector(0.0, 0.0, 0.0), vector(1.0, -2.0, 0.5), vector(1e-12, 0.0, 0.0)):
        radius = norm.certified_radius(a, torch.tensor([value], dtype=F64), center, center - 0.5, center + 0.5)
        assert float(radius) <= 0


def test_boxes_around_balls_are_rounded_outward_unless_it_is_said() -> None:
    rng = np.random.default_rng(0)
    center, reach = (
        torch.from_numpy(rng.random(500)),
        torch.from_numpy(rng.random(500) * 10.0 ** rng.integers(-9, 1, 500)),
    )
    low, high = ball_box(center, reach)
    inexact = 0
    for c, r, lower, upper in zip(center.tolist(), reach.tolist(), low.tolist(), high.tolist(), strict=True):
        assert Fraction(lower) <= Fraction(c) - Fraction(r) and Fraction(upper) >= Fraction(c) + Fraction(r)
        inexact += Fraction(upper) != Fraction(c) + Fraction(r)
    assert inexact > 100


def test_members_of_a_batch_keep_their_own_half_spaces() -> None:
    box = InputSet(torch.zeros(3, 2, dtype=F64), torch.ones(3, 2, dtype=F64))
    half = HalfSpaces(torch.arange(6, dtype=F64).view(3, 2), torch.tensor([-1.0, -2.0, -3.0], dtype=F64))
    taken = box.within(half).rows(torch.tensor([2, 1])).half
    assert taken is not None
    assert taken.offset.tolist() == [-3.0, -2.0] and taken.coefficients.tolist() == [[4.0, 5.0], [2.0, 3.0]]


# -- bounds ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lines_hold_however_little_a_relu_crosses(dtype: torch.dtype) -> None:
    for lower, upper in (
        (-0.01, 1.0),
        (-1e-9, 2.0),
        (-1.0, 0.01),
        (-3.0, 1e-9),
        (-0.04, 0.03),
        (0.0, 1.0),
        (-1.0, 0.0),
    ):
        lines = relax_relu(Interval(vector(lower), vector(upper)), dtype)
        assert bool(Interval(vector(lower), vector(upper)).unstable) == (lower < 0 < upper)
        for x in np.linspace(lower, upper, 21):
            assert float(lines.lower_slope) * x <= max(x, 0.0) + 1e-15
            assert float(lines.upper_slope) * x + float(lines.upper_offset) >= max(x, 0.0)


def test_constant_bands_are_rounded_outward() -> None:
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 400)) * 1e3)
    band = forward._constant(Interval(values, values), 3, torch.float32)
    assert (band.lower[:, -1].double() <= values).all() and (band.upper[:, -1].double() >= values).all()
    assert (band.lower[:, :-1] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_linear_nodes_have_no_relu_before_them(kind: str) -> None:
    network = random_network(kind, 0)
    x, y = (torch.from_numpy(np.random.default_rng(s).random((1, network.input_size)) * 4 - 2) for s in (1, 2))
    first, second, middle = (evaluate_all(network, point) for point in (x, y, (x + y) / 2))
    for i in network.linear_nodes:
        assert torch.allclose((first[i] + second[i]) / 2, middle[i], atol=1e-12)
    assert network.output not in network.linear_nodes and 0 in network.linear_nodes


def test_sums_of_relus_and_inputs_are_not_linear() -> None:
    b = NetworkBuilder((2,))
    eye = Dense(tensor(np.eye(2)))
    both = b.affine([0, b.relu(b.affine([0], [eye], np.zeros(2)))], [eye, eye], np.zeros(2))
    assert both not in b.finish(both).linear_nodes


def test_centers_lose_what_the_theory_of_sums_says() -> None:
    """gamma_n |A| |x| a layer (Higham, Accuracy and Stability, section 3.1), carried on by |A| of the next one."""
    rng, n = np.random.default_rng(0), 200
    first, second = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    b = NetworkBuilder((n,))
    hidden = b.relu(b.affine([0], [Dense(tensor(first))], np.zeros(n)))
    last = b.relu(b.affine([hidden], [Dense(tensor(second))], np.zeros(n)))
    network = b.finish(b.affine([last], [Dense(tensor(np.ones((1, n))))], np.zeros(1)))
    x = rng.random(n)
    balls, unit = NodeBalls.around(network, torch.from_numpy(x[None])), 2.0**-53
    error = n * unit * np.abs(first) @ np.abs(x)
    assert float(balls.error[1]) >= np.linalg.norm(error)
    carried = np.abs(second) @ error
    own = n * unit * np.abs(second) @ np.maximum(first @ x, 0)
    assert float(balls.error[3]) >= np.linalg.norm(carried + own) and np.linalg.norm(carried) > np.linalg.norm(own)


def test_rough_norms_bound_norms() -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        entries = rng.normal(size=(3 + seed % 4, 5)) * (rng.random((3 + seed % 4, 5)) < 0.6)
        matrix = lipschitz._Matrix.of(Dense(tensor(entries)))
        assert matrix.rough_norm() >= np.linalg.norm(entries, 2) * (1 - 1e-12)
    ones = lipschitz._Matrix.of(Dense(tensor(np.ones((4, 4)))))
    assert ones.rough_norm() >= 4.0


def test_an_eigenvalue_counts_only_where_its_factorisation_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    gram = np.diag([1.0, 4.0, 9.0])
    monkeypatch.setattr(lipschitz, "_guess", lambda _: 2.0)  # wrong: below the largest eigenvalue
    assert lipschitz._largest_eigenvalue(gram) >= 9.0


# -- windows and single neurons ------------------------------------------------------------------------------------------


def windowed(seed: int) -> tuple[Network, int] | None:
    network = convolutional(seed, bool(seed % 2))
    node = windowed_node(network)
    return None if window_of(network, node) is None else (network, node)


def test_windows_carry_rounding_losses() -> None:
    """Losses a billion times as large, so that they show."""
    seen = 0
    for seed in range(30):
        if (found := windowed(seed)) is None:
            continue
        (network, node), inputs = found, regions(found[0], seed, count=1)
        window = window_of(network, node)
        assert window is not None
        with torch.no_grad():
            bounds = crown(network, inputs)
            losses = [loss * 1e9 for loss in RoundingLoss.of(network, inputs, bounds).loss]
            relaxed = relaxations(network, bounds, node)
            index = torch.arange(network.nodes[node].size)[None]
            form = backward(network, both_sides(network, node, index, losses[node]), relaxed, losses=losses)
            whole = inputs.minimum(form.coefficients, form.offset)
            plain = window.lower_bounds(inputs, index, relaxed, [loss * 0 for loss in losses])
            local = window.lower_bounds(inputs, index, relaxed, losses)
        lost = plain - whole
        assert ((plain - local) >= 0.5 * lost - 1e-12).all() and float(lost.max()) > 1e-8
        seen += 1
    assert seen >= 5


def test_what_an_affine_node_reads_from_another_has_no_window() -> None:
    """Beyond the borders the inner convolution would show its bias, where the whole network reads zeros."""
    rng = np.random.default_rng(0)
    b = NetworkBuilder((1, 12, 12))
    pads = (1, 1, 1, 1)
    first = Conv2d(tensor(rng.normal(size=(1, 1, 3, 3))), (1, 12, 12), (1, 1), pads)
    node = b.relu(b.affine([0], [first], np.full(144, 0.5)))
    inner = b.affine([node], [first], np.full(144, 5.0))
    outer = b.relu(b.affine([inner, b.relu(inner)], [first, first], np.zeros(144)))
    network = b.finish(b.affine([outer], [Dense(tensor(rng.normal(size=(2, 144))))], np.zeros(2)))
    assert window_of(network, windowed_node(network)) is None
    assert any(len(predecessors(n)) > 1 for n in network.nodes)


def test_intermediate_bounds_of_windows_hold() -> None:
    seen = 0
    for seed in range(30):
        if (found := windowed(seed)) is None:
            continue
        network, inputs = found[0], regions(found[0], seed, count=1)
        with torch.no_grad():
            known = crown(network, inputs)
        bounds = tighten_intermediate(network, inputs, known)
        share = torch.from_numpy(np.random.default_rng(seed).random((500, network.input_size)))
        values = evaluate_all(network, inputs.lower + torch.cat([share, share.round()]) * (inputs.upper - inputs.lower))
        for node in network.bounded:
            assert (values[node] >= bounds[node].lower).all() and (values[node] <= bounds[node].upper).all()
        seen += 1
    assert seen >= 5


def test_neurons_lose_by_rounding_in_their_own_layer() -> None:
    """With a loss that large nothing can be gained."""
    network = random_network("mlp", 0)
    inputs = InputSet(torch.zeros(1, 3, dtype=F64), torch.ones(1, 3, dtype=F64))
    bounds, node = crown(network, inputs), network.bounded[-1]
    assert bool(bounds[node].unstable.any())
    losses = [torch.zeros(1, n.size, dtype=F64) for n in network.nodes]
    losses[node] = torch.full_like(losses[node], 100.0)
    found = tighten_node(network, inputs, bounds, node, 5.0, NeuronSplit(seconds=5.0), losses=losses)
    assert torch.equal(found[node].lower, bounds[node].lower) and torch.equal(found[node].upper, bounds[node].upper)


# -- search ------------------------------------------------------------------------------------------------------------------


def opened(network: Network, specification: Specification, objective: Objective) -> SearchState:
    return SearchState.open(
        Query(network, specification, objective), Settings(timeout=20, threads=1), NetworkJudge(network)
    )


def phases_of(network: Network, values: list[torch.Tensor]) -> dict[int, np.ndarray]:
    """Of an input with these values of nodes (1, size)."""
    relus = {i: node for i, node in enumerate(network.nodes) if isinstance(node, Relu)}
    return {i: np.where(values[node.input][0].numpy() > 0, 1, -1).astype(np.int8) for i, node in relus.items()}


@pytest.mark.parametrize("objective", [Objective.MAX_MARGIN, Objective.MIN_DISTORTION])
@pytest.mark.parametrize("norm", ["inf", "1", "2"])
def test_leaves_hold_the_points_of_their_phases(norm: str, objective: Objective) -> None:
    """A leaf's value is no higher than what any input with these phases has, and its own best input is in it."""
    seen = 0
    for kind in ("mlp", "residual", "conv"):
        for seed in range(3):
            network, rng = random_network(kind, seed), np.random.default_rng(seed)
            image = rng.random(network.input_size)
            label = int(predict(network, torch.from_numpy(image)[None]))
            state = opened(network, robustness(image, label, 3, get_norm(norm), 0.9), objective)
            solver, region = LeafSolver(state), state.search_region(state.pairs[0].region)
            for _ in range(4 if objective is Objective.MAX_MARGIN else 200):
                x = np.clip(image + (rng.random(len(image)) - 0.5) * 2 * rng.random(), 0, 1)
                if not region.contains(x):
                    continue
                values = evaluate_all(network, torch.from_numpy(x[None]))
                if objective is Objective.MIN_DISTORTION and int(values[-1].argmax()) == label:
                    continue
                phases = phases_of(network, values)
                for pair in state.pairs:
                    value, point = solver.solve(pair, phases)
                    violation = pair.polytope.violation(values[-1][0].numpy())
                    if objective is Objective.MAX_MARGIN:
                        assert value <= violation + 1e-9
                        seen += value > -math.inf
                    elif violation <= 0:
                        assert value <= region.distance(x) + 1e-9
                        seen += 1
                    if objective is Objective.MIN_DISTORTION and point is not None and math.isfinite(value):
                        assert value <= region.distance(point) * (1 + 1e-7) + 1e-9
    assert seen >= 20


def test_supports_have_bounds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are kept by support are those of the boxes they are given out for."""
    original, seen = support_split._Search._box_bounds, []

    def compared(self: support_split._Search, domains: list, inputs: InputSet):  # type: ignore[no-untyped-def, type-arg]
        found = original(self, domains, inputs)
        share = torch.from_numpy(np.random.default_rng(0).random((64, 1, inputs.lower.shape[1])))
        for k in range(len(domains)):
            points = inputs.lower[k] + share[:, 0].round() * (inputs.upper[k] - inputs.lower[k])
            values = evaluate_all(self.network, points)
            for node in self.network.bounded:
                assert (values[node] >= found[node].lower[k] - 1e-4).all()
                assert (values[node] <= found[node].upper[k] + 1e-4).all()
        seen.append(len({(domain.status > 0).tobytes() for domain in domains}))
        return found

    monkeypatch.setattr(support_split._Search, "_box_bounds", compared)
    for seed in range(6):
        network = random_network("wide", seed)
        image = np.random.default_rng(seed).random(network.input_size)
        label = int(predict(network, torch.from_numpy(image)[None]))
        certify(network, image, label, "0", 2, settings=Settings(timeout=10, threads=1), engines=("support-split",))
    assert sum(count > 1 for count in seen) >= 3, seen


def test_domains_claim_nothing_of_what_they_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """For inputs of a domain: no violation below its value, and none within the level beyond its half-space."""
    original, seen, halves = DomainBounds.bound, [0], [0]
    rng = np.random.default_rng(0)

    def compared(self: DomainBounds, batch: Batch, *rest: object) -> Bounded:
        found = original(self, batch, *rest)  # type: ignore[arg-type]
        regions_ = self.stack.rows(self._places[batch.pairs]).inputs
        share = torch.from_numpy(rng.random((400, regions_.lower.shape[1])))
        share = torch.cat([share, share.round()])
        for k in range(len(batch)):
            points = regions_.lower[k] + share * (regions_.upper[k] - regions_.lower[k])
            values = evaluate_all(self.network, points)
            read = torch.cat([values[self._read(i)] for i in self.columns.relus], -1)
            inside = ((batch.phases[k] == 0) | (read * batch.phases[k] >= 0)).all(-1)
            violation = (values[-1] @ self.rows[batch.pairs[k]].T + self.offset[batch.pairs[k]]).amax(-1)[inside]
            if not len(violation):
                continue
            seen[0] += 1
            assert float(found.value[k]) <= float(violation.min()) + 1e-6
            if found.half is not None:
                level = self.state.upper if self.state.query.objective is Objective.MAX_MARGIN else self.enough
                beyond = points[inside] @ found.half.coefficients[k] + found.half.offset[k] > 1e-9
                assert (violation[beyond] >= level - 1e-9).all()
                halves[0] += int(beyond.sum())
        return found

    monkeypatch.setattr(DomainBounds, "bound", compared)
    monkeypatch.setattr(domain_bounds, "_REFINE_UNSTABLE", 1000)
    for kind in ("mlp", "conv", "residual"):
        for seed in range(2):
            network = random_network(kind, seed)
            center = np.random.default_rng(seed).random(network.input_size)
            region = Region(np.maximum(center - 0.5, 0), np.minimum(center + 0.5, 1))
            y = evaluate(network, torch.from_numpy(center)[None])[0].numpy()
            rows = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
            polytope = Polytope(rows, rows @ y - 0.1, np.zeros(2, dtype=bool))
            specification = Specification((Case(region, (polytope,)),))
            for objective in (Objective.FEASIBILITY, Objective.MAX_MARGIN):
                state = opened(network, specification, objective)
                ReluSplit().run(state, 3.0)
    assert seen[0] >= 50 and halves[0] > 0


def test_tied_channels_change_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pixels of two channels, (2, 1, 3): an input that differs in both channels of one pixel is at distance 1."""
    b = NetworkBuilder((2, 1, 3))
    weight = np.zeros((2, 6))
    weight[1, [1, 4]] = 1.0  # both channels of pixel 1 are needed: 0.5 + 0.5 + 2 * 0.45 > 1.8
    network = b.finish(
        b.affine(
            [b.relu(b.affine([0], [Dense(tensor(np.eye(6)))], np.zeros(6)))],
            [Dense(tensor(weight))],
            np.array([1.8, 0.0]),
        )
    )
    case = robustness(np.full(6, 0.5), 0, 2, get_norm("0", 2), math.inf).cases[0]
    bounds = crown(network, InputSet.from_regions([case.region]))
    program = encode(network, bounds, case.region, case.unsafe, Objective.MIN_DISTORTION)
    result = Highs().solve(program, SolveOptions(time_limit=20.0))
    assert result.status is SolverStatus.OPTIMAL and result.point is not None
    assert float(program.cost @ result.point) + program.offset == pytest.approx(1.0)


# -- reading -----------------------------------------------------------------------------------------------------------------


class Shifted:
    """A runtime that is off by a little more than independent roundings, and by less than the worst ones."""

    path, dtype, has_ending = Path("m.onnx"), np.dtype(np.float32), False

    def __init__(self, network: Network, shift: np.ndarray) -> None:
        self.network, self.shift = network, shift

    def logits(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(evaluate(self.network, torch.from_numpy(x)).numpy() + self.shift)


def test_a_reading_that_is_off_by_more_than_chance_is_refused() -> None:
    rng = np.random.default_rng(0)
    b, node = NetworkBuilder((60,)), 0
    for _ in range(8):
        node = b.relu(b.affine([node], [Dense(tensor(rng.normal(size=(60, 60)) / 8))], rng.normal(size=60)))
    network = b.finish(b.affine([node], [Dense(tensor(rng.normal(size=(3, 60))))], np.zeros(3)))
    network = replace(network, input_dtype="float32")
    x = rng.random((1, 60))
    rounding = rounding_errors(network, torch.from_numpy(x.astype(np.float32).astype(float)), "float32")
    worst, likely = rounding.worst.numpy(), rounding.likely.numpy()
    assert (worst > 300 * likely).all()
    for factor, refused in ((150.0, True), (20.0, False)):
        judge = cast(OnnxJudge, Shifted(network, factor * likely))
        agreement = Agreement(network, network, judge)
        if refused:
            with pytest.raises(InvalidModel, match="something else"):
                agreement.check_on(x)
        else:
            agreement.check_on(x)


# -- properties ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["0.1", "-0.1", "0.3", "1e-40", "123456789.123456789", "0.5", "1e308", "-1e200"])
def test_limits_are_rounded_up_and_not_attained_then(limit: str) -> None:
    for factor in (Fraction(1), Fraction(2), Fraction(1, 3)):
        terms = {("Y", 0): factor, ("Y", 1): Fraction(-1, 7) if factor.denominator == 3 else Fraction(-1)}
        for strict in (False, True):
            row = row_of(Inequality(Linear(terms, -Fraction(limit)), strict, 0))
            scale = Fraction(row.terms["Y", 0]) / factor
            exact = Fraction(limit) * scale
            assert Fraction(row.offset) >= exact and Fraction(math.nextafter(row.offset, -math.inf)) < exact
            assert row.strict == (strict or Fraction(row.offset) != exact)
            if Fraction(row.offset) != exact and row.exact:
                assert row.decimal == (exact, strict)
    if abs(Fraction(limit)) > 10**100:  # made moderate by a power of 2
        return
    rough = Linear(
        {("Y", 0): Fraction("0.1000000000000000000000001"), ("Y", 1): Fraction(1, 3 * 2**70)}, -Fraction(limit)
    )
    row = row_of(Inequality(rough, False, 0))
    assert not row.exact and Fraction(row.offset) >= Fraction(limit)
    assert row.strict == (Fraction(row.offset) != Fraction(limit))


def translated(ending: str, outputs: int, assertion: str) -> Polytope:
    declared = "(declare-const X_0 Real)" + "".join(f"(declare-const Y_{k} Real)" for k in range(outputs))
    text = f"{declared}(assert (>= X_0 0.0))(assert (<= X_0 1.0))(assert {assertion})"
    return compile_vnnlib(text, Facts(1, outputs, ending, "float32")).specification.unsafe[0]


def logit(p: str) -> Decimal:
    with localcontext(prec=80):
        return (Decimal(p) / (1 - Decimal(p))).ln()


@pytest.mark.parametrize("p", ["0.1", "0.3", "0.7", "0.999", "1e-9"])
def test_translated_thresholds_lose_no_unsafe_output(p: str) -> None:
    """Against logarithms of 80 digits: the limit lies beyond the true one, by an ulp of float64 at most."""
    with localcontext(prec=80):
        ratio = Decimal(p).ln()
    for ending, outputs, assertion, row, limit in (
        ("Sigmoid", 1, f"(<= Y_0 {p})", [1.0], logit(p)),
        ("Sigmoid", 1, f"(>= Y_0 {p})", [-1.0], -logit(p)),
        ("Softmax", 2, f"(<= Y_0 {p})", [1.0, -1.0], logit(p)),
        ("Softmax", 2, f"(>= Y_0 {p})", [-1.0, 1.0], -logit(p)),
        ("Softmax", 3, f"(<= Y_0 (* {p} Y_2))", [1.0, 0.0, -1.0], ratio),
        ("Softmax", 3, f"(>= Y_0 (* {p} Y_2))", [-1.0, 0.0, 1.0], -ratio),
        ("LogSoftmax", 3, f"(<= (- Y_0 Y_1) -{p})", [1.0, -1.0, 0.0], Decimal("-" + p)),
    ):
        found = translated(ending, outputs, assertion)
        scale = np.abs(found.matrix[0]).max()
        assert (found.matrix[0] / scale).tolist() == row, assertion
        off = (Fraction(float(found.offset[0])) - Fraction(limit) * Fraction(float(scale))) / abs(Fraction(limit))
        assert 0 <= off <= Fraction(1, 2**50), assertion


# -- the checker -------------------------------------------------------------------------------------------------------------


def test_entries_shown_several_times_add_up() -> None:
    index = np.array([0, 1, 0, -1, 1, 1])
    pick, y = Pick(index, 3), np.arange(1.0, 7.0)[None]
    matrix = np.zeros((6, 3))
    matrix[np.flatnonzero(index >= 0), index[index >= 0]] = 1.0
    np.testing.assert_array_equal(pick.transposed(y), y @ matrix)
    np.testing.assert_array_equal(Pick(np.array([2, 0]), 3).transposed(np.array([[5.0, 7.0]])), [[7.0, 0.0, 5.0]])


@pytest.mark.parametrize("bound", [0.0, -1e-9, -0.01, math.nan])
def test_boxes_count_only_where_their_bound_is_positive(
    bound: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, _, _ = base("mlp", 3, True)
    model = subject("mlp", 3)[0]
    checking.check(source, model)
    monkeypatch.setattr(checking, "part_bound", lambda *_: (bound, np.zeros((1, 3))))
    with pytest.raises(Rejected, match="is not excluded on a box"):
        checking.check(source, model)


# -- losses ------------------------------------------------------------------------------------------------------------------


def test_adding_a_bias_rounds() -> None:
    """A bias of 1e12 beside weights of 1 loses the unit of 1e12."""
    b = NetworkBuilder((2,))
    hidden = b.relu(b.affine([0], [Dense(tensor(np.eye(2)))], np.full(2, 1e12)))
    network = b.finish(b.affine([hidden], [Dense(tensor(np.ones((1, 2))))], np.full(1, -2e12)))
    inputs = InputSet(torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64))
    losses = RoundingLoss.of(network, inputs, crown(network, inputs)).loss
    assert (losses[1] >= 1e12 * 2.0**-53).all() and (losses[3] >= 2e12 * 2.0**-53).all()


@pytest.mark.parametrize("size", [1, 63, 64, 65, 200, 997, 4096])
def test_inner_products_count_every_term(size: int) -> None:
    """Blocks of a wide layer, one vector for all rows or one for each."""
    rng = np.random.default_rng(size)
    weights, value = rng.normal(size=(1, 2, size)).astype(np.float32), rng.normal(size=size).astype(np.float32)
    exact = weights.astype(np.float64) @ value.astype(np.float64)
    for shape in ((size,), (1, 1, size), (1, 2, size)):
        values = torch.from_numpy(np.broadcast_to(value, shape).copy())
        found = backwards._inner(torch.from_numpy(weights), values, F64)
        np.testing.assert_allclose(found.numpy(), exact, rtol=0, atol=1e-5 * size)


def test_members_of_maxima_are_gathered_with_losses() -> None:
    """In the checker: sums over overlapping windows round, by a unit of the largest value at least."""
    network = CheckedNetwork(onnx.load(str(subject("pool", 0)[0])))
    size = network.nodes[0].size
    loss = Relaxation(network, BoxRegion(np.full(size, 0.5), np.ones(size))).loss
    pools = [i for i, node in enumerate(network.nodes) if node.pool >= 0]
    assert pools and all((loss[i] >= 1e-3 * 2.0**-53).all() for i in pools)


def test_relu_balls_keep_their_own_radii() -> None:
    many = torch.arange(6.0, dtype=F64).view(3, 1, 2)
    ball = ReluBall(torch.tensor([0, 1]), many - 9, many + 9, many, torch.tensor([[1.0], [2.0], [3.0]], dtype=F64), 1.0)
    taken = ball.rows(torch.tensor([2, 1]))
    assert taken.radius.tolist() == [[3.0], [2.0]]
    for whole, part in ((ball.center, taken.center), (ball.lower, taken.lower), (ball.upper, taken.upper)):
        assert torch.equal(part, whole[[2, 1]])


def test_boxes_are_not_clipped_inward_by_rounding() -> None:
    """Vertices of the allowed part, where rows are exactly 0, stay inside."""
    rng, kept = np.random.default_rng(0), 0
    for _ in range(300):
        a, limit = rng.integers(1, 9, 2).astype(float), rng.integers(1, 9) / 8
        rows, offset = torch.tensor([[[a[0], a[1]]]], dtype=F64), torch.tensor([[-limit * a[0]]], dtype=F64)
        zero, one = torch.zeros(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64) * 8
        low, high, empty = clip(zero, one, rows, offset)
        corner = torch.tensor([[limit, 0.0]], dtype=F64)  # a x = limit a[0]
        assert not bool(empty) and bool(((corner >= low) & (corner <= high)).all())
        kept += float(high[0, 0]) < 8
    assert kept > 200


# -- doors -------------------------------------------------------------------------------------------------------------------


def test_proving_refuses_what_is_no_number_and_what_cannot_be() -> None:
    network = random_network("mlp", 0)
    image = np.full(3, 0.5)
    label = int(predict(network, torch.from_numpy(image)[None]))
    state = opened(network, robustness(image, label, 3, get_norm("inf"), 0.25), Objective.MIN_DISTORTION)
    for value in (math.nan, math.inf):  # no farther than the limit can be seen
        with pytest.raises(FloatingPointError):
            state.prove(state.pairs[0], value, "test")
    assert state.pairs[0].lower == 0.0
    asked = opened(network, robustness(image, label, 3, get_norm("inf"), 0.25), Objective.FEASIBILITY)
    with pytest.raises(FloatingPointError):
        asked.prove(asked.pairs[0], math.nan, "test")
    assert asked.pairs[0].lower == -math.inf


def nearest_leaf(seed: int) -> tuple[Network, np.ndarray, int, dict[int, np.ndarray], float, int] | None:
    """A network, an image, and phases of a leaf with an unsafe input; the leaf's distance, and the rival's number."""
    network, rng = random_network("mlp", seed), np.random.default_rng(seed)
    image = rng.random(network.input_size)
    label = int(predict(network, torch.from_numpy(image)[None]))
    state = opened(network, robustness(image, label, 3, get_norm("2"), math.inf), Objective.MIN_DISTORTION)
    for x in rng.random((400, len(image))):
        values = evaluate_all(network, torch.from_numpy(x[None]))
        for k, pair in enumerate(state.pairs):
            if pair.polytope.violation(values[-1][0].numpy()) < -0.05:
                phases = phases_of(network, values)
                value, _ = LeafSolver(state).solve(pair, phases)
                return network, image, label, phases, value, k
    return None


def test_leaves_in_balls_are_empty_only_where_their_nearest_point_is_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = 0
    for seed in range(8):
        if (found := nearest_leaf(seed)) is None or found[4] < 0.01:
            continue
        network, image, label, phases, distance_, k = found
        for share, inside in ((1.03, True), (1.2, True), (0.98, False)):
            specification = robustness(image, label, 3, get_norm("2"), share * distance_)
            state = opened(network, specification, Objective.FEASIBILITY)
            value, _ = LeafSolver(state).solve(state.pairs[k], phases)
            assert (value <= 0) is inside, (seed, share, value)
        seen += 1
        with monkeypatch.context() as patch:  # a solver that calls everything infeasible
            patch.setattr(leaf, "convex_solver", lambda _: Infeasible())
            value, _ = LeafSolver(state).solve(state.pairs[k], phases)
            state = opened(network, robustness(image, label, 3, get_norm("2"), 1.2 * distance_), Objective.FEASIBILITY)
            assert LeafSolver(state).solve(state.pairs[k], phases)[0] == -math.inf
    assert seen >= 3


class Infeasible:
    def solve(self, *_: object) -> SolveResult:
        return SolveResult(SolverStatus.INFEASIBLE, None, math.inf, -math.inf, 0.0)


def test_a_ray_is_evaluated_before_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = ProgramBuilder()
    columns = builder.columns(np.zeros(2), np.ones(2), integer=True)
    builder.rows(csr_matrix(np.array([[1.0, 1.0]])), np.array([1.0]), np.array([np.inf]))
    program = builder.finish({int(c): 1.0 for c in columns}, ColumnMap(columns))
    assert LpTree(program).minimum(10.0).bound == pytest.approx(1.0)

    def lie(self: HighsLps, *_: object) -> LpAnswer:
        return LpAnswer(None, None, np.ones(1), False)

    monkeypatch.setattr(HighsLps, "solve", lie)
    assert LpTree(program).minimum(10.0).bound <= 1.0


# -- statements ----------------------------------------------------------------------------------------------------------------


def test_a_ball_of_another_norm_is_another_ball(tmp_path: Path) -> None:
    """A proof for norm 1 says nothing of norm 2 at the same radius, where an adversarial example is."""
    path = linear(tmp_path / "m.onnx", np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]), np.array([0.0, 1.0]))
    image = np.array([0.5, 0.5, 0.5])  # class 0 by 0.5: distance 0.5 in norm 1, 0.289 in norm 2
    outcome = certify(path, image, 0, "1", 0.4, settings=Settings(timeout=10, threads=1, proofs=tmp_path))
    assert outcome.proof is not None
    checking.check(outcome.proof, path)
    header, arrays = unpack(Path(outcome.proof))
    for norm in ("2", "inf"):
        header["cases"][0]["norm"] = norm
        repack(tmp_path / "other.proof", header, arrays)
        with pytest.raises(Rejected):
            checking.check(tmp_path / "other.proof", path)

"""CONTRIBUTING's table, followed to the letter: a file, a line in its folder's table, and everything works with it."""

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from networks import random_network
from onnx import TensorProto, helper, numpy_helper, save
from torch import Tensor

from advverify.verifier import attacks, engines, norms, solvers
from advverify.verifier.api import certify, certify_all, distance
from advverify.verifier.attacks.base import AttackProblem, Problem
from advverify.verifier.encoding import MixedIntegerProgram, formulations
from advverify.verifier.encoding.formulations.base import Columns, Neurons, big_m
from advverify.verifier.encoding.program import ProgramBuilder
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.engines.state import SearchState
from advverify.verifier.network import onnx_ops, operators
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Affine, Network
from advverify.verifier.network.onnx_ops import Context, Stream, Value
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.network.operators import Operator
from advverify.verifier.norms.linf import Linf
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.solvers import SolveOptions, SolveResult
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat, robustness

SETTINGS = Settings(timeout=20, threads=1)
AddFile = Callable[[types.ModuleType, str, type | Callable[..., Any]], None]


@pytest.fixture
def add_file(monkeypatch: pytest.MonkeyPatch) -> AddFile:
    """Puts a module with one class or function into a package of the verifier."""

    def add(package: types.ModuleType, file: str, content: type | Callable[..., Any]) -> None:
        module = types.ModuleType(f"{package.__name__}.{file}")
        setattr(module, content.__name__, content)
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return add


def asked(kind: str = "mlp", seed: int = 3) -> tuple[Network, np.ndarray, int]:
    """A network, an image and its class."""
    network = random_network(kind, seed)
    image = np.full(network.input_size, 0.5)
    return network, image, int(predict(network, torch.tensor(image[None])))


def same(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes of one question agree, and say something."""
    assert Verdict.UNKNOWN not in (one.verdict, other.verdict)
    sides = (one.bracket.lower, one.bracket.upper), (other.bracket.lower, other.bracket.upper)
    return one.verdict is other.verdict and np.allclose(*sides, rtol=1e-6)


class Idle:
    """An engine that does nothing, but counts how often it was asked to."""

    name = "idle"
    fraction = 0.5
    repeats = True
    alone, batches = 0, 0

    def run(self, state: SearchState, deadline: float) -> None:
        Idle.alone += 1

    def run_all(self, states: Sequence[SearchState], deadline: float) -> None:
        Idle.batches += 1


def test_an_engine(monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    network, image, label = asked()
    without = distance(network, image, label, settings=SETTINGS)
    add_file(engines, "idle", Idle)
    monkeypatch.setattr(engines, "ENGINES", {"idle": "idle:Idle", **engines.ENGINES})
    assert same(distance(network, image, label, settings=SETTINGS), without) and Idle.alone == 1
    assert distance(network, image, label, settings=SETTINGS, engines=("idle",)).verdict is Verdict.UNKNOWN
    few = [
        outcome for _, outcome in certify_all(network, [image] * 5, [label] * 5, Threat(eps=0.02), settings=SETTINGS)
    ]
    assert all(outcome.verdict is not Verdict.UNKNOWN for outcome in few) and Idle.batches == 1


class Largest(Linf):
    """A copy of the maximum norm under another name."""

    name = "largest"


@pytest.mark.parametrize("kind", ["mlp", "maxpool"])
@pytest.mark.parametrize("names", [(), ("propagate", "milp"), ("input-split",)], ids="+".join)
def test_a_norm(kind: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    add_file(norms, "largest", Largest)
    monkeypatch.setitem(norms.NORMS, "largest", "largest:Largest")
    network, image, label = asked(kind)
    if "input-split" not in names:  # which is for verdicts
        exact = [
            distance(network, image, label, Threat(norm), settings=SETTINGS, engines=names)
            for norm in ("inf", "largest")
        ]
        assert same(*exact)
    for eps in (0.05, 0.6):
        pair = [
            certify(network, image, label, Threat(norm, eps), settings=SETTINGS, engines=names)
            for norm in ("inf", "largest")
        ]
        assert pair[0].verdict is pair[1].verdict is not Verdict.UNKNOWN


@dataclass(frozen=True, eq=False)
class PrefixSums(Operator):
    """y_i = x_0 + ... + x_i."""

    size: int

    @property
    def in_size(self) -> int:
        return self.size

    @property
    def out_size(self) -> int:
        return self.size

    @property
    def fan_in(self) -> int:
        return self.size

    @property
    def fan_out(self) -> int:
        return self.size

    def apply(self, x: Tensor) -> Tensor:
        return x.cumsum(-1)

    def adjoint(self, y: Tensor) -> Tensor:
        return y.flip(-1).cumsum(-1).flip(-1)

    def _absolute(self) -> Operator:
        return self

    def squared(self) -> Operator:
        return self

    def to_sparse(self) -> sp.csr_matrix:
        return sp.csr_matrix(np.tril(np.ones((self.size, self.size))))


def prefix_sums(context: Context, node: Any, operands: list[Value | None], attributes: dict[str, Any]) -> Stream:
    """CumSum along the last axis."""
    x = context.stream(operands[0], "what is summed")
    (axis,) = context.constant(operands[1], "axis").ravel()
    if axis not in (-1, len(x.shape) - 1) or attributes or x.shape[:-1] != (1,):
        raise context.unsupported("only plain sums along the last axis are supported")
    return Stream(context.builder.affine([x.node], [PrefixSums(x.shape[-1])], None, context.label), x.shape)


def write(path: Path, summing: bool) -> Path:
    """Dense, ReLU, sums of what came before (as CumSum, or as a matrix), dense."""
    rng = np.random.default_rng(6)
    constants = {"w": rng.normal(size=(4, 5)), "v": rng.normal(size=(5, 3)), "m": np.triu(np.ones((5, 5)))}
    initializers = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in constants.items()]
    initializers.append(numpy_helper.from_array(np.array(1), "axis"))
    middle = helper.make_node("CumSum" if summing else "MatMul", ["r", "axis" if summing else "m"], ["s"])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        middle,
        helper.make_node("MatMul", ["s", "v"], ["y"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 3))]
    graph = helper.make_graph(nodes, "sums", ports[:1], ports[1:], initializers)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_linear_operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    add_file(operators, "prefix_sums", PrefixSums)
    add_file(onnx_ops, "sums", prefix_sums)
    monkeypatch.setitem(onnx_ops.READERS, "CumSum", "sums:prefix_sums")
    new, known = write(tmp_path / "new.onnx", True), write(tmp_path / "known.onnx", False)
    used = [operator for node in read_onnx(new).nodes if isinstance(node, Affine) for operator in node.operators]
    assert any("PrefixSums" in repr(operator) for operator in used)
    image = np.array([0.5, 0.4, 0.6, 0.5])
    label = int(predict(read_onnx(known), torch.tensor(image[None])))
    for norm in norms.NORMS:
        assert same(*(distance(path, image, label, Threat(norm), settings=SETTINGS) for path in (new, known))), norm


class Doubled:
    """Big-M with constants N times as large as need be."""

    written = 0

    def __init__(self, times: int) -> None:
        self.times = times

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        Doubled.written += len(neurons)
        return big_m(builder, neurons, np.abs(neurons.lower) * self.times, np.abs(neurons.upper) * self.times)


def test_a_formulation(monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    add_file(formulations, "doubled", Doubled)
    monkeypatch.setitem(formulations.FORMULATIONS, "times-N", "doubled:Doubled")
    network, image, label = asked()
    names = ("falsify", "milp")
    usual = distance(network, image, label, settings=SETTINGS, engines=names)
    other = Settings(timeout=20, threads=1, milp=MilpOptions(formulation="times-2"))
    assert same(distance(network, image, label, settings=other, engines=names), usual) and Doubled.written > 0


class Corner:
    """An attack that goes to the lower corner."""

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        return problem.inputs.lower


def test_an_attack(monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    add_file(attacks, "corner", Corner)
    entry = attacks.Entry("corner:Corner", ("inf",), "ball", "black", "-")
    monkeypatch.setitem(attacks.ATTACKS, "corner", entry)
    network, image, label = asked()
    disjunct = robustness(image, label, Threat("inf", 0.5), 3).disjuncts[0]
    problem = AttackProblem.build(network, [(disjunct.region, polytope) for polytope in disjunct.unsafe])
    found = attacks.run(attacks.make_attack("corner"), problem, 0)
    corner = int(predict(network, torch.zeros(1, network.input_size, dtype=torch.float64)))
    others = [k for k in range(3) if k != label]
    assert corner == label or bool(found.success[others.index(corner)])


class Counting(Highs):
    """HiGHS under another name."""

    name = "counting"
    solves = 0

    def solve(self, program: MixedIntegerProgram, options: SolveOptions) -> SolveResult:
        Counting.solves += 1
        return super().solve(program, options)


def test_a_solver(monkeypatch: pytest.MonkeyPatch, add_file: AddFile) -> None:
    add_file(solvers, "counting", Counting)
    monkeypatch.setitem(solvers.SOLVERS, "counting", "counting:Counting")
    network, image, label = asked()
    names = ("propagate", "milp")
    usual = distance(network, image, label, settings=SETTINGS, engines=names)
    other = Settings(timeout=20, threads=1, milp=MilpOptions("counting", tighten="none", cuts="none"))
    assert same(distance(network, image, label, settings=other, engines=names), usual) and Counting.solves > 0

"""No wrong word: exact distances asked for to the last digit, ties, extreme weights, hidden counterexamples, liars."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from advverify.verifier.api import certify, distance
from advverify.verifier.engines import ENGINES, Settings
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.operators import Dense
from advverify.verifier.outcome import Verdict
from advverify.verifier.solvers import SolveResult, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat

QUICK = Settings(timeout=10, threads=1)


def layers(*parameters: tuple[list[list[float]], list[float]]) -> Network:
    """Dense layers with ReLUs between them, from rational numbers that float32 holds exactly."""
    builder = NetworkBuilder((len(parameters[0][0][0]),))
    h = 0
    for k, (weight, bias) in enumerate(parameters):
        h = builder.affine([h], [Dense(tensor(np.array(weight)))], np.array(bias))
        h = builder.relu(h) if k < len(parameters) - 1 else h
    return builder.finish(h)


# Class 0 has 3/4, class 1 has 2 relu(x0 - 1/2) + relu(x1 - 1/4): from (1/2, 1/4) it takes 1/4 in linf, 3/8 in l1.
STEP = layers(([[1.0, 0.0], [0.0, 1.0]], [-0.5, -0.25]), ([[0.0, 0.0], [2.0, 1.0]], [0.75, 0.0]))
CENTER = np.array([0.5, 0.25])
EXACT = {"inf": Fraction(1, 4), "1": Fraction(3, 8)}


@pytest.mark.parametrize("engines", [(), *[(name,) for name in ENGINES]], ids=lambda names: "+".join(names) or "all")
@pytest.mark.parametrize("norm", ["inf", "1"])
def test_knife_edge(norm: str, engines: tuple[str, ...]) -> None:
    exact = EXACT[norm]
    for factor in (Fraction(1) - Fraction(1, 10**7), Fraction(1), Fraction(1) + Fraction(1, 10**7)):
        eps = float(exact * factor)
        verdict = certify(STEP, CENTER, 0, Threat(norm, eps), settings=QUICK, engines=engines).verdict
        assert verdict is not (Verdict.ROBUST if Fraction(eps) >= exact else Verdict.ADVERSARIAL), (factor, verdict)
    bracket = distance(STEP, CENTER, 0, Threat(norm), settings=QUICK, engines=engines).bracket
    assert bracket.lower <= float(exact) * (1 + 1e-12) and bracket.upper >= float(exact) * (1 - 1e-12)


def test_euclidean_knife_edge() -> None:
    exact = 0.75 / np.sqrt(5.0)
    assert certify(STEP, CENTER, 0, Threat("2", exact * (1 - 1e-7)), settings=QUICK).verdict is not Verdict.ADVERSARIAL
    assert certify(STEP, CENTER, 0, Threat("2", exact * (1 + 1e-7)), settings=QUICK).verdict is not Verdict.ROBUST


def test_a_tie_is_adversarial() -> None:
    """Two classes that are equal everywhere: the label never wins alone."""
    network = layers(([[1.0, 1.0], [1.0, 1.0]], [0.0, 0.0]))
    for engines in [(), *[(name,) for name in ENGINES]]:
        assert (
            certify(network, CENTER, 0, Threat("inf", 0.1), settings=QUICK, engines=engines).verdict
            is not Verdict.ROBUST
        )


def test_inputs_that_cannot_move() -> None:
    """A box without width in some inputs, and a radius of zero."""
    network = layers(([[1.0, -1.0]], [0.0]), ([[0.0], [1.0]], [0.1, 0.0]))
    assert certify(network, np.array([0.0, 0.0]), 0, Threat("inf", 0.0), settings=QUICK).verdict is Verdict.ROBUST
    assert certify(network, np.array([1.0, 0.0]), 1, Threat("inf", 0.0), settings=QUICK).verdict is Verdict.ROBUST
    assert certify(network, np.array([0.0, 0.0]), 0, Threat("inf", 0.2), settings=QUICK).verdict is Verdict.ADVERSARIAL


def backdoor(size: float) -> Network:
    """Class 1 has 1 - 4 relu(x - 1/4), where x comes as (x + size) - size: a solver's tolerances or float32 lose it.

    After Zombori et al., "Fooling a Complete Neural Network Verifier", ICLR 2021. Class 0 wins from x = 3/8 on.
    """
    return layers(([[1.0]], [size]), ([[1.0]], [-size - 0.25]), ([[0.0], [-4.0]], [0.5, 1.0]))


@pytest.mark.parametrize("size", [1e4, 1e7, 1e10])
@pytest.mark.parametrize("engines", [(), *[(name,) for name in ENGINES]], ids=lambda names: "+".join(names) or "all")
def test_large_numbers_do_not_hide_a_counterexample(size: float, engines: tuple[str, ...]) -> None:
    center = np.array([0.2])
    for eps, wrong in ((0.17, Verdict.ADVERSARIAL), (0.18, Verdict.ROBUST)):
        verdict = certify(backdoor(size), center, 1, Threat("inf", eps), settings=QUICK, engines=engines).verdict
        assert verdict is not wrong, (eps, verdict)


@pytest.mark.parametrize("engines", [(), ("relu-split",), ("milp",), ("propagate", "relu-split", "milp")])
def test_a_solver_that_calls_everything_infeasible(engines: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    lie = SolveResult(SolverStatus.INFEASIBLE, None, np.inf, -np.inf, 0.0)
    monkeypatch.setattr(Highs, "solve", lambda self, program, options: lie)
    assert certify(STEP, CENTER, 0, Threat("inf", 0.26), settings=QUICK, engines=engines).verdict is not Verdict.ROBUST
    assert distance(STEP, CENTER, 0, Threat("inf"), settings=QUICK, engines=engines).bracket.lower <= 0.25


def test_extreme_weights_in_files_are_refused(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.array([[1e12, 1.0]], np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [weight],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    with pytest.raises(InvalidModel, match="rescale"):
        certify(tmp_path / "m.onnx", np.zeros(1), 0, Threat("inf", 0.1))

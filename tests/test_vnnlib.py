"""VNN-LIB: both versions, disjunctions, and errors with their place."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.errors import InvalidSpecification
from advverify.verifier.specification.vnnlib import read_vnnlib
from advverify.verifier.specification.vnnlib.compile import compile_vnnlib

BOX = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)\n(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1.5) (<= X_1 2e-1)))\n"


def test_box_and_output() -> None:
    spec = compile_vnnlib(BOX + "(assert (<= Y_0 Y_1)) ; comment", 2, 2)
    assert spec.region.lower.tolist() == [0, -1.5] and spec.region.upper.tolist() == [1, 0.2]
    assert spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.0, 1.0]))
    assert not spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.1, 1.0]))


def test_strict_means_strict() -> None:
    spec = compile_vnnlib(BOX + "(assert (< Y_0 Y_1))", 2, 2)
    assert not spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.0, 1.0]))


def test_disjunctions_over_inputs_and_outputs() -> None:
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (or (and (<= X_0 1) (>= X_0 0) (>= Y_0 5)) (and (<= X_0 3) (>= X_0 2) (<= Y_0 -5)) (and (<= X_0 1) (>= X_0 0) (<= Y_0 1))))"
    spec = compile_vnnlib(text, 1, 1)
    assert [len(case.unsafe) for case in spec.cases] == [2, 1]
    assert spec.is_counterexample(np.array([2.5]), np.array([-6.0]))
    assert not spec.is_counterexample(np.array([0.5]), np.array([2.0]))


def test_version_two() -> None:
    text = "(vnnlib-version <2.0>)(declare-network N (declare-input X Real [1,2]) (declare-output Y Real [1,2]))(assert (and (<= 0 X[0,0]) (<= X[0,0] 1) (>= X[0,1] 0) (<= X[0,1] 1)))(assert (>= (+ (* 2 Y[0,0]) 1) Y[0,1]))"
    spec = compile_vnnlib(text, 2, 2)
    assert spec.unsafe[0].contains(np.array([0.0, 1.0])) and not spec.unsafe[0].contains(np.array([0.0, 1.1]))


def test_gz(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib.gz"
    path.write_bytes(gzip.compress((BOX + "(assert (<= Y_0 0))").encode()))
    assert read_vnnlib(path, 2, 2).region.size == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOX + "(assert (<= Y_0 Y_7))", "line 3, column 17: 'Y_7'"),
        (BOX + "(assert (<= Y_0 0)", "line 3, column 1: this parenthesis"),
        (BOX + "(assert (<= (* Y_0 Y_1) 0))", "product of two variables"),
        (BOX + "(assert (=> Y_0 0))", "not a comparison"),
        (BOX + "(assert (<= X_0 -1))(assert (<= Y_0 0))", "unsatisfiable"),
        (BOX + "(assert (<= X_0 X_1))(assert (<= Y_0 0))", "between inputs"),
        ("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= Y_0 0))", "no lower or no upper"),
        ("(declare-const X_9 Real)", "the network has 2 inputs"),
        ("", "asserts nothing"),
        (")", "without an opening"),
    ],
)
def test_errors_say_where(text: str, message: str) -> None:
    with pytest.raises(InvalidSpecification, match="(?s).*".join([""] + [message.replace("(", r"\(")])):
        compile_vnnlib(text, 2, 2)


@given(st.text(alphabet='()<>=+-*XY_01. andorseti;\n[]|"', max_size=80))
def test_any_text_gives_a_specification_or_one_clear_error(text: str) -> None:
    try:
        compile_vnnlib(text, 2, 2)
    except InvalidSpecification:
        return

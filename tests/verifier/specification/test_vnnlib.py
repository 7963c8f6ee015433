"""VNN-LIB: both versions, disjunctions, and errors with their place."""

import gzip
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.errors import InvalidSpecification
from advverify.verifier.specification import Specification
from advverify.verifier.specification.vnnlib import Facts, OutOfTime, Property, compile, read_vnnlib

BOX = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)\n(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1.5) (<= X_1 2e-1)))\n"
NARROW = Facts(2, 2, "", "float32")


def read(text: str, facts: Facts = NARROW) -> Property:
    """A property for a network of two inputs and two outputs."""
    return compile.compile_vnnlib(text, facts)


def compile_vnnlib(text: str, inputs: int, outputs: int) -> Specification:
    """Its specification, for a network of these sizes that takes float64."""
    return read(text, Facts(inputs, outputs)).specification


def test_box_and_output() -> None:
    """The number that is written 0.2 lies a little above 1/5, the last one that satisfies the bound a little below."""
    spec = compile_vnnlib(BOX + "(assert (<= Y_0 Y_1)) ; comment", 2, 2)
    assert spec.region.lower.tolist() == [0, -1.5] and spec.region.upper.tolist() == [1, np.nextafter(0.2, 0)]
    assert spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.0, 1.0]))
    assert not spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.1, 1.0]))


def test_strict_means_strict() -> None:
    spec = compile_vnnlib(BOX + "(assert (< Y_0 Y_1))", 2, 2)
    assert not spec.is_counterexample(np.array([0.5, 0.0]), np.array([1.0, 1.0]))


def test_disjunctions_over_inputs_and_outputs() -> None:
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (or (and (<= X_0 1) (>= X_0 0) (>= Y_0 5)) (and (<= X_0 3) (>= X_0 2) (<= Y_0 -5)) (and (<= X_0 1) (>= X_0 0) (<= Y_0 1))))"
    spec = compile_vnnlib(text, 1, 1)
    assert [len(disjunct.unsafe) for disjunct in spec.disjuncts] == [2, 1]
    assert spec.is_counterexample(np.array([2.5]), np.array([-6.0]))
    assert not spec.is_counterexample(np.array([0.5]), np.array([2.0]))


def test_version_two() -> None:
    text = "(vnnlib-version <2.0>)(declare-network N (declare-input X Real [1,2]) (declare-output Y Real [1,2]))(assert (and (<= 0 X[0,0]) (<= X[0,0] 1) (>= X[0,1] 0) (<= X[0,1] 1)))(assert (>= (+ (* 2 Y[0,0]) 1) Y[0,1]))"
    spec = compile_vnnlib(text, 2, 2)
    assert spec.unsafe[0].contains(np.array([0.0, 1.0])) and not spec.unsafe[0].contains(np.array([0.0, 1.1]))


def test_gz(tmp_path: Path) -> None:
    path = tmp_path / "p.vnnlib.gz"
    path.write_bytes(gzip.compress((BOX + "(assert (<= Y_0 0))").encode()))
    assert read_vnnlib(path, Facts(2, 2)).specification.region.size == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOX + "(assert (<= Y_0 Y_7))", "line 3, column 17: 'Y_7'"),
        (BOX + "(assert (<= Y_0 0)", "line 3, column 1: this parenthesis"),
        (BOX + "(assert (<= (* Y_0 Y_1) 0))", "product of two variables"),
        (BOX + "(assert (=> Y_0 0))", "expected a comparison"),
        (BOX + "(assert (ite (<= Y_0 0) (<= Y_1 0) (>= Y_1 0)))", "'ite' is not supported"),
        (BOX + "(assert (let ((a 1)) (<= Y_0 a)))", "'let' is not supported"),
        (BOX + "(assert (<= (ite true Y_0 Y_1) 0))", "'ite' is not supported in a term"),
        (BOX + "(assert (xor (<= Y_0 0) (<= Y_1 0)))", "'xor' is not supported here"),
        (BOX + "(assert (<= (/ 1 Y_0) 0))", "'/' divides"),
        (BOX + "(assert (<= Y_0 1e400))", "numbers must be finite"),
        (BOX + "(declare-const Z Real)(assert (<= Y_0 Z))", "not 'Z'"),
        (BOX + "(declare-fun f (Real) Real)(assert (<= Y_0 0))", "function of arguments"),
        (BOX + "(assert (not (<= Y_0 0) (<= Y_1 0)))", "'not' takes one"),
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


def test_words_of_smt_lib() -> None:
    text = "\ufeff(set-logic QF_LRA)(declare-fun X_0 () Real)(declare-fun Y_0 () Real)(declare-const unused Real)(assert true)(assert (<= 0 X_0 1))(assert (=> (<= Y_0 0.5) (not (< Y_0 0.25))))(check-sat)(exit)"
    spec = compile_vnnlib(text, 1, 1)
    inside = [v for v in (0.0, 0.25, 0.5, 0.75) if spec.is_counterexample(np.array([0.5]), np.array([v]))]
    assert inside == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("bounds", "lower", "upper"),
    [
        ("(>= X_0 0.5)(<= X_0 0.5)", 0.5, 0.5),
        ("(> X_0 0.5)(<= X_0 1)", 0.5 + 2**-24, 1.0),
        ("(>= X_0 0)(< X_0 0.5)", 0.0, 0.5 - 2**-25),
        ("(> X_0 0)(<= X_0 1)", 2.0**-149, 1.0),
        ("(> X_0 -1)(< X_0 -0.5)", -1.0 + 2**-24, -0.5 - 2**-24),
    ],
)
def test_a_strict_bound_is_the_next_float32(bounds: str, lower: float, upper: float) -> None:
    text = f"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (and {bounds}))(assert (<= Y_0 0))"
    region = read(text, Facts(1, 1, "", "float32")).specification.region
    assert (float(region.lower[0]), float(region.upper[0])) == (lower, upper)


@pytest.mark.parametrize(
    ("bounds", "taken"),
    [
        ("(>= X_0 0.1)(<= X_0 0.1)", [0.1]),
        ("(>= X_0 -1.1)(<= X_0 -1.1)", [-1.1]),
        ("(>= X_0 0.3)(<= X_0 0.300000001)", [0.3]),
        ("(> X_0 0.3)(< X_0 0.300000001)", [0.3]),
        ("(>= X_0 0.50000001)(<= X_0 0.50000004)", [0.5, 0.5 + 2**-24]),
    ],
)
def test_an_interval_without_a_float32_takes_what_its_decimals_are_rounded_to(bounds: str, taken: list[float]) -> None:
    text = f"(declare-const X_0 Real)(declare-const Y_0 Real)(assert (and {bounds}))(assert (<= Y_0 0))"
    found = read(text, Facts(1, 1, "", "float32"))
    region = found.specification.region
    for value in taken:
        narrow = np.float32(value)
        assert region.contains(np.array([float(narrow)]))
        assert f"{narrow:.9g}" in found.notes[0]
    low = np.nextafter(np.float32(min(taken)), np.float32(-9))
    high = np.nextafter(np.float32(max(taken)), np.float32(9))
    assert not region.contains(np.array([float(low)])) and not region.contains(np.array([float(high)]))
    assert len(found.notes) == 1


def test_notes_name_a_few_inputs_and_count_the_others() -> None:
    text = "".join(f"(declare-const X_{k} Real)(assert (= X_{k} 0.{k}1))" for k in range(1, 9))
    text += "(declare-const X_0 Real)(assert (= X_0 0.5))(declare-const Y_0 Real)(assert (<= Y_0 0))"
    notes = read(text, Facts(9, 1, "", "float32")).notes
    assert len(notes) == 4 and "X_1 is fixed at 0.11" in notes[0] and "5 more" in notes[-1]


@pytest.mark.parametrize(
    "assertions",
    [
        "(<= 1 0)",
        "false",
        "(> Y_0 Y_0)",
        "(and (> Y_0 Y_1) (> Y_1 Y_0))",
        "(and (>= Y_0 Y_1) (> Y_1 Y_0))",
        "(and (> Y_0 0.1) (< Y_0 0.1))",
        "(and (>= (+ Y_0 Y_1) 1) (< (* 0.1 Y_0) (- 0.1 (* 0.1 Y_1))))",
        "(and (< Y_0 Y_1) (< Y_1 (* 0.5 Y_0)) (> Y_0 0))",
        "(and (<= (+ Y_0 Y_1) 0.3) (>= Y_0 0.1) (> Y_1 0.2))",
        "(< X_0 0)",
        "(and (>= X_0 0.5) (< X_0 0.5))",
        "(>= X_0 1.0000001)",
        "(>= (+ X_0 X_1) 1.3)",
        "(and (> X_0 X_1) (< X_0 X_1))",
        "(or (and (< Y_0 0) (> Y_0 0)) (< X_0 0))",
        "(= 1 2 2)",
        "(not true)",
    ],
)
def test_contradictions_leave_no_case(assertions: str) -> None:
    found = read(BOX + f"(assert {assertions})(assert (<= Y_0 5))")
    assert found.specification.disjuncts == () and found.contradiction


@pytest.mark.parametrize(
    "assertions",
    [
        "(and (>= Y_0 Y_1) (>= Y_1 Y_0))",
        "(and (>= Y_0 0.1) (<= Y_0 0.1))",
        "(and (<= (+ Y_0 Y_1) 0.3) (>= Y_0 0.1) (>= Y_1 0.2))",
        "(>= (+ X_0 X_1) 1.2)",
        "(not false)",
        "(>= X_0 1)",
    ],
)
def test_what_hangs_by_a_point_is_no_contradiction(assertions: str) -> None:
    assert len(read(BOX + f"(assert {assertions})(assert (<= Y_0 5))").specification.disjuncts) == 1


def test_reading_ends_at_its_deadline() -> None:
    with pytest.raises(OutOfTime):
        compile.compile_vnnlib(BOX + "(assert (<= Y_0 0))", NARROW, time.perf_counter() - 1)


def test_disjuncts_share_what_they_do_not_name() -> None:
    """Boxes that differ in nothing are one case; what is built for a disjunct is what it adds."""
    count = 500
    head = "".join(f"(declare-const X_{k} Real)(assert (<= 0.1 X_{k} 0.9))" for k in range(count))
    head += "".join(f"(declare-const Y_{k} Real)" for k in range(5))
    choices = " ".join(f"(and (>= Y_{k % 5} {k}) (<= X_{k % 3} 0.5))" for k in range(300))
    found = read(head + f"(assert (or {choices}))", Facts(count, 5, "", "float32"))
    assert [len(disjunct.unsafe) for disjunct in found.specification.disjuncts] == [100, 100, 100]
    assert all((disjunct.region.upper == 0.5).sum() == 1 for disjunct in found.specification.disjuncts)


def test_strict_sides_with_no_float32_between_them() -> None:
    """Reals lie there, so that the property is no contradiction; but no input of the type may be a witness."""
    text = BOX.replace("(>= X_0 0)", "(> X_0 0.5)").replace("(<= X_0 1)", "(<= X_0 0.500000001)")
    assert text != BOX
    region = read(text + "(assert (<= Y_0 Y_1))").specification.region
    assert region.lower[0] > 0.5 and region.upper[0] <= 0.5000000010001 and region.lower[0] < region.upper[0]
    assert not region.contains(np.array([0.5, 0.0]))


@pytest.mark.parametrize("ending", ["Softmax", "Sigmoid", "LogSoftmax"])
def test_impossible_thresholds_are_contradictions(ending: str) -> None:
    """Below the least and above the greatest value that the ending can have, also for sums of outputs."""
    facts = Facts(2, 2, ending, "float32")
    impossible: dict[str, tuple[str, ...]] = {
        "Softmax": ("(<= Y_0 -0.1)", "(>= Y_1 1.1)", "(< Y_0 0)", "(<= (+ Y_0 Y_1) 0.5)")
    }
    impossible |= {
        "Sigmoid": ("(<= Y_0 -0.1)", "(>= Y_1 1.1)", "(< Y_0 0)"),
        "LogSoftmax": ("(>= Y_0 0.1)", "(> Y_1 0)"),
    }
    for row in impossible[ending]:
        assert not read(f"{BOX}(assert {row})", facts).specification.disjuncts, row
    for row in ("(<= Y_0 Y_1)", "(>= Y_0 -1000)" if ending == "LogSoftmax" else "(<= Y_0 1.5)"):
        (disjunct,) = read(f"{BOX}(assert {row})", facts).specification.disjuncts
        assert len(disjunct.unsafe) == 1

"""Numbers that a file computes from its own mean what they are without rounding, or are refused."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_graphs import build, node

from advverify import certify, open_model
from advverify.verifier.bounds.rational import Choices, RationalNetwork
from advverify.verifier.denormals import denormals_kept, flushed
from advverify.verifier.errors import AdvverifyError, UnsupportedOperator
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.onnx_reader import read_model
from advverify.verifier.outcome import Verdict

NUMBER = st.floats(-8192, 8192, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30)
HALF = float(np.float32(0.3))


def file(nodes: list[onnx.NodeProto], **arrays: Any) -> onnx.ModelProto:
    """Of one input x; the last node's output is y."""
    initializers = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    return build(nodes, initializers, shape=(1, 1))


def single(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def offset_of(network: Network) -> Fraction:
    """The affine network's output at 0, in rational arithmetic."""
    form = RationalNetwork(network).lower_form({network.output: {0: Fraction(1)}}, Fraction(0), Choices({}, {}, None))
    return form.offset


def _files(a: float, b: float, c: float) -> dict[str, tuple[onnx.ModelProto, Fraction | None]]:
    """Files with their outputs at 0; None where float64 may not have it."""
    x, y, z = Fraction(a), Fraction(b), Fraction(c)
    constants = {"a": single(a), "b": single(b), "c": single(c)}
    column = {"w": single(1.0).reshape(1, 1), "c": single(c)}
    alpha = Fraction(HALF)
    return {
        "sum of constants": (file([node("Sum", ["a", "x", "b", "c"], ["y"])], **constants), x + y + z),
        "one after another": (
            file([node("Add", ["x", "a"], ["p"]), node("Sub", ["p", "b"], ["q"]), node("Add", ["q", "c"], ["y"])], **constants),
            x - y + z,
        ),
        "folded sum": (file([node("Add", ["a", "b"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), x + y),
        "folded difference": (file([node("Sub", ["a", "b"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), x - y),
        "folded product": (file([node("Mul", ["a", "b"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), x * y),
        "folded sum of three": (file([node("Sum", ["a", "b", "c"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), x + y + z),
        "folded quotient": (
            file([node("Div", ["a", "b"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants),
            x / y if y else None,
        ),
        "repeated operands": (file([node("Sum", ["a", "c", "b", "a"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), 2 * x + y + z),
        "folded double": (file([node("Add", ["a", "a"], ["d"]), node("Add", ["x", "d"], ["y"])], **constants), 2 * x),
        "folded cast": (
            file([node("Mul", ["a", "b"], ["d"]), node("Cast", ["d"], ["e"], to=1), node("Add", ["x", "e"], ["y"])], **constants),
            x * y,
        ),
        "folded maximum": (
            file([node("Mul", ["a", "b"], ["d"]), node("Max", ["d", "c"], ["e"]), node("Add", ["x", "e"], ["y"])], **constants),
            max(x * y, z),
        ),
        "beta": (file([node("Gemm", ["x", "w", "c"], ["y"], beta=HALF)], **column), alpha * z),
    }  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(NUMBER, NUMBER, NUMBER)
@example(16777216.0, 1.0, 0.3)
@example(2.0**-60, 1.0, -(2.0**-60))
@example(1.0, 3.0, 1e-20)
def test_what_is_computed_of_constants(a: float, b: float, c: float) -> None:
    for name, (model, right) in _files(*map(float, single(a, b, c))).items():
        try:
            network = read_model(model)
        except AdvverifyError as refused:
            why = str(refused)
            assert "rounds" in why or "beyond 1e+08" in why or (name == "folded quotient" and not b), (name, why)
            assert name.startswith(("folded", "repeated")), (name, why)
            continue
        assert right is not None and offset_of(network) == right, name


def test_most_of_it_is_read() -> None:
    """What float64 has is not refused."""
    for name, (model, right) in _files(*map(float, single(0.1, 0.3, 0.7))).items():
        if name != "folded quotient":
            assert offset_of(read_model(model)) == right
    model = file(
        [node("Cast", ["d"], ["e"], to=10), node("Cast", ["e"], ["f"], to=1), node("Add", ["x", "f"], ["y"])],
        a=single(0.1),
        b=single(0.3),
    )
    model.graph.node.insert(0, node("Mul", ["a", "b"], ["d"]))
    with pytest.raises(UnsupportedOperator, match="Cast of a result that the file's own type does not have"):
        read_model(model)
    for op, a, b, quotient in (("Div", 3.0, 8.0, 0.375), ("Sqrt", 6.25, None, 2.5), ("Reciprocal", 4.0, None, 0.25)):
        operands = ["a"] if b is None else ["a", "b"]
        arrays = {"a": single(a)} | ({} if b is None else {"b": single(b)})
        network = read_model(file([node(op, operands, ["d"]), node("Add", ["x", "d"], ["y"])], **arrays))
        assert offset_of(network) == Fraction(quotient)
    with pytest.raises(UnsupportedOperator, match="constant Sqrt rounds"):
        read_model(file([node("Sqrt", ["a"], ["d"]), node("Add", ["x", "d"], ["y"])], a=single(2.0)))


def test_scales_of_quantised_weights() -> None:
    """(x - zero point) scale to the last bit."""
    nodes = [node("DequantizeLinear", ["q", "s", "z"], ["w"]), node("Add", ["x", "w"], ["y"])]
    arrays = {"q": np.array([[-117]], np.int8), "s": np.float32(0.1), "z": np.int8(5)}
    assert offset_of(read_model(file(nodes, **arrays))) == -122 * Fraction(float(np.float32(0.1)))
    cast = [nodes[0], node("Cast", ["w"], ["c"], to=1), node("Add", ["x", "c"], ["y"])]  # which would round it
    assert offset_of(read_model(file(cast, **arrays))) == -122 * Fraction(float(np.float32(0.1)))
    larger = [nodes[0], node("Max", ["w", "l"], ["c"]), node("Add", ["x", "c"], ["y"])]  # of one type with its operand
    assert offset_of(read_model(file(larger, **arrays, l=np.float32(-20.0)))) == -122 * Fraction(float(np.float32(0.1)))


def test_a_bias_that_float32_rounds() -> None:
    """beta C is not what float32 makes of it."""
    c = float(np.float32(873.86))
    beta = HALF
    rounded = float(np.float32(np.float32(c) * np.float32(beta)))
    model = file(
        [node("Gemm", ["x", "w", "c"], ["y"], beta=beta)],
        w=single(0.0, 0.0).reshape(1, 2),
        c=single(c, 0.0),
    )
    exact = read_model(model)
    form = RationalNetwork(exact).lower_form({exact.output: {0: Fraction(1)}}, Fraction(0), Choices({}, {}, None))
    assert form.offset == Fraction(c) * Fraction(beta) != Fraction(rounded)


def _tiny_weight() -> onnx.ModelProto:
    """Margin 1/2 - 1e40 w x with w = 1e-39, a subnormal number of float32: class 1 wins above 0.05."""
    nodes = [node("MatMul", ["x", "w"], ["m0"])]
    nodes += [node("MatMul", [f"m{k}", "s"], [f"m{k + 1}"]) for k in range(5)]
    nodes.append(node("Gemm", ["m5", "v", "b"], ["y"]))
    return file(
        nodes,
        w=single(1e-39).reshape(1, 1),
        s=single(1e8).reshape(1, 1),
        v=single(-1.0, 0.0).reshape(1, 2),
        b=single(0.5, 0.0),
    )


def test_a_caller_that_flushes_small_numbers(tmp_path: Any) -> None:
    """Weights are read, and questions answered, as without; what the caller has set is as before."""
    onnx.save(_tiny_weight(), tmp_path / "m.onnx")
    asked: dict[str, Any] = {"norm": "inf", "eps": 0.9, "timeout": 10, "threads": 1}
    open_model(
        tmp_path / "m.onnx"
    )  # onnxruntime's first session of a process changes what the caller has set by itself
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        assert flushed()
        outcome = certify(open_model(tmp_path / "m.onnx"), np.zeros(1), 0, **asked)
        many = certify(open_model(tmp_path / "m.onnx"), np.zeros((6, 1)), [0] * 6, **asked)
        assert flushed()
        with denormals_kept():
            assert not flushed()
            with denormals_kept():
                assert not flushed()
            assert not flushed()
        assert flushed()
    finally:
        torch.set_flush_denormal(False)
    assert outcome.verdict is Verdict.ADVERSARIAL and set(many.verdicts) == {Verdict.ADVERSARIAL}


def _added(*nodes: onnx.NodeProto, opset: int = 18, **arrays: Any) -> onnx.ModelProto:
    """x plus the constant d."""
    initializers = [numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items()]
    return build([*nodes, node("Add", ["x", "d"], ["y"])], initializers, shape=(1, 1), opset=opset)


UNCLEAR = {
    "a cast that some round twice": _added(
        node("Cast", ["a"], ["h"], to=onnx.TensorProto.FLOAT16),
        node("Cast", ["h"], ["d"], to=onnx.TensorProto.FLOAT),
        a=np.array([[1 + 2.0**-11 + 2.0**-40]]),
    ),
    "numbers that integers do not hold": _added(
        node("Cast", ["a"], ["h"], to=onnx.TensorProto.INT8),
        node("Cast", ["h"], ["d"], to=onnx.TensorProto.FLOAT),
        a=np.array([[300.0]], np.float32),
    ),
    "more parts than outputs": _added(
        node("Split", ["a"], ["d", "e"], axis=1, num_outputs=4), a=np.array([[1.0, 2.0, 3.0, 4.0]], np.float32)
    ),
    "a dropout that trains": _added(
        node("Dropout", ["a", "r", "t"], ["d"]),
        a=np.array([[1.0]], np.float32),
        r=np.array(0.5, np.float32),
        t=np.array(True),
    ),
    "a dropout": _added(node("Dropout", ["a"], ["d"]), a=np.array([[1.0]], np.float32)),
    "axes before there were negative ones": _added(
        node("Squeeze", ["a"], ["d"], axes=[-1]), opset=9, a=np.array([[[1.0]]], np.float32)
    ),
    "axes out of order before the order said nothing": _added(
        node("Unsqueeze", ["a"], ["d"], axes=[1, 0]), opset=12, a=np.array(1.0, np.float32)
    ),
    "a number beyond the integers": _added(
        node("Cast", ["a"], ["h"], to=onnx.TensorProto.INT64),
        node("Cast", ["h"], ["d"], to=onnx.TensorProto.FLOAT),
        a=np.array([[2.0**63]], np.float32),
    ),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_what_runtimes_compute_in_several_ways_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOperator, match=r"Cast|Split|Dropout|negative axes|not in order"):
        read_model(UNCLEAR[name])


def test_their_plain_forms_are_read() -> None:
    for number, model in enumerate(
        [
            _added(node("Cast", ["a"], ["d"], to=onnx.TensorProto.FLOAT), a=np.array([[2.0]])),
            _added(node("Split", ["a"], ["d", "e"], axis=1, num_outputs=2), a=np.array([[2.0, 3.0]], np.float32)),
            _added(node("Unsqueeze", ["a", "axes"], ["d"]), a=np.array(2.0, np.float32), axes=np.array([0, 1])),
            _added(node("Unsqueeze", ["a", "axes"], ["d"]), a=np.array(2.0, np.float32), axes=np.array([1, 0])),
        ]
    ):
        assert offset_of(read_model(model)) == 2, number


def test_a_stream_of_more_parts_than_outputs_is_refused() -> None:
    parts = [node("Split", ["x"], ["p", "q"], axis=1, num_outputs=4), node("Add", ["p", "q"], ["y"])]
    with pytest.raises(UnsupportedOperator, match="another number of parts"):
        read_model(build(parts, [], opset=18))


def test_a_file_that_goes_on_in_float32(tmp_path: Any) -> None:
    """Taken in float64 and cast: what onnxruntime computes is compared within the rounding of float32."""
    rng = np.random.default_rng(0)
    layers = {"w": rng.normal(size=(8, 16)), "v": rng.normal(size=(16, 3))}
    nodes = [
        node("Cast", ["x"], ["f"], to=onnx.TensorProto.FLOAT),
        node("MatMul", ["f", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["y"]),
    ]
    arrays = [numpy_helper.from_array(a.astype(np.float32), name) for name, a in layers.items()]
    onnx.save(build(nodes, arrays, shape=(1, 8), kind=onnx.TensorProto.DOUBLE), tmp_path / "m.onnx")
    model, image = open_model(tmp_path / "m.onnx"), rng.random(8)
    assert certify(model, image, model.predict(image), eps=1e-4).verdict is Verdict.ROBUST

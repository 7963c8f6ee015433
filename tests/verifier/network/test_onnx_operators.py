"""Every operator with random attributes, by both readers, against onnxruntime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx_operators import CASES, random_model

from advverify.verifier.checker.network import Network, Rejected
from advverify.verifier.checker.operators import Array
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_ops import READERS
from advverify.verifier.network.onnx_reader import read_model

SEEDS = 40
FLOOR = {
    "Div": 10,
    "Slice": 8,
    "Gemm": 15,
    "ConvTranspose": 10,
    "MaxPool": 15,
    "AveragePool": 15,
    "Pad": 15,
    "Split": 10,
}


def checked_values(network: Network, x: Array) -> Array:
    """The checker's network, evaluated."""
    values = [x]
    for node in network.nodes[1:]:
        if node.relu >= 0:
            values.append(np.maximum(values[node.relu], 0))
        elif node.pool >= 0:
            values.append(values[node.pool][node.windows].max(-1))
        else:
            values.append(np.asarray(sum((t.apply(values[j]) for j, t in node.terms), node.bias)))
    return values[-1]


def test_every_operator_is_tried() -> None:
    assert set(CASES) == set(READERS) - {"Softmax", "LogSoftmax", "Sigmoid"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("op", sorted(CASES))
def test_operators_agree_with_onnxruntime(op: str) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    read = 0
    for seed in range(SEEDS):
        model = random_model(op, np.random.default_rng(seed))
        shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
        x = np.random.default_rng(seed + 1_000_000).normal(size=shape).astype(np.float32)
        try:
            session = onnxruntime.InferenceSession(model.SerializeToString(), options)
            theirs = session.run(None, {"x": x})[0]
        except Exception:  # noqa: S112 - it has no exception tree; what it refuses, onnxruntime refuses
            continue
        flat = x.astype(np.float64).ravel()
        try:
            ours = evaluate(read_model(model), torch.from_numpy(flat[None]))[0].numpy()
        except InvalidModel:
            pass
        else:
            read += 1
            np.testing.assert_allclose(ours, theirs.ravel(), 1e-4, 1e-4, err_msg=f"{op}, seed {seed}")
        try:
            checked = checked_values(Network(model), flat)
        except Rejected:
            continue
        np.testing.assert_allclose(checked, theirs.ravel(), 1e-4, 1e-4, err_msg=f"checker, {op}, seed {seed}")
    assert read >= FLOOR.get(op, 20)


def test_padding_by_auto_pad_with_dilations_is_refused() -> None:
    """onnxruntime pads pools as if there were no dilation; the operator's definition does not."""
    from onnx import TensorProto, helper

    node = helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=[3, 3], dilations=[2, 1], auto_pad="SAME_UPPER", name="pool"
    )
    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 5, 5])
    graph = helper.make_graph([node], "g", [entry], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    with pytest.raises(InvalidModel, match="'pool': auto_pad SAME_UPPER with dilations"):
        read_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]))

"""BatchNormalization in inference mode: an addition, a multiplication and an addition."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import onnx

from ..builder import tensor
from ..operators import Scale, Select
from . import Context, Stream, Value


def batch_normalization(
    context: Context, node: onnx.NodeProto, operands: list[Value | None], attributes: dict[str, Any]
) -> Stream:
    """scale (x - mean) / sqrt(var + epsilon) + bias, per channel."""
    if attributes.get("training_mode", 0):
        raise context.unsupported("BatchNormalization in training mode; export the network in inference mode")
    x = context.stream(operands[0], "the input of BatchNormalization")
    names = ("scale", "bias", "mean", "variance")
    scale, bias, mean, variance = (
        context.constant(v, f"the {n}").astype(np.float64) for v, n in zip(operands[1:5], names, strict=True)
    )
    factor = scale / np.sqrt(variance + float(attributes.get("epsilon", np.float32(1e-5))))
    context.check_factor(factor, "BatchNormalization")
    spread = prod(x.shape[2:])
    context.keep_exact(False)
    # Two nodes: what mean and bias come to together is not rounded, and where they cancel the first one shows their size.
    same = [Select.identity(prod(x.shape))]
    centered = context.builder.affine([x.node], list(same), np.repeat(-mean, spread), context.label)
    scaled = [Scale(tensor(np.repeat(factor, spread)))]
    return Stream(context.builder.affine([centered], list(scaled), np.repeat(bias, spread), context.label), x.shape)

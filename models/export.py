"""Torch module to ONNX, with a data card in the file's metadata."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from .folding import fold

OPSET = 17


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """Drop what compiled code prints to standard output, and for so long whatever other threads print."""
    try:
        sys.stdout.flush()
        kept = os.dup(1)
    except (AttributeError, OSError, ValueError):  # closed by the caller: nothing is shown anyway
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def to_onnx(network: nn.Module, image_shape: tuple[int, ...], card: dict[str, Any]) -> bytes:
    """The network, folded to plain layers, as an ONNX file with a free batch dimension; `card` goes into the metadata, one entry a key."""
    buffer, folded = io.BytesIO(), fold(network).cpu()
    like = next((p for p in (*folded.parameters(), *folded.buffers()) if p.is_floating_point()), torch.zeros(1))
    with warnings.catch_warnings(), _muted():  # where it fails it prints its graph
        # The TorchScript exporter is deprecated, but needs no further package and gives plain Gemm/Conv/Relu/Add.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            folded,
            (torch.zeros(1, *image_shape, dtype=like.dtype),),
            buffer,  # type: ignore[arg-type]  # a stream is fine for the TorchScript exporter
            dynamo=False,
            opset_version=OPSET,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "advverify", ""
    onnx.helper.set_model_props(model, {k: v if isinstance(v, str) else json.dumps(v) for k, v in card.items()})
    onnx.checker.check_model(model)
    raw: bytes = model.SerializeToString(deterministic=True)
    return raw


def write_onnx(network: nn.Module, image_shape: tuple[int, ...], card: dict[str, Any], path: str | Path) -> None:
    """Write `to_onnx` to a file."""
    Path(path).write_bytes(to_onnx(network, image_shape, card))

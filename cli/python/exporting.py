"""A PyTorch module as a portable ONNX file with a data card, compared with the module before it counts as written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from advverify.verifier.errors import InvalidInput

from .images import ImageLike, read_values
from .opening import difference, exported, open_exported, outputs_of


def export(module: nn.Module, example: ImageLike, path: str | Path, card: Mapping[str, Any] | None = None) -> Path:
    """Write a module, in evaluation mode and folded to plain layers, as an ONNX file with a free batch dimension.

    The file is read by the verifier, executed by onnxruntime and compared with the module on every input of the example; where
    one of these fails nothing is written.

    Example:
        >>> import tempfile, torch
        >>> from torch import nn
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = export(module, torch.rand(5, 1, 2, 2), f"{folder}/net.onnx", card={"data": "npz:mine.npz"})
        ...     path.name
        'net.onnx'

    Args:
        module: takes inputs (N, ...) and gives (N, classes).
        example: inputs (N, ...) as the module takes them, floats; several, and such as it will meet.
        path: of the file.
        card: what readers should know, by name, beside what is measured: name, parameters, input_shape, example_range,
            export_error. "data" names the data set that the command line takes by default.

    Returns:
        The path.

    Raises:
        InvalidInput: no module, an example that it does not take, or a file that cannot be written.
        InvalidModel: the export fails, or computes something else.
        UnsupportedOperator: a layer that is not piecewise linear or not read; named.
    """
    if not isinstance(module, nn.Module):
        raise InvalidInput(f"export takes a torch.nn.Module, got {type(module).__name__}")
    path, images = Path(path), read_values(example)
    if images.ndim < 2 or not len(images):
        raise InvalidInput(
            f"the example must be inputs (N, ...) as the module takes them, got the shape {list(images.shape)}"
        )
    outputs_of(module, images[:1])
    shape = images.shape[1:]
    facts: dict[str, Any] = {
        "name": type(module).__name__,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "input_shape": list(shape),
        "example_range": [float(images.min()), float(images.max())],
    }
    part = path.with_name(f"{path.name}.part")
    try:
        try:
            part.write_bytes(exported(module, shape))
            error = difference(module, open_exported(module, part, "the module"), images)
            part.write_bytes(exported(module, shape, {**facts, "export_error": error, **(card or {})}))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror or error})") from error
    return path

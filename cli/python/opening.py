"""Models as users have them - a PyTorch module, an ONNX model in memory, a path, `zoo:NAME` - opened for the verifier."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TypeAlias

import numpy as np
import onnx
import torch
from torch import nn

from advverify.models import zoo
from advverify.models.export import to_onnx
from advverify.models.folding import fold
from advverify.verifier.api import Model
from advverify.verifier.errors import AdvverifyError, InvalidInput, InvalidModel, UnsupportedOperator
from advverify.verifier.network.nodes import Network

from .images import ImageLike, read_values

ModelLike: TypeAlias = str | Path | Network | Model | nn.Module | onnx.ModelProto

_CHUNK = 256  # images that a module computes at a time
_TOLERANCE = (
    1e-4  # of a file's outputs to the module's, relative to 1 and the largest of them: folding rounds in float32
)


def open_model(model: ModelLike, example: ImageLike | None = None, folder: Path | None = None) -> Model:
    """Open a model, so that several calls need not read or export it again; every call takes what this gives.

    A module is exported in evaluation mode (it is left as it is) and compared with the file on the example; later changes of
    its weights are not seen.

    Example:
        >>> model = open_model("zoo:digits-mlp")
        >>> model.network.input_shape
        (1, 8, 8)

    Args:
        model: a `torch.nn.Module`, an `onnx.ModelProto`, a path, "zoo:NAME", or a network read before.
        example: of a module alone: inputs (N, ...) as it takes them, floats.
        folder: keep the file of a module or of a model in memory here, by its hash; None for as long as the result lives.

    Raises:
        InvalidInput: no model, no such file, a module without an example or one that does not take it.
        InvalidModel: the file or the export cannot be used, or computes something else than the module.
        UnsupportedOperator: a layer that is not piecewise linear or not read; named.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, Network):
        return Model(model)
    if isinstance(model, str | Path):
        return Model(zoo.locate(str(model)))
    if isinstance(model, onnx.ModelProto):
        try:
            content = model.SerializeToString()
        except Exception as error:  # protobuf has its own exceptions
            raise InvalidModel("the ONNX model is too large to be held in memory: save it and give its path") from error
        return _from_bytes(content, "the ONNX model", folder)
    if isinstance(model, nn.Module):
        if example is None:
            raise InvalidInput("a module needs an example to be opened: inputs (N, ...) as it takes them")
        return _from_module(model, read_values(example), folder)
    raise InvalidInput(
        f"model must be a torch.nn.Module, an onnx.ModelProto, a path, 'zoo:NAME' or a Model, got {type(model).__name__}"
    )


def outputs_of(module: nn.Module, images: np.ndarray) -> np.ndarray:
    """What a module computes in evaluation mode, (N, classes) as float64, from images (N, ...); its mode is put back.

    Raises:
        InvalidInput: it does not take them, or gives something else.
    """
    modes = {layer: layer.training for layer in module.modules()}
    like = next((p for p in (*module.parameters(), *module.buffers()) if p.is_floating_point()), torch.zeros(1))
    shown = list(images[:1].shape)
    try:
        module.eval()
        with torch.no_grad():
            parts = []
            for begin in range(0, len(images), _CHUNK):
                part = torch.from_numpy(images[begin : begin + _CHUNK]).to(like.device, like.dtype)
                output = module(part)
                if not isinstance(output, torch.Tensor):
                    raise InvalidInput(
                        f"the module gives {type(output).__name__}, and one tensor (N, classes) is needed"
                    )
                if output.ndim != 2 or len(output) != len(part):
                    raise InvalidInput(
                        f"the module gives outputs of shape {list(output.shape)} for inputs of shape {list(part.shape)}, and "
                        "(N, classes) is needed"
                    )
                parts.append(output.double().cpu().numpy())
    except InvalidInput:
        raise
    except Exception as error:  # whatever a user's module raises
        raise InvalidInput(f"the module does not take inputs of shape {shown} ({_line(error)})") from error
    finally:
        for layer, mode in modes.items():
            layer.training = mode
    return np.concatenate(parts)


def difference(module: nn.Module, model: Model, images: np.ndarray) -> float:
    """The largest difference of an output between a module and the file that was made of it, on images (N, ...).

    Raises:
        InvalidModel: more than rounding explains.
    """
    wanted = outputs_of(module, images)
    given = model.executor.run(images.reshape(len(images), -1))
    if given.shape != wanted.shape:
        raise InvalidModel(f"the exported file has {given.shape[1]} outputs, the module {wanted.shape[1]}")
    off = np.abs(given - wanted)
    if not (off <= _TOLERANCE * (1 + np.abs(wanted).max(initial=0.0))).all():
        row, k = np.unravel_index(int(off.argmax()), off.shape)
        raise InvalidModel(
            f"the exported file computes something else than the module: on input {row} output {k} is {given[row, k]:.6g}, the "
            f"module gives {wanted[row, k]:.6g}; steps that are random or depend on values cannot be exported"
        )
    return float(off.max(initial=0.0))


def unwrapped(module: nn.Module) -> nn.Module:
    """The module inside `DataParallel` and `torch.compile`, which compute the same and cannot be exported."""
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(module.module)
    inner = getattr(module, "_orig_mod", None)
    return unwrapped(inner) if isinstance(inner, nn.Module) else module


def exported(module: nn.Module, shape: tuple[int, ...], card: dict[str, object] | None = None) -> bytes:
    """A module as an ONNX file.

    Raises:
        InvalidModel: the export fails; says where.
    """
    try:
        return to_onnx(unwrapped(module), shape, dict(card or {}))
    except Exception as error:  # tracing raises what the module and a dozen layers of torch raise
        raise InvalidModel(
            f"the module cannot be exported to ONNX ({_line(error)}); layers that compute their weights have to be replaced by "
            "plain ones, and tensors that are no parameters detached"
        ) from error


def open_exported(module: nn.Module, path: Path, origin: str) -> Model:
    """Read the file of a module; what is wrong is said of the module's layers.

    Raises:
        UnsupportedOperator: names the layer.
        InvalidModel: as reading a file does.
    """
    try:
        return _open(path, origin)
    except InvalidModel as error:
        if "NOT_IMPLEMENTED" in str(error):  # convolutions in float64
            raise InvalidModel(f"{error}: give the module in float32, module.float()") from error
        if not isinstance(error, UnsupportedOperator):
            raise
        found = re.search(r"node '/(?:.*/)?([^/']+)/[^/']+': (?:operator (\S+) is not supported)?(.*)", str(error))
        if found is None:
            raise
        name, operator, rest = found.groups()
        module = unwrapped(module)
        kind = type(dict(fold(module).named_modules()).get(name)).__name__  # the file is of the folded module
        same = type(dict(module.named_modules()).get(name)).__name__ == kind
        layer = f"layer {kind}" + (f" '{name}'" if same else "") if kind != "NoneType" else f"layer '{name}'"
        if operator is not None:
            rest = (
                f"{operator} is not piecewise linear or not read; use ReLU, LeakyReLU, pooling, linear and convolutional layers "
                "(`advverify capabilities` lists what is read)"
            )
        raise UnsupportedOperator(f"{origin} cannot be verified, for its {layer}: {rest}") from error


def _from_module(module: nn.Module, images: np.ndarray, folder: Path | None) -> Model:
    if images.ndim < 2 or not len(images):
        raise InvalidInput(
            f"the example must be inputs (N, ...) as the module takes them, got the shape {list(images.shape)}"
        )
    outputs_of(module, images[:1])  # what is wrong with the inputs is said before an export fails on them
    content = exported(module, images.shape[1:])
    model = _from_bytes(content, "the module", folder, module)
    difference(module, model, images)
    return model


def _from_bytes(content: bytes, origin: str, folder: Path | None, module: nn.Module | None = None) -> Model:
    own = None
    if folder is None:
        own = Path(tempfile.mkdtemp(prefix="advverify-"))
        path = own / "model.onnx"
    else:
        from hashlib import sha256

        path = folder / f"{sha256(content).hexdigest()[:16]}.onnx"
    try:
        path.write_bytes(content)
        model = _open(path, origin) if module is None else open_exported(module, path, origin)
    except BaseException:
        if own is not None:
            shutil.rmtree(own)
        raise
    if own is not None:
        weakref.finalize(model, _remove, own, os.getpid())
    return model


def _remove(folder: Path, process: int) -> None:
    """Remove a folder, unless this is a copy of the process that made it: a worker lets go of a model that others still use."""
    if os.getpid() == process:
        shutil.rmtree(folder)


def _open(path: Path, origin: str) -> Model:
    """Open a file that the user does not know of: messages name what it was made of."""
    try:
        return Model(path)
    except AdvverifyError as error:
        raise type(error)(str(error).replace(str(path), origin)) from error


def _line(error: Exception) -> str:
    text = str(error).strip().partition(" Please feel free")[0]  # to ask torch's makers
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__

"""An ONNX file on disk: read whole, also when compressed or with weights in files of their own, and hashed."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model

from ..errors import InvalidModel, no_file

_LARGEST = (1 << 31) - 1  # bytes of a protobuf message, thus of what a compressed file may unpack to


@dataclass(frozen=True)
class OnnxFile:
    """What a file holds.

    Attributes:
        path: where it is.
        model: with all weights in memory.
        sha256: of the file's bytes, as they are on disk; where weights lie in files of their own, see `digest`.
        compressed: whether it is a .gz file.
    """

    path: Path
    model: onnx.ModelProto
    sha256: str
    compressed: bool


def open_file(path: str | Path) -> OnnxFile:
    """Load and hash a file.

    Raises:
        InvalidModel: not a file, not ONNX, or with weights that are not there.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidModel(f"{path}: {no_file(path)}; give the path of an ONNX file")
    content = path.read_bytes()
    compressed = path.suffix == ".gz"
    try:
        model = onnx.load_model_from_string(unpacked(content, path) if compressed else content)
        external = external_files(model, path)
        sha256 = digest(content, external)
        if external:
            load_external_data_for_model(model, str(path.parent))
    except InvalidModel:
        raise
    except Exception as error:  # protobuf and onnx raise a dozen unrelated types here
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InvalidModel(f"{path}: not a readable ONNX file ({reason})") from error
    if not model.graph.node or not model.graph.output:
        raise InvalidModel(f"{path}: not an ONNX network: the graph is empty")
    return OnnxFile(path, model, sha256, compressed)


def parts(path: Path) -> dict[str, bytes]:
    """All that a model consists of: its own bytes under no name, and files beside it by the names that it gives them.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(unpacked(content, path) if path.suffix == ".gz" else content)
        external = external_files(model, path)
    except Exception:  # as above; whoever asks about such a model is told what is wrong with it
        external = {}
    return {"": content, **{name: file.read_bytes() for name, file in external.items()}}


def load_model(path: str | Path) -> onnx.ModelProto:
    """The model of a file, with all weights in memory; raises as `open_file` does."""
    return open_file(path).model


def unpacked(content: bytes, path: Path) -> bytes:
    """The content of a .gz file.

    Raises:
        InvalidModel: not such a file, or one that unpacks to more than a model can have.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            data = stream.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidModel(f"{path}: not a readable .gz file ({type(error).__name__})") from error
    if len(data) > _LARGEST:
        raise InvalidModel(f"{path}: unpacks to more than 2 GiB; no ONNX model is that large")
    return data


def digest(content: bytes, external: dict[str, Path]) -> str:
    """SHA-256 of a model: of its bytes, and where there are external files, of the name, length and bytes of each part.

    The model itself goes first, without a name; the others follow by name. Lengths keep two models apart whose files
    differ in where one ends and the next begins.
    """
    if not external:
        return hashlib.sha256(content).hexdigest()
    total = hashlib.sha256()
    for name, data in [("", content), *((name, external[name].read_bytes()) for name in sorted(external))]:
        total.update(f"{len(name.encode())}:{name}:{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def external_files(model: onnx.ModelProto, path: Path) -> dict[str, Path]:
    """The files beside the model that hold some of its weights, by the names that the model gives them.

    Raises:
        InvalidModel: one lies outside the model's folder, or is not there.
    """
    folder, found = path.parent.resolve(), dict[str, Path]()
    for holder in _tensors(model):
        for entry in holder.external_data:
            if entry.key == "location":
                file = (folder / entry.value).resolve()
                if not file.is_relative_to(folder):
                    raise InvalidModel(f"{path}: weight '{holder.name}' points outside the model's folder; refused")
                if not file.is_file():
                    raise InvalidModel(f"{path}: weight '{holder.name}' lies in '{entry.value}', which is not there")
                found[entry.value] = file
    return found


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in [*model.graph.node, *(node for function in model.functions for node in function.node)]:
        for attribute in node.attribute:
            yield from (
                attribute.t,
                *attribute.tensors,
                attribute.sparse_tensor.values,
                attribute.sparse_tensor.indices,
            )

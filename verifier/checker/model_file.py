"""The checker's own opening of a model file: its bytes, those of the files beside it that hold weights, and their hash.

The hash is the SHA-256 of the file as it is on disk. Where weights lie in other files it is that of a sequence of parts:
the file itself without a name, then the others by name. A part is the length of its name in bytes, a colon, the name, a
colon, the length of its content, a colon, and its content, lengths in decimal digits.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx.external_data_helper import load_external_data_for_model

_LARGEST = (1 << 31) - 1  # bytes that a compressed file may unpack to

_LONGEST = 500  # characters of a reason


class Rejected(Exception):
    """Why a proof is not valid, in one line: what a file says of itself is shown in part, and no character of it moves the cursor."""

    def __init__(self, reason: str) -> None:
        """Keep the reason in a form that can be printed."""
        shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in reason)
        super().__init__(shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]} ...")


def tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All places of a model that may say that numbers lie in another file."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def open_model(path: str | Path) -> tuple[onnx.ModelProto, str]:
    """The model of a file, all numbers in memory, and its hash in hexadecimal.

    Raises:
        Rejected: it cannot be read.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(_unpacked(content) if path.suffix == ".gz" else content)
        names = sorted({e.value for t in tensors(model) for e in t.external_data if e.key == "location"})
        if not names:
            return model, hashlib.sha256(content).hexdigest()
        folder, total = path.parent.resolve(), hashlib.sha256()
        files = [(folder / name).resolve() for name in names]
        if not all(file.is_relative_to(folder) for file in files):
            raise Rejected("a weight lies outside the model's folder")
        for name, part in [("", content), *((n, f.read_bytes()) for n, f in zip(names, files, strict=True))]:
            total.update(f"{len(name.encode())}:{name}:{len(part)}:".encode())
            total.update(part)
        load_external_data_for_model(model, str(folder))
    except Rejected:
        raise
    except Exception as error:  # protobuf, gzip and onnx raise a dozen unrelated types
        raise Rejected(f"the model cannot be read ({type(error).__name__}: {error})".splitlines()[0][:200]) from error
    return model, total.hexdigest()


def _unpacked(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            data = stream.read(_LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Rejected("the model is not a readable .gz file") from error
    if len(data) > _LARGEST:
        raise Rejected("the model unpacks to more than 2 GiB")
    return data

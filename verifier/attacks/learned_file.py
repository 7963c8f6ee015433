"""Learned attacks as .npz files: arrays, and a header in JSON that says what they are and which images they have seen."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InvalidInput, no_file
from .learned import Fitted, Learned

FORMAT = 1
# What can be kept: dataclasses whose fields are tensors, lists of numbers and plain values.
KINDS = {
    "perturbation": "universal:Perturbation",
    "per-target": "upset:PerTarget",
    "generator": "generator:Generator",
    "reranked": "atn:Transformer",
    "dictionary": "dictionary:Coder",
}


def save(fitted: Fitted, path: Path) -> None:
    """Write in one piece.

    Raises:
        InvalidInput: it cannot be written.
    """
    kind = next(name for name, place in KINDS.items() if place.endswith(f":{type(fitted.learned).__name__}"))
    arrays: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for f in fields(fitted.learned):  # type: ignore[arg-type]
        value = getattr(fitted.learned, f.name)
        if isinstance(value, Tensor):
            arrays[f"array/{f.name}"] = value.detach().cpu().numpy()
        else:
            values[f.name] = value
    header = {
        "format": FORMAT,
        "kind": kind,
        "attack": fitted.name,
        "norm": fitted.norm,
        "eps": fitted.eps,
        "seconds": fitted.seconds,
        "seen": sorted(fitted.seen),
        "about": fitted.about,
        "values": values,
    }
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    part = path.with_suffix(".part")
    try:
        with part.open("wb") as stream:
            np.savez(stream, **arrays)
        os.replace(part, path)
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror})") from error


def load(path: Path) -> Fitted:
    """Read what `save` wrote.

    Raises:
        InvalidInput: not there, or something else.
    """
    if not path.is_file():
        raise InvalidInput(f"{path}: {no_file(path)}; give a file that `save` (advverify attack, option keep) wrote")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays.pop("header").tobytes())
        if header["format"] != FORMAT:
            raise InvalidInput(f"{path}: a learned attack of another version of advverify; learn it again")
        file, name = KINDS[header["kind"]].split(":")
        kind = getattr(import_module(f".{file}", __package__), name)
        tensors = {key.removeprefix("array/"): torch.from_numpy(value) for key, value in arrays.items()}
        learned: Learned = kind(**tensors, **header["values"])
        return Fitted(
            str(header["attack"]),
            str(header["norm"]),
            float(header["eps"]),
            learned,
            frozenset(header["seen"]),
            float(header["seconds"]),
            dict(header["about"]),
        )
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path}: not a learned attack that `save` wrote ({error})") from error

"""Proofs of tiny networks: made, taken apart, put together again, and changed; and whether what they say is true."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

import numpy as np
import pytest
import torch
from onnx_networks import write_network
from oracle import lowest, nearest

from advverify.verifier.checker.network import Network as CheckedNetwork
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.proof import prover
from advverify.verifier.proof.prover import prove
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Threat, robustness


@cache
def folder() -> Path:
    return Path(mkdtemp())


@cache
def subject(kind: str, seed: int) -> tuple[Path, np.ndarray, int]:
    """A network, an image, and its class."""
    path = write_network(folder() / f"{kind}{seed}.onnx", kind, seed)
    network = read_onnx(path)
    image = np.random.default_rng(1000 + seed).random(network.input_size)
    return path, image, int(predict(network, torch.tensor(image)[None]))


def query(kind: str, seed: int, norm: str, radius: float) -> Query:
    path, image, label = subject(kind, seed)
    specification = robustness(image, label, Threat(norm, radius), 3)
    return Query(read_onnx(path), specification, Objective.FEASIBILITY, path)


@cache
def truth(kind: str, seed: int, norm: str) -> float:
    path, image, label = subject(kind, seed)
    return nearest(read_onnx(path), image, label, norm)


def unpack(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("header.json"))
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return header, {n[:-4]: np.lib.format.read_array(io.BytesIO(archive.read(n))) for n in names}


def repack(path: Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.json", json.dumps(header))
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array)
            archive.writestr(f"{name}.npy", buffer.getvalue())


Form = Literal["slopes", "passed", "boxes"]


@cache
def base(kind: str, seed: int, form: Form) -> tuple[Path, float, float]:
    """A proof that needs splits, the radius it proves, and the exact distance.

    Its trees are of a search by bound propagation ("slopes"), of LPs ("passed"), or over parts of the region ("boxes").
    """
    exact = truth(kind, seed, "inf")
    radius = (0.9 if form == "boxes" else 0.999) * exact
    path = folder() / f"{kind}{seed}{form}.proof"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prover, "_FEW_INPUTS", 20 if form == "boxes" else 0)
        patch.setattr(prover._Prover, "_at_once", lambda _: None)
        if form != "slopes":
            patch.setattr(prover._Prover, "_goals", lambda *_: False)
        prove(query(kind, seed, "inf", radius), subject(kind, seed)[0], 20.0).save(path)
    written = {name.rpartition(".")[2] for name in unpack(path)[1]}
    assert ("dimensions" if form == "boxes" else form) in written
    return path, radius, exact


@cache
def least(model: Path, low: bytes, high: bytes, row: bytes) -> float:
    """Brute force, once a statement."""
    return lowest(read_onnx(model), np.frombuffer(low), np.frombuffer(high), np.frombuffer(row))


def unreached(
    model: Path, low: np.ndarray, high: np.ndarray, header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> bool:
    """By brute force: whether no input of a box reaches any unsafe set of a proof's first case."""
    sets = [(arrays[f"0.matrix.{p}"], arrays[f"0.offset.{p}"]) for p in range(header["cases"][0]["polytopes"])]
    return all(
        any(
            least(model, low.tobytes(), high.tobytes(), row.tobytes()) > d - 1e-9
            for row, d in zip(matrix, offset, strict=True)
        )
        for matrix, offset in sets
    )


def corrupt(rng: np.random.Generator, header: dict[str, Any], arrays: dict[str, np.ndarray], among: str = "") -> None:
    """One random change to an array of the proof (one whose name holds `among`), keeping its type."""
    name = str(rng.choice(sorted(name for name in arrays if among in name)))
    array = arrays[name].copy()
    if array.size == 0:
        return
    place = tuple(int(rng.integers(n)) for n in array.shape)
    match int(rng.integers(5)):
        case 0:
            factor = rng.choice([0.5, 2.0, -1.0])
            array[place] = array[place] ^ 1 if array.dtype.kind in "iu" else array[place] * factor
        case 1:
            array[place] = np.array(rng.integers(-2, 3)).astype(array.dtype)
        case 2:
            array = np.delete(array, place[0], axis=0)
        case 3:
            array = array[::-1].copy()
        case _:
            array = rng.permutation(array)
    arrays[name] = array


def checked_values(network: CheckedNetwork, x: np.ndarray) -> list[np.ndarray]:
    """A plain forward pass over the checker's nodes."""
    values = [x]
    for node in network.nodes[1:]:
        if node.relu >= 0:
            values.append(np.maximum(values[node.relu], 0))
        elif node.pool >= 0:
            values.append(values[node.pool][:, node.windows].max(-1))
        else:
            values.append(node.bias + sum(term.apply(values[j]) for j, term in node.terms))
    return values

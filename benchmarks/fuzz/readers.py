"""The readers of files: for each good files, ways to break them, and the reading as commands do it."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from advverify.cli.jobs import sources
from advverify.models.datasets import load_dataset
from advverify.models.recipe import read_recipe
from advverify.models.zoo import RECIPES, names, path_of
from advverify.verifier.api import Model, certify
from advverify.verifier.batch.job import read_job, read_text
from advverify.verifier.checker import check
from advverify.verifier.engines import Settings
from advverify.verifier.specification import Threat
from advverify.verifier.specification.vnnlib import Facts, read_vnnlib

from . import breaking

READERS = ("onnx", "vnnlib", "proof", "job", "recipe", "instances", "npz", "idx", "idx.gz", "images")
Break = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """What is needed to break what a reader reads.

    Attributes:
        good: files that it accepts.
        ways: to break them.
        read: a file, where it lies.
        place: of the broken file, below the folder of the trial.
    """

    good: Sequence[bytes]
    ways: Sequence[Break]
    read: Callable[[Path], object]
    place: str


def read_model_file(path: Path) -> None:
    """As every command does; `Model` compares its own reading with onnxruntime's."""
    Model(path)


def read_property_file(path: Path) -> None:
    """For a network of two inputs and two outputs."""
    read_vnnlib(path, Facts(2, 2))


PROPERTIES = (
    "(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
    "(assert (<= X_0 0.5))\n(assert (>= X_0 -0.5))\n(assert (<= X_1 1))\n(assert (>= X_1 0))\n"
    "(assert (or (and (<= Y_0 Y_1) (>= Y_1 0.25)) (and (>= Y_0 3))))\n",
    "(vnnlib-version <2.0>)\n(declare-network N\n  (declare-input X float32 [2])\n  (declare-output Y float32 [2])\n)\n"
    "(assert (and (<= X[0] 0.5) (>= X[0] -0.5) (<= X[1] 1.0) (>= X[1] 0.0)))\n(assert (<= (- Y[0] Y[1]) 0.0))\n",
)


JOB = """name = "fuzz"
timeout = 5
seed = 1

[[queries]]
models = ["zoo:digits-mlp", "zoo:digits-conv"]
data = "digits"
images = "0:20:5"
norms = ["inf", "2"]
eps = [0.03, 0.05]
gap = 1e-3
engines = ["propagate"]
target = 3
margin = 0.5
valid_range = [0, 1]
seeds = [0, 1]

[[queries]]
models = ["zoo:digits-mlp"]
data = ["digits"]
images = "7"
distance = true
float32 = true
proofs = "kept"

[[properties]]
models = ["set/m.onnx"]
properties = ["set/p.vnnlib"]
formulation = "partition-2"

[[vnncomp]]
folder = "set"
take = 2
"""


def read_job_file(path: Path) -> None:
    """Beside a VNN-COMP folder of one instance."""
    read_job(path, sources())


def vnncomp_folder(folder: Path) -> None:
    """One network, one property."""
    folder.mkdir()
    shutil.copy(path_of("digits-mlp"), folder / "m.onnx")
    (folder / "p.vnnlib").write_text(PROPERTIES[0])
    (folder / "instances.csv").write_text("m.onnx,p.vnnlib,10\n")


def sample_proof(folder: Path) -> tuple[bytes, Path]:
    """A proof about the smallest network of the zoo."""
    path, data = path_of("digits-mlp"), load_dataset("digits")
    settings = Settings(timeout=120, threads=1, proofs=folder)
    outcome = certify(path, data.images[0], int(data.labels[0]), Threat("inf", 0.085), settings=settings)
    assert outcome.proof is not None
    return Path(outcome.proof).read_bytes(), path


def _listing(path: Path) -> None:
    """As a job that names its folder."""
    read_text("[[vnncomp]]\nfolder = 'set'\n", "fuzz", path.parent.parent, sources())


def _arrays() -> list[bytes]:
    """Archives as numpy writes them."""
    rng, found = np.random.default_rng(0), []
    for images in (
        rng.random((3, 1, 4, 4)),
        rng.integers(0, 255, (3, 16), dtype=np.uint8),
        np.asfortranarray(rng.random((3, 4))),
    ):
        for save in (np.savez, np.savez_compressed):
            buffer = io.BytesIO()
            save(buffer, images=images, labels=np.arange(3))
            found.append(buffer.getvalue())
    return found


def _idx() -> bytes:
    return b"\x00\x00\x08\x03" + struct.pack(">III", 2, 4, 4) + bytes(range(32))


def _mnist_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08\x01" + struct.pack(">I", 2) + bytes((3, 4)))


def _images() -> list[bytes]:
    """Archives of class folders with a small image each."""
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    found = []
    for form in ("png", "jpeg", "bmp"):
        image, buffer = io.BytesIO(), io.BytesIO()
        Image.fromarray(pixels).save(image, form)
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in ("cat", "dog"):
                archive.writestr(f"test/{name}/1.{form}", image.getvalue())
        found.append(buffer.getvalue())
    return found


def reader_of(name: str, folder: Path) -> Reader:
    """A reader by name; what it needs beside the broken file is put into the folder."""
    match name:
        case "onnx":
            models = [path_of(each).read_bytes() for each in names()]
            return Reader(models, _ways(breaking.break_model), read_model_file, "broken.onnx")
        case "vnnlib":
            texts = [text.encode() for text in PROPERTIES]
            return Reader(texts, _ways(breaking.break_property), read_property_file, "broken.vnnlib")
        case "proof":
            proof, model = sample_proof(folder)
            return Reader([proof], _ways(breaking.break_proof), lambda path: check(path, model), "broken.proof")
        case "job":
            vnncomp_folder(folder / "set")
            return Reader([JOB.encode()], _ways(breaking.break_toml), read_job_file, "broken.job")
        case "recipe":
            recipes = [path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))]
            return Reader(recipes, _ways(breaking.break_toml), read_recipe, "broken.recipe")
        case "instances":
            vnncomp_folder(folder / "set")
            rows = b"onnx,vnnlib,timeout\nm.onnx,p.vnnlib,10\n./m.onnx , p.vnnlib,1.5\nm.onnx,./p.vnnlib\n"
            return Reader([rows], _ways(breaking.break_listing), _listing, "set/instances.csv")
        case "npz":
            return Reader(_arrays(), _ways(breaking.break_npz), lambda path: load_dataset(f"npz:{path}"), "broken.npz")
        case "idx" | "idx.gz":
            _mnist_folder(folder / "mnist")
            file, content = "t10k-images-idx3-ubyte", _idx()
            if name == "idx.gz":
                file, content = f"{file}.gz", gzip.compress(content)
            read = lambda path: load_dataset(f"mnist:{path.parent}")  # noqa: E731
            return Reader([content], _ways(breaking.break_idx), read, f"mnist/{file}")
        case _:
            (folder / "cifar").mkdir()
            read = lambda path: load_dataset(f"cifar10:{path.parent}")  # noqa: E731
            return Reader(_images(), _ways(breaking.break_images), read, "cifar/test.zip")


def _ways(own: Break) -> list[Break]:
    """Bytes once, and twice what the format is made of."""
    return [breaking.break_bytes, own, own]

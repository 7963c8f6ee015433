"""Broken files for every reader: only a clear refusal, or a network that onnxruntime agrees with, may come out."""

from __future__ import annotations

import io
import json
import random
import re
import resource
import shutil
import signal
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import helper, numpy_helper

from advverify.cli.jobs import sources
from advverify.models.datasets import load_dataset
from advverify.models.recipe import read_recipe
from advverify.models.zoo import RECIPES, names, path_of
from advverify.verifier.api import Model, certify
from advverify.verifier.batch.job import read_job
from advverify.verifier.checker import Rejected, check
from advverify.verifier.engines import Settings
from advverify.verifier.errors import AdvverifyError
from advverify.verifier.specification import Threat
from advverify.verifier.specification.vnnlib import Facts, read_vnnlib

from .measure import table

MEMORY = 8 << 30  # bytes of address space while fuzzing
SECONDS = 20  # for one input
READERS = ("onnx", "vnnlib", "proof", "job", "recipe")
KEPT = Path("build/fuzz")
_ODD = [-(1 << 63), -(1 << 31), -7, -1, 0, 1, 2, 3, 1000, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]
_ODD_WORDS = (
    '( ) X_0 Y_0 X_99999999999 Y_-1 <= and or assert declare-const 1e999 nan - | " ; [ 0x10 1/0 let not => (((('.split()
)
_ODD_WORDS += ["\x00", "\u00e9"]
_ODD_TOML = '[ ] [[ = nan inf -1 0 1e999 99999999999999999999 true "" \'x\' {} [] 1979-05-27 {a=1} """'.split()
_ODD_TOML += ['"../../x"', '"zoo:x"', '"0:1:0"', '"::"', '"-5:"', "\x00", "\u00e9", '"\\u0000"']
_OPS = ["Relu", "Conv", "Gemm", "MatMul", "Add", "Sub", "Div", "Reshape", "Pad", "MaxPool", "Slice", "Concat", "Tile"]
_OPS += ["Expand", "Gather", "Flatten", "Loop", "ConstantOfShape", "Range", "Split", "Transpose", "Clip", "Softmax"]
_OPS += [
    "Max",
    "Min",
    "Where",
    "ReduceSum",
    "ReduceMax",
    "GlobalMaxPool",
    "Resize",
    "DepthToSpace",
    "HardSigmoid",
    "Sigmoid",
]
_OPS += ["PRelu", "DequantizeLinear", "Identity", "Cast"]


class Hang(Exception):
    """An input that took too long."""


def break_bytes(data: bytes, rng: random.Random) -> bytes:
    """Some bits flipped, some bytes replaced, a piece left out, doubled or cut off."""
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, length = rng.randrange(len(broken) or 1), rng.choice((1, 4, 64))
        match rng.randrange(5):
            case 0:
                broken[at : at + 1] = bytes([(broken[at] if broken else 0) ^ (1 << rng.randrange(8))])
            case 1:
                broken[at : at + length] = rng.randbytes(length)
            case 2:
                del broken[at : at + length]
            case 3:
                broken[at:at] = broken[at : at + length]
            case _:
                del broken[at:]
    return bytes(broken)


def break_model(data: bytes, rng: random.Random) -> bytes:
    """A model that still parses, with nodes, attributes, shapes or weights that do not belong together."""
    model = onnx.load_model_from_string(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        nodes, weights = model.graph.node, model.graph.initializer
        node = rng.choice(list(nodes))
        match rng.randrange(10):
            case 0:
                node.op_type = rng.choice(_OPS)
            case 1:
                nodes.remove(node) if len(nodes) > 1 else None
            case 2:
                names_ = [name for other in nodes for name in (*other.input, *other.output)]
                node.input[rng.randrange(len(node.input))] = rng.choice([*names_, ""]) if node.input else None
            case 3:
                nodes.insert(rng.randrange(len(nodes)), helper.make_node(rng.choice(_OPS), list(node.input), ["new"]))
            case 4 if node.attribute:
                attribute = rng.choice(list(node.attribute))
                attribute.i = rng.choice(_ODD)
                if attribute.ints:
                    attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(_ODD)
            case 5:
                key = rng.choice(["axis", "group", "pads", "strides", "dilations", "kernel_shape", "perm", "transB"])
                value = rng.choice(_ODD) if rng.random() < 0.5 else [rng.choice(_ODD) for _ in range(rng.randrange(5))]
                if not any(a.name == key for a in node.attribute) and value != []:
                    node.attribute.append(helper.make_attribute(key, value))
            case 6 if weights:
                rng.choice(list(weights)).dims[:] = [rng.choice(_ODD) for _ in range(rng.randrange(5))]
            case 7 if weights:
                weight = rng.choice(list(weights))
                other = np.full(rng.choice([(), (1,), (2, 3), (4,)]), rng.choice([np.nan, np.inf, -1, 1e30, 1 << 40]))
                weight.CopyFrom(numpy_helper.from_array(other.astype(rng.choice(["f4", "f8", "i8"])), weight.name))
            case 8:
                dims = model.graph.input[0].type.tensor_type.shape.dim
                if dims:
                    rng.choice(list(dims)).dim_value = rng.choice(_ODD)
            case _:
                model.opset_import[0].version = rng.choice([1, 6, 7, 11, 13, 18, 21, 99])
    return bytes(model.SerializeToString())


def break_words(data: bytes, rng: random.Random, odd: Sequence[str], pattern: str) -> bytes:
    """A text with words (what `pattern` matches) swapped, dropped, doubled or replaced by odd ones."""
    words = re.findall(pattern, data.decode())
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(words))
        match rng.randrange(4):
            case 0:
                words[at] = rng.choice(odd)
            case 1:
                words[at : at + rng.choice((1, 5))] = []
            case 2:
                words[at:at] = words[at : at + rng.choice((1, 20))] * rng.choice((1, 3))
            case _:
                other = rng.randrange(len(words))
                words[at], words[other] = words[other], words[at]
        words = words or ["("]
    return "".join(words).encode()


def break_property(data: bytes, rng: random.Random) -> bytes:
    """A property with words that do not belong there."""
    return break_words(data, rng, _ODD_WORDS, r"\s+|[()]|[^\s()]+")


def break_toml(data: bytes, rng: random.Random) -> bytes:
    """A job or a recipe with keys, values or brackets that do not belong there."""
    return break_words(data, rng, _ODD_TOML, r"\s+|[\[\]=,]|[^\s\[\]=,]+")


def break_proof(data: bytes, rng: random.Random) -> bytes:
    """A proof with one entry of its header, or one array, replaced."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(parts))
    if name == "header.json":
        header = json.loads(parts[name])
        place = rng.choice([header, header["cases"][0], *header["cases"][0]["steps"]])
        odd: list[object] = [None, -1, 1e308, [], {}, "x", True, 10**400, [[[[]]]]]
        place[rng.choice(list(place))] = rng.choice(odd)
        parts[name] = json.dumps(header).encode()
    elif rng.random() < 0.5:
        parts[name] = break_bytes(parts[name], rng)
    else:
        array = np.lib.format.read_array(io.BytesIO(parts[name]))
        shape = rng.choice([array.shape, (), (0,), (*array.shape, 1), tuple(n + 1 for n in array.shape)])
        kind = rng.choice([array.dtype, np.dtype("f8"), np.dtype("i4"), np.dtype("i1")])
        values = np.random.default_rng(rng.randrange(1 << 30)).normal(size=shape) * rng.choice([1, 1e30, np.inf])
        buffer = io.BytesIO()
        with np.errstate(all="ignore"):
            np.lib.format.write_array(buffer, values.astype(kind))
        parts[name] = buffer.getvalue()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for key, content in parts.items():
            archive.writestr(key, content)
    return buffer.getvalue()


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


def readers(folder: Path) -> dict[str, tuple[list[bytes], list[Callable[[bytes, random.Random], bytes]], Callable]]:  # type: ignore[type-arg]
    """For each reader: good files, ways to break them, and the reading."""
    models = [path_of(name).read_bytes() for name in names()]
    proof, model = sample_proof(folder)
    vnncomp_folder(folder / "set")
    recipes = [path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))]
    return {
        "onnx": (models, [break_bytes, break_model, break_model], read_model_file),
        "vnnlib": (
            [text.encode() for text in PROPERTIES],
            [break_bytes, break_property, break_property],
            read_property_file,
        ),
        "proof": ([proof], [break_bytes, break_proof, break_proof], lambda path: check(path, model)),
        "job": ([JOB.encode()], [break_bytes, break_toml, break_toml], read_job_file),
        "recipe": (recipes, [break_bytes, break_toml, break_toml], read_recipe),
    }


def fuzz(reader: str, count: int, seed: int, folder: Path) -> Counter[str]:
    """Feed `count` broken files to a reader; returns how often each kind of end came.

    Raises:
        AssertionError: anything but success or a refusal; the file is kept in `KEPT`.
    """
    good, ways, read = readers(folder)[reader]
    rng, ends = random.Random(seed), Counter[str]()
    path = folder / f"broken.{reader}"
    signal.signal(signal.SIGALRM, _ring)
    for number in range(count):
        path.write_bytes(rng.choice(ways)(rng.choice(good), rng))
        signal.alarm(SECONDS)
        try:
            read(path)
            ends["accepted"] += 1
        except (AdvverifyError, Rejected) as error:
            assert "\n" not in str(error), f"{reader}, seed {seed}, input {number}: a message of several lines"
            ends["refused"] += 1
        except BaseException as error:
            kept = KEPT / f"{reader}-{seed}-{number}"
            KEPT.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(path.read_bytes())
            raise AssertionError(f"{reader}, seed {seed}, input {number} ({kept}): {type(error).__name__}") from error
        finally:
            signal.alarm(0)
    return ends


def _ring(signum: int, frame: object) -> None:
    raise Hang(f"more than {SECONDS} s")


@click.command("fuzz")
@click.option("--reader", type=click.Choice(READERS), multiple=True, help="[default: all]")
@click.option("--inputs", default=100_000, show_default=True, help="For each reader.")
@click.option("--seed", default=0, show_default=True)
def command(reader: tuple[str, ...], inputs: int, seed: int) -> None:
    """Broken input for every reader: nothing but clear refusals may come out, in bounded time and memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows = []
    for name in reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            ends = fuzz(name, inputs, seed, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        rows.append([name, inputs, ends["refused"], ends["accepted"], 0, f"{peak:.0f}"])
        click.echo(rows[-1], err=True)
    click.echo(table(["reader", "inputs", "refused", "accepted", "other ends", "peak MiB"], rows))

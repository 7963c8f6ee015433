"""Ways to break files: their bytes, their words, or what their format is made of."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import struct
import zipfile
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

_ODD = [-(1 << 63), -(1 << 31), -7, -1, 0, 1, 2, 3, 1000, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1]
_ODD_WORDS = (
    '( ) X_0 Y_0 X_99999999999 Y_-1 <= and or assert declare-const 1e999 nan - | " ; [ 0x10 1/0 let not => (((('.split()
)
_ODD_WORDS += [
    "\x00",
    "\u00e9",
    "X[0,-]",
    "X[,]",
    "X[-1]",
    "X[9999999999999]",
    "9" * 6000,
    "1e308",
    "-1e308",
    "(" * 20_000,
]
_ODD_WORDS += ["(* 1e308 1e308)", "(- (+ X_0", "(+ Y[0] Y[1])", "1e-999999999", "0." + "3" * 5000]
_ODD_TOML = '[ ] [[ = nan inf -1 0 1e999 99999999999999999999 true "" \'x\' {} [] 1979-05-27 {a=1} """'.split()
_ODD_TOML += ['"../../x"', '"zoo:x"', '"0:1:0"', '"::"', '"-5:"', "\x00", "\u00e9", '"\\u0000"']
_ODD_TOML += ["[" * 100_000, "{a=" * 3000, "a." * 70 + "a", "9" * 6000, "0x" + "f" * 5000, "1e99999"]
_ODD_CELLS = [
    "abc",
    "-1",
    "1e999",
    "nan",
    "",
    " ",
    '"',
    '""',
    "\x00",
    "\u00e9",
    "a" * 5000,
    "../" * 50,
    "/dev/zero",
    ".",
    "~",
    "p.vnnlib.gz",
]
_ODD_CELLS += ["\n", "\r\n", ",,,,", "9" * 400, "0x10", "1_0", "\ufeff", "=1+1", "m.onnx.gz"]
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


def break_listing(data: bytes, rng: random.Random) -> bytes:
    """A list of instances with cells, quotes or line ends that do not belong there; sometimes in another encoding."""
    broken = break_words(data, rng, _ODD_CELLS, r'[",\n\r]|[^",\n\r]+')
    return broken.decode().encode(rng.choice(("utf-8", "utf-8", "utf-16", "utf-32-le", "utf-7")), "replace")


def break_npz(data: bytes, rng: random.Random) -> bytes:
    """An archive whose arrays have headers that promise something else, or whose members are called something else."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(parts))
    match rng.randrange(4):
        case 0:
            parts[name] = break_bytes(parts[name], rng)
        case 1:
            parts[rng.choice(("images.npy", "x.npy", "labels", "\u00e9.npy", "a" * 3000, "../images.npy"))] = parts.pop(
                name
            )
        case 2:
            parts[name] = _with_header(parts[name], rng)
        case _:
            parts[name] = parts[name][: rng.randrange(80)] + bytes(rng.choice((0, 100, 1 << 20)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    ) as archive:
        for key, content in parts.items():
            archive.writestr(key, content)
    return break_bytes(buffer.getvalue(), rng) if rng.random() < 0.2 else buffer.getvalue()


def _with_header(array: bytes, rng: random.Random) -> bytes:
    """An array under a header of its own making."""
    shape = tuple(rng.choice(_ODD) for _ in range(rng.randrange(6)))
    kinds = ("<f8", "|u1", "|O", "<U100000", "<c16", ">i2", "|V8", "|S3", "<M8[s]", "nonsense", "(3,)f8", "|b1", "<f2")
    header = f"{{'descr': '{rng.choice(kinds)}', 'fortran_order': {rng.choice((True, False))}, 'shape': {shape!r}, }}"
    header = rng.choice((header, header * 2, "[" * 5000, "{}", "", header + " " * (1 << 17), f"({shape!r})" * 50))
    version = rng.choice((1, 1, 2, 3, 9))
    size = struct.pack("<H" if version == 1 else "<I", min(len(header), 0xFFFF if version == 1 else 0xFFFFFFFF))
    return b"\x93NUMPY" + bytes((version, 0)) + size + header.encode() + array[128:]


def break_idx(data: bytes, rng: random.Random) -> bytes:
    """An idx file with another header; of compressed ones what they unpack to, or how they are packed."""
    packed = data[:2] == b"\x1f\x8b"
    plain = gzip.decompress(data) if packed else data
    rank = rng.choice((0, 1, 2, 3, 3, 4, 255))
    sizes = b"".join(struct.pack(">I", rng.choice((0, 1, 2, 28, 1 << 16, 0xFFFFFFFF))) for _ in range(rank))
    plain = rng.choice((plain, bytes((0, 0, rng.choice((8, 8, 9, 13)), rank)) + sizes + plain[16:]))
    if rng.random() < 0.02:
        plain = plain + bytes(1 << 26)
    return break_bytes(gzip.compress(plain, 1), rng) if packed else plain


def break_images(data: bytes, rng: random.Random) -> bytes:
    """An archive of images with members that are broken, large, of other names, or no images."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(parts))
    match rng.randrange(4):
        case 0 | 1:
            parts[name] = break_bytes(parts[name], rng)
        case 2:
            parts[rng.choice(("test/cat/", "test/cow/1.png", "test/cat/a/b.png", "test/cat/\u00e9.gif", "test"))] = (
                parts.pop(name)
            )
        case _:
            width = rng.choice((0, 1, 32, 100_000, 0x7FFFFFFF))
            parts[name] = parts[name][:16] + struct.pack(">II", width, rng.choice((32, 0, 60_000))) + parts[name][24:]
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    ) as archive:
        for key, content in parts.items():
            archive.writestr(key, content)
    return break_bytes(buffer.getvalue(), rng) if rng.random() < 0.3 else buffer.getvalue()

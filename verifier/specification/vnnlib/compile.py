"""From a VNN-LIB text to a `Specification`."""

from __future__ import annotations

import gzip
import re
from math import prod
from pathlib import Path

import numpy as np

from ...errors import InvalidSpecification
from ..region import Region
from ..specification import Case, Polytope, Specification
from .formula import And, Conjunction, Formula, Inequality, Variable, build, disjuncts
from .syntax import Atom, Form, Source, parse

MAX_TEXT = 512 * 1024 * 1024
_INDEXED = re.compile(r"^(?P<name>[^\[\]]+)\[(?P<index>[-\d,\s]*)\]$")


def read_vnnlib(path: str | Path, inputs: int, outputs: int) -> Specification:
    """Read a property file, plain or .gz, for a network of the given sizes.

    Raises:
        InvalidSpecification: names file, and line and column where there is one.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidSpecification(f"{path}: no such file; give the path of a .vnnlib or .vnnlib.gz property")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                raw = stream.read(MAX_TEXT + 1)
        else:
            raw = path.read_bytes()[: MAX_TEXT + 1]
        if len(raw) > MAX_TEXT:
            raise InvalidSpecification(f"{path}: larger than {MAX_TEXT >> 20} MiB")
        text = raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidSpecification(f"{path}: not a readable VNN-LIB text ({error})") from error
    try:
        return compile_vnnlib(text, inputs, outputs)
    except InvalidSpecification as error:
        renamed = InvalidSpecification(f"{path}: {error}")
        renamed.line, renamed.column = error.line, error.column
        raise renamed from None


class _Declarations:
    """Which names stand for which flat inputs and outputs."""

    def __init__(self, source: Source, inputs: int, outputs: int) -> None:
        self.source = source
        self.sizes = {"X": inputs, "Y": outputs}
        self.scalars: dict[str, Variable] = {}
        self.tensors: dict[str, tuple[str, tuple[int, ...]]] = {}

    def declare_constant(self, form: Form) -> None:
        """(declare-const X_0 Real) of VNN-LIB 1.0."""
        if len(form.items) != 3 or not isinstance(form.items[1], Atom):
            raise self.source.error("a declaration reads (declare-const X_0 Real)", form.offset)
        name = form.items[1].text
        match = re.fullmatch(r"([XY])_(\d+)", name)
        if match is None:
            raise self.source.error(f"variables are called X_k or Y_k, not '{name[:40]}'", form.items[1].offset)
        kind, index = match[1], int(match[2])
        if index >= self.sizes[kind]:
            side = "inputs" if kind == "X" else "outputs"
            message = f"{name} is declared, but the network has {self.sizes[kind]} {side}"
            raise self.source.error(message, form.items[1].offset)
        self.scalars[name] = (kind, index)

    def declare_network(self, form: Form) -> None:
        """(declare-network N (declare-input X Real [1,5]) (declare-output Y Real [1,2])) of VNN-LIB 2.0."""
        if self.tensors:
            raise self.source.error("properties of several networks are not supported", form.offset)
        for item in form.items[2:]:
            if not isinstance(item, Form):
                continue
            kind = {"declare-input": "X", "declare-output": "Y"}.get(item.head)
            if kind is None:
                raise self.source.error(f"'{item.head}' is not supported; only inputs and outputs are", item.offset)
            if any(k == kind for k, _ in self.tensors.values()):
                raise self.source.error("networks with several inputs or outputs are not supported", item.offset)
            words = [a for a in item.items[1:] if isinstance(a, Atom)]
            if not words:
                raise self.source.error("a declaration reads (declare-input X float32 [1,5])", item.offset)
            shape = tuple(int(n) for a in words for n in re.findall(r"\d+", a.text) if a.text.startswith("["))
            if prod(shape) != self.sizes[kind]:
                side = "input" if kind == "X" else "output"
                message = (
                    f"the {side} is declared with shape {list(shape)}, but the network's has {self.sizes[kind]} entries"
                )
                raise self.source.error(message, item.offset)
            self.tensors[words[0].text] = (kind, shape)

    def resolve(self, atom: Atom) -> Variable | None:
        """The variable that a word stands for, if any."""
        if atom.text in self.scalars:
            return self.scalars[atom.text]
        match = _INDEXED.match(atom.text)
        name = match["name"] if match else atom.text
        if name not in self.tensors:
            return None
        kind, shape = self.tensors[name]
        index = [int(i) for i in match["index"].split(",")] if match and match["index"].strip() else []
        if not index and prod(shape) == 1:
            index = [0] * len(shape)
        if len(index) != len(shape) or any(not 0 <= i < n for i, n in zip(index, shape, strict=True)):
            raise self.source.error(f"'{atom.text}' does not fit the declared shape {list(shape)}", atom.offset)
        return kind, int(np.ravel_multi_index(index, shape)) if shape else 0


def compile_vnnlib(text: str, inputs: int, outputs: int) -> Specification:
    """Compile a text; see `read_vnnlib`."""
    source = Source(text)
    declared = _Declarations(source, inputs, outputs)
    assertions: list[Formula] = []
    for form in parse(source):
        match form.head:
            case "declare-const" | "declare-fun":
                declared.declare_constant(form)
            case "declare-network":
                declared.declare_network(form)
            case "assert":
                if len(form.items) != 2:
                    raise source.error("an assertion has one formula", form.offset)
                assertions.append(build(form.items[1], source, declared.resolve))
            case "vnnlib-version" | "set-logic" | "set-info" | "check-sat":
                pass
            case _:
                raise source.error(f"'{form.head or '()'}' is not a VNN-LIB command", form.offset)
    if not assertions:
        raise InvalidSpecification("the property asserts nothing")
    return _assemble(disjuncts(And(tuple(assertions)), source), source, inputs, outputs)


def _assemble(conjunctions: list[Conjunction], source: Source, inputs: int, outputs: int) -> Specification:
    """Group conjunctions by their input box; what is left of each is a polytope of outputs."""
    boxes: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    unsafe: dict[bytes, list[Polytope]] = {}
    seen: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for conjunction in conjunctions:
        on_inputs = tuple(i for i in conjunction if not any(kind == "Y" for kind, _ in i.expression.terms))
        rows = [i for i in conjunction if any(kind == "Y" for kind, _ in i.expression.terms)]
        identity = tuple(id(i) for i in on_inputs)  # disjuncts share their inequality objects
        if identity not in seen:
            seen[identity] = _box(on_inputs, source, inputs)
        lower, upper = seen[identity]
        if (lower > upper).any():
            continue  # this disjunct has no inputs at all
        key = lower.tobytes() + upper.tobytes()
        boxes[key] = (lower, upper)
        unsafe.setdefault(key, []).append(_polytope(rows, source, outputs))
    if not boxes:
        raise InvalidSpecification(
            "the property is unsatisfiable as written: every input region is empty (lower > upper)"
        )
    return Specification(tuple(Case(Region(*boxes[key]), tuple(unsafe[key])) for key in boxes))


def _box(rows: tuple[Inequality, ...], source: Source, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = np.full(inputs, -np.inf), np.full(inputs, np.inf)
    for row in rows:
        expression = row.expression
        if not expression.terms:
            if expression.constant > 0 or (row.strict and expression.constant == 0):
                lower[0], upper[0] = np.inf, -np.inf
            continue
        if len(expression.terms) != 1:
            raise source.error("only bounds on single inputs are supported, not constraints between inputs", row.offset)
        ((_, k), factor), constant = next(iter(expression.terms.items())), expression.constant
        if factor > 0:
            upper[k] = min(upper[k], -constant / factor)
        else:
            lower[k] = max(lower[k], -constant / factor)
    free = np.flatnonzero(np.isinf(lower) | np.isinf(upper))
    if len(free) and not (lower > upper).any():
        raise InvalidSpecification(f"input X_{int(free[0])} has no lower or no upper bound; every input needs both")
    return lower, upper


def _polytope(rows: list[Inequality], source: Source, outputs: int) -> Polytope:
    if not rows:  # "can this region be entered at all": always unsafe
        return Polytope(np.zeros((1, outputs)), np.zeros(1), np.zeros(1, dtype=bool))
    matrix, offset = np.zeros((len(rows), outputs)), np.zeros(len(rows))
    for r, row in enumerate(rows):
        for (kind, k), value in row.expression.terms.items():
            if kind == "X":
                raise source.error("constraints that mix inputs and outputs are not supported", row.offset)
            matrix[r, k] = value
        offset[r] = -row.expression.constant
    return Polytope(matrix, offset, np.array([row.strict for row in rows]))

"""What the names of a property stand for."""

from __future__ import annotations

import re
from math import prod

import numpy as np

from .formula import Variable
from .syntax import Atom, Form, Source

_INDEXED = re.compile(r"^(?P<name>[^\[\]]+)\[(?P<index>[-\d,\s]*)\]$")
_SCALAR = re.compile(r"([XY])_(\d{1,18})")


class Declarations:
    """Which names stand for which flat inputs and outputs."""

    def __init__(self, source: Source, inputs: int, outputs: int, name: str = "") -> None:
        """Nothing declared yet, for a network of these sizes, called so where it has a name."""
        self.source, self.called = source, name
        self.sizes = {"X": inputs, "Y": outputs}
        self.scalars: dict[str, Variable] = {}
        self.foreign: set[str] = set()
        self.tensors: dict[str, tuple[str, tuple[int, ...]]] = {}

    def declare_scalar(self, form: Form) -> None:
        """(declare-const X_0 Real) of VNN-LIB 1.0, or (declare-fun X_0 () Real) of SMT-LIB."""
        items, function = form.items, form.head == "declare-fun"
        if len(items) != 3 + function or not isinstance(items[1], Atom):
            usage = "(declare-fun X_0 () Real)" if function else "(declare-const X_0 Real)"
            raise self.source.error(f"a declaration reads {usage}", form.offset)
        name = items[1].text
        if function and not (isinstance(items[2], Form) and not items[2].items):
            raise self.source.error(f"'{name[:40]}' is a function of arguments, which is not supported", form.offset)
        match = _SCALAR.fullmatch(name)
        if match is None:  # it may stay unused
            self.foreign.add(name)
            return
        kind, index = match[1], int(match[2])
        if index >= self.sizes[kind]:
            side = "inputs" if kind == "X" else "outputs"
            message = f"{name} is declared, but the network has {self.sizes[kind]} {side}"
            raise self.source.error(message, items[1].offset)
        self.scalars[name] = (kind, index)

    def declare_network(self, form: Form) -> None:
        """(declare-network N (declare-input X Real [1,5]) (declare-output Y Real [1,2])) of VNN-LIB 2.0."""
        if self.tensors:
            raise self.source.error("properties of several networks are not supported", form.offset)
        called = form.items[1] if len(form.items) > 1 else None
        if self.called and isinstance(called, Atom) and called.text != self.called:
            raise self.source.error(
                f"the property is about a network called {called.text[:40]}, not {self.called[:40]}", called.offset
            )
        for item in form.items[2:]:
            if not isinstance(item, Form):
                continue
            kind = {"declare-input": "X", "declare-output": "Y"}.get(item.head)
            if kind is None:
                raise self.source.error(
                    f"'{item.head[:40]}' is not supported; only inputs and outputs are", item.offset
                )
            if any(k == kind for k, _ in self.tensors.values()):
                raise self.source.error("networks with several inputs or outputs are not supported", item.offset)
            words = [a for a in item.items[1:] if isinstance(a, Atom)]
            if not words:
                raise self.source.error("a declaration reads (declare-input X float32 [1,5])", item.offset)
            shape = tuple(int(n) for a in words for n in re.findall(r"\d{1,18}", a.text) if a.text.startswith("["))
            if prod(shape) != self.sizes[kind]:
                side = "input" if kind == "X" else "output"
                message = (
                    f"the {side} is declared with shape {list(shape)}, but the network's has {self.sizes[kind]} entries"
                )
                raise self.source.error(message, item.offset)
            self.tensors[words[0].text] = (kind, shape)

    def resolve(self, atom: Atom) -> Variable | None:
        """The variable that a word stands for, if any."""
        text = atom.text
        if text in self.scalars:
            return self.scalars[text]
        if text in self.foreign:
            raise self.source.error(f"inputs and outputs are called X_k and Y_k, not '{text[:40]}'", atom.offset)
        if not self.tensors or text[0] in "-+.0123456789":
            return None
        match = _INDEXED.match(text)
        name = match["name"] if match else text
        if name not in self.tensors:
            return None
        kind, shape = self.tensors[name]
        index = [int(i) for i in re.findall(r"-?\d{1,18}", match["index"])] if match else []
        if not index and prod(shape) == 1:
            index = [0] * len(shape)
        if len(index) != len(shape) or any(not 0 <= i < n for i, n in zip(index, shape, strict=True)):
            raise self.source.error(f"'{text[:40]}' does not fit the declared shape {list(shape)}", atom.offset)
        return kind, int(np.ravel_multi_index(index, shape)) if shape else 0

    def name(self, input_: int) -> str:
        """What the property calls an input."""
        for name, (kind, shape) in self.tensors.items():
            if kind == "X":
                return f"{name}[{','.join(str(int(i)) for i in np.unravel_index(input_, shape))}]" if shape else name
        return f"X_{input_}"

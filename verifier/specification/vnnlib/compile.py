"""From a VNN-LIB text to a `Specification`.

What every disjunct shares is worked on once; of each disjunct only what it adds. Disjuncts that no input and no output
satisfies are left out, each for a reason that exact arithmetic confirms.
"""

from __future__ import annotations

import gzip
import math
from collections import ChainMap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from ...errors import InvalidSpecification, no_file
from ..region import RATIONAL_INPUTS, Region
from ..specification import Disjunct, Polytope, Specification
from .contradiction import Contradictions
from .declarations import Declarations
from .endings import Untranslatable, translate
from .formula import And, Conjunction, Formula, Inequality, Linear, Or, build, conjunctions, split
from .intervals import Interval, Sides, decimals, intervals, sides
from .rows import Row, polytope, row_of
from .syntax import Atom, Deadline, Form, Source, parse

MAX_TEXT = 512 * 1024 * 1024
MAX_NUMBERS = 2**28  # of all boxes and polytopes together
_VERSIONS = ("1.0", "2.0", "2.1")
_NAMED = 3  # coordinates that a note names, the others it counts


@dataclass(frozen=True, eq=False)
class Property:
    """What a property file asks.

    Attributes:
        specification: without disjuncts where nothing is left to ask: then the property is unsatisfiable by itself.
        notes: lines for the user about what was taken in which sense.
        contradiction: why it has no disjuncts; empty where it has.
    """

    specification: Specification
    notes: tuple[str, ...] = ()
    contradiction: str = ""


@dataclass(frozen=True)
class Facts:
    """What a property's reader has to know of the network: sizes, `Network.ending` and `Network.input_dtype`, and a name.

    A property that names its network (VNN-LIB 2) must call it `name`, where that is not empty.
    """

    inputs: int
    outputs: int
    ending: str = ""
    input_dtype: str = "float64"
    name: str = ""


def read_vnnlib(path: str | Path, facts: Facts, deadline: float = math.inf) -> Property:
    """Read a property file, plain or .gz, until time.perf_counter() reaches the deadline.

    Raises:
        InvalidSpecification: names file, and line and column where there is one.
        OutOfTime: the deadline has passed.
    """
    path = Path(path)
    if not path.is_file():
        raise InvalidSpecification(f"{path}: {no_file(path)}; give the path of a .vnnlib or .vnnlib.gz property")
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as stream:
                raw = stream.read(MAX_TEXT + 1)
        else:
            with path.open("rb") as stream:
                raw = stream.read(MAX_TEXT + 1)
        if len(raw) > MAX_TEXT:
            raise InvalidSpecification(f"{path}: larger than {MAX_TEXT >> 20} MiB")
        text = raw.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidSpecification(f"{path}: not a readable VNN-LIB text ({error})") from error
    try:
        return compile_vnnlib(text, facts, deadline)
    except InvalidSpecification as error:
        renamed = InvalidSpecification(f"{path}: {error}")
        renamed.line, renamed.column = error.line, error.column
        raise renamed from None


def compile_vnnlib(text: str, facts: Facts, deadline: float = math.inf) -> Property:
    """Compile a text; see `read_vnnlib`."""
    source = Source(text.removeprefix("\ufeff"), Deadline(deadline))
    declared = Declarations(source, facts.inputs, facts.outputs, facts.name)
    assertions: list[Formula] = []
    for form in parse(source):
        match form.head:
            case "declare-const" | "declare-fun":
                declared.declare_scalar(form)
            case "declare-network":
                declared.declare_network(form)
            case "assert":
                if len(form.items) != 2:
                    raise source.error("an assertion has one formula", form.offset)
                source.deadline.check()
                assertions.append(build(form.items[1], source, declared.resolve))
            case "vnnlib-version":
                _check_version(form, source)
            case "set-logic" | "set-info" | "set-option" | "check-sat" | "get-model" | "exit":
                pass
            case _:
                raise source.error(f"'{form.head[:40] or '()'}' is not a VNN-LIB command", form.offset)
    if not assertions:
        raise InvalidSpecification("the property asserts nothing")
    certain, choices = split(And(tuple(assertions)))
    return _Assembly(certain, source, declared, facts).of(_alternatives(choices, source))


def _check_version(form: Form, source: Source) -> None:
    """Refuse versions whose meaning is not known here: (vnnlib-version <2.0>)."""
    written = " ".join(a.text for a in form.items[1:] if isinstance(a, Atom)).strip("<>")
    if written not in _VERSIONS:
        known = ", ".join(f"<{version}>" for version in _VERSIONS)
        raise source.error(f"VNN-LIB version '{written[:40]}' is not known; supported are {known}", form.offset)


def _alternatives(choices: list[Or], source: Source) -> list[Conjunction]:
    return conjunctions(And(tuple(choices)), source)


class _Assembly:
    """Disjuncts of a property from its conjunctions: box by box, the polytopes that must not be reached from it."""

    def __init__(self, certain: Sequence[Inequality], source: Source, declared: Declarations, facts: Facts) -> None:
        self.source, self.declared, self.facts = source, declared, facts
        self.contradictions = Contradictions()
        self.reasons: dict[str, None] = {}
        self.taken: dict[int, tuple[Interval, Sides]] = {}
        self.inexact: set[int] = set()
        self.translated: dict[tuple[object, ...], Inequality | bool | str] = {}
        self.floats: dict[tuple[object, ...], Row] = {}
        self.polytopes: dict[tuple[object, ...], Polytope | None] = {}
        self.left = MAX_NUMBERS
        self.rows = [row for row in certain if not row.is_bound]
        self.known = intervals((row for row in certain if row.is_bound), {})
        self.lower, self.upper = np.full(facts.inputs, -np.inf), np.full(facts.inputs, np.inf)
        self.base = self._sides(self.known)
        for k, (lower, upper, _) in (self.base or {}).items():
            self.lower[k], self.upper[k] = lower, upper
        self.decimals = self._decimals(self.known, self.base or {})
        self.free = frozenset(np.flatnonzero(np.isinf(self.lower) | np.isinf(self.upper)).tolist())

    def of(self, alternatives: Sequence[Conjunction]) -> Property:
        """The property whose conjunctions add these rows."""
        boxes: dict[tuple[object, ...], Region] = {}
        unsafe: dict[tuple[object, ...], dict[int, Polytope]] = {}
        for alternative in alternatives if self.base is not None else ():
            self.source.deadline.check()
            own = intervals((row for row in alternative if row.is_bound), self.known)
            rows = [*self.rows, *(row for row in alternative if not row.is_bound)]
            found = self._sides(own)
            if found is None:
                continue
            box = {k: side for k, side in found.items() if (side.lower, side.upper) != (self.lower[k], self.upper[k])}
            region = self._polytope(rows, box)
            if region is None:
                continue
            exact = self._decimals(own, box)
            key = tuple(sorted((k, side.lower, side.upper, exact.get(k)) for k, side in box.items()))
            if key not in boxes:
                boxes[key] = self._region(box, exact)
            unsafe.setdefault(key, {})[id(region)] = region
            self._note_taken(own, found)
        disjuncts = tuple(Disjunct(boxes[key], tuple(unsafe[key].values())) for key in boxes)
        if not disjuncts:
            return Property(Specification(()), (), self._contradiction(len(alternatives)))
        for k in self.known.keys() & (self.base or {}).keys():
            self._note_taken({k: self.known[k]}, self.base or {})
        return Property(Specification(disjuncts), tuple(self._notes()))

    # -- inputs ------------------------------------------------------------------------------------------------------

    def _sides(self, own: dict[int, Interval]) -> dict[int, Sides] | None:
        """The sides of some inputs; None where one of them holds nothing."""
        found: dict[int, Sides] = {}
        for k, interval in own.items():
            try:
                side = sides(interval, self.facts.input_dtype)
            except OverflowError:
                name, dtype = self.declared.name(k), self.facts.input_dtype
                message = f"the bounds of {name} lie beyond {dtype}, the network's input type"
                raise self.source.error(message, max(interval.low_offset, interval.high_offset)) from None
            if side is None:
                places = sorted({interval.low_offset, interval.high_offset})
                where = " and ".join(self.source.place(offset) for offset in places)
                self.reasons[f"no value of {self.declared.name(k)} satisfies {where}"] = None
                return None
            found[k] = side
        return found

    def _decimals(self, own: dict[int, Interval], box: dict[int, Sides]) -> dict[int, tuple[Fraction, Fraction]]:
        """The sides of a box that are no float64; left out where nobody would ask for them."""
        if self.facts.inputs > RATIONAL_INPUTS:
            return {}
        found = ((k, decimals(own[k], side, self.facts.input_dtype)) for k, side in box.items())
        return {k: exact for k, exact in found if exact is not None}

    def _region(self, box: dict[int, Sides], exact: dict[int, tuple[Fraction, Fraction]]) -> Region:
        lower, upper = self.lower, self.upper
        if box:
            lower, upper = lower.copy(), upper.copy()
            places = list(box)
            lower[places] = [box[k].lower for k in places]
            upper[places] = [box[k].upper for k in places]
            self._take(2 * len(lower))
        for k in self.free:
            if math.isinf(lower[k]) or math.isinf(upper[k]):
                name = self.declared.name(k)
                raise InvalidSpecification(f"input {name} has no lower or no upper bound; every input needs both")
        return Region(lower, upper, decimals=ChainMap(exact, self.decimals))

    def _take(self, numbers: int) -> None:
        self.left -= numbers
        if self.left < 0:
            raise InvalidSpecification(f"the boxes and rows of the property hold more than {MAX_NUMBERS} numbers")

    # -- outputs -----------------------------------------------------------------------------------------------------

    def _polytope(self, rows: list[Inequality], box: dict[int, Sides]) -> Polytope | None:
        """What some rows leave of the outputs (and of the inputs that they speak of); None for nothing."""
        named = sorted({k for row in rows for kind, k in row.expression.terms if kind == "X"})
        bounds = tuple((k, *(box.get(k) or (self.base or {}).get(k) or _NO_SIDES)[:2]) for k in named)
        key = (*(row.key for row in rows), None, *bounds)
        if key not in self.polytopes:
            self.polytopes[key] = self._new_polytope(rows, bounds)
        return self.polytopes[key]

    def _new_polytope(self, rows: list[Inequality], bounds: Sequence[tuple[int, float, float]]) -> Polytope | None:
        box = [row for bound in bounds for row in _box_rows(*bound)]
        if self._contradict(rows, box):
            return None
        left: list[Inequality] = []
        refused: tuple[str, Inequality] | None = None
        for row in rows:
            meaning = self._translated(row)
            if meaning is False:
                self.reasons[f"{self.source.place(row.offset)} holds for no {self._outputs()}"] = None
                return None
            if isinstance(meaning, str):
                refused = refused or (meaning, row)
            elif meaning is not True:
                left.append(meaning)
        if self.facts.ending and self._contradict(left, box):
            return None
        if refused is not None:
            raise self.source.error(
                f"{refused[0]}; verify the network without its {self.facts.ending}", refused[1].offset
            )
        left = [row for row in left if row.expression.terms]
        self._take(len(left) * (self.facts.outputs + (self.facts.inputs if bounds else 0)))
        over_logits = polytope([self._float(row) for row in left], self.facts.inputs, self.facts.outputs)
        if not self.facts.ending or left == rows:
            return over_logits
        self._take(len(rows) * (self.facts.outputs + (self.facts.inputs if bounds else 0)))
        written = polytope([self._float(row) for row in rows], self.facts.inputs, self.facts.outputs)
        return replace(over_logits, written=written)

    def _outputs(self) -> str:
        return f"outputs of a {self.facts.ending}" if self.facts.ending else "outputs"

    def _contradict(self, rows: Sequence[Inequality], box: Sequence[Inequality]) -> bool:
        found = self.contradictions.among(rows, box)
        if found:
            places = sorted({row.offset for row in found if row.offset >= 0})
            where = ", ".join(self.source.place(offset) for offset in places[:_NAMED])
            more = f" and {len(places) - _NAMED} more rows" if len(places) > _NAMED else ""
            verb = "is false" if len(places) == 1 else "exclude each other"
            self.reasons[f"{where}{more} {verb}"] = None
        return bool(found)

    def _translated(self, row: Inequality) -> Inequality | bool | str:
        """A row over logits, its truth, or why there is neither."""
        if row.key not in self.translated:
            try:
                self.translated[row.key] = translate(row, self.facts.ending, self.facts.outputs)
            except Untranslatable as reason:
                self.translated[row.key] = str(reason)
        return self.translated[row.key]

    def _float(self, row: Inequality) -> Row:
        if row.key not in self.floats:
            try:
                self.floats[row.key] = row_of(row)
            except OverflowError:
                raise self.source.error("the numbers of this row are too large or too small", row.offset) from None
            if not self.floats[row.key].exact:
                self.inexact.add(row.offset)
        return self.floats[row.key]

    # -- what the user hears -----------------------------------------------------------------------------------------

    def _note_taken(self, own: dict[int, Interval], found: dict[int, Sides]) -> None:
        for k, interval in own.items():
            if found[k].taken and k not in self.taken:
                self.taken[k] = (interval, found[k])

    def _notes(self) -> list[str]:
        notes = []
        for k, (interval, side) in list(self.taken.items())[:_NAMED]:
            values = " and ".join(f"{value:.9g}" for value in side.taken)
            assert interval.low is not None and interval.high is not None
            low, high = float(interval.low), float(interval.high)
            what = f"is fixed at {low}, which is" if low == high else f"from {low} to {high} holds"
            notes.append(f"input {self.declared.name(k)} {what} no {self.facts.input_dtype}: {values} is taken, too")
        if len(self.taken) > _NAMED:
            notes.append(f"so it is for {len(self.taken) - _NAMED} more inputs")
        if self.inexact:
            places = ", ".join(self.source.place(offset) for offset in sorted(self.inexact)[:_NAMED])
            notes.append(f"coefficients with too many digits are rounded to float64 ({places})")
        return notes

    def _contradiction(self, conjunctions: int) -> str:
        if not self.reasons:
            return "the property is false as written"
        first, *others = self.reasons
        more = f" (and {len(others)} more contradictions in {conjunctions} disjuncts)" if others else ""
        return f"the property contradicts itself: {first}{more}"


_NO_SIDES = Sides(-math.inf, math.inf)


def _box_rows(k: int, lower: float, upper: float) -> list[Inequality]:
    """The sides of one input as rows; their offset says that they have no place in the text."""
    rows = []
    if not math.isinf(lower):
        rows.append(Inequality(Linear({("X", k): Fraction(-1)}, Fraction(lower)), False, -1))
    if not math.isinf(upper):
        rows.append(Inequality(Linear({("X", k): Fraction(1)}, -Fraction(upper)), False, -1))
    return rows

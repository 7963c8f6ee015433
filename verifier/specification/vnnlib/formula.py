"""Assertions as Boolean formulas over linear inequalities with exact coefficients, and their disjunctive normal form."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from .syntax import Atom, Expression, Form, Source

# A variable is ("X", k) or ("Y", k), k its flat position.
Variable = tuple[str, int]

MAX_DISJUNCTS = 50_000
MAX_ROWS = 20_000_000  # of all disjuncts together, counted as often as they are repeated
_MAX_BITS = 20_000  # of a numerator or denominator
_LARGEST = Fraction(sys.float_info.max)
_NUMBER = re.compile(r"[+-]?(?:\d{1,1000}(?:\.\d{0,1000})?|\.\d{1,1000})(?:[eE][+-]?\d{1,3})?")
_ZERO, _ONE = Fraction(0), Fraction(1)


class Linear(NamedTuple):
    """sum of coefficients times variables, plus a constant."""

    terms: dict[Variable, Fraction]
    constant: Fraction

    def plus(self, other: Linear, sign: int = 1) -> Linear:
        """self + sign * other."""
        if not other.terms:  # a bound, as most lines of most properties
            constant = other.constant if sign > 0 else -other.constant
            return Linear(self.terms, self.constant + constant if self.constant else constant)
        terms = dict(self.terms)
        for variable, value in other.terms.items():
            terms[variable] = terms.get(variable, _ZERO) + sign * value
        return Linear({v: c for v, c in terms.items() if c}, self.constant + sign * other.constant)

    def times(self, factor: Fraction) -> Linear:
        """factor * self."""
        return Linear({v: c * factor for v, c in self.terms.items() if factor}, self.constant * factor)


@dataclass(frozen=True, eq=False)
class Inequality:
    """expression <= 0 (or < 0 when strict); `offset` is its place in the text."""

    expression: Linear
    strict: bool
    offset: int

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Equal for inequalities that say the same in the same words."""
        terms, constant = self.expression
        return tuple(sorted(terms.items())), constant, self.strict

    @cached_property
    def kinds(self) -> frozenset[str]:
        """Of X and Y those that it speaks of."""
        return frozenset(kind for kind, _ in self.expression.terms)

    @property
    def is_bound(self) -> bool:
        """Whether it speaks of one input alone."""
        return len(self.expression.terms) == 1 and self.kinds == {"X"}


@dataclass(frozen=True)
class And:
    """All of the parts; true without parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """Any of the parts; false without parts."""

    parts: tuple[Formula, ...]


Formula = Inequality | And | Or
Resolve = Callable[[Atom], Variable | None]
Conjunction = tuple[Inequality, ...]

TRUE, FALSE = And(()), Or(())
COMPARISONS = ("<=", "<", ">=", ">", "=", "==", "!=", "distinct")
CONNECTIVES = ("and", "or", "not", "=>", "true", "false")
ARITHMETIC = ("+", "-", "*", "/")


def build(form: Expression, source: Source, resolve: Resolve, negated: bool = False) -> Formula:
    """The formula of an assertion's body, or of its negation."""
    if isinstance(form, Atom):
        if form.text in ("true", "false"):
            return TRUE if (form.text == "true") is not negated else FALSE
        raise source.error(f"expected a comparison in parentheses, found '{form.text[:40]}'", form.offset)
    head, arguments = form.head, form.items[1:]
    if head in ("and", "or", "=>", "not") and not arguments:
        raise source.error(f"'{head}' without arguments", form.offset)
    match head:
        case "and" | "or":
            parts = tuple(build(argument, source, resolve, negated) for argument in arguments)
            return And(parts) if (head == "and") is not negated else Or(parts)
        case "not":
            if len(arguments) != 1:
                raise source.error(f"'not' takes one argument, found {len(arguments)}", form.offset)
            return build(arguments[0], source, resolve, not negated)
        case "=>":  # a => b => c is a => (b => c): one of the premises fails, or c holds
            if len(arguments) < 2:
                raise source.error("'=>' takes at least two arguments, found 1", form.offset)
            premises = [build(argument, source, resolve, not negated) for argument in arguments[:-1]]
            parts = (*premises, build(arguments[-1], source, resolve, negated))
            return And(parts) if negated else Or(parts)
    if head in COMPARISONS:
        return _comparison(form, source, resolve, negated)
    what = f"'{head[:40] or '()'}' is not supported here" if head not in ARITHMETIC else f"'{head}' makes no condition"
    accepted = "comparisons, and, or, not and => are (see: advverify capabilities)"
    raise source.error(f"{what}; {accepted}", form.offset)


def _comparison(form: Form, source: Source, resolve: Resolve, negated: bool) -> Formula:
    """A comparison of two or more terms: a chain holds for all neighbours, `!=` for all pairs."""
    head, arguments = form.head, form.items[1:]
    if len(arguments) < 2:
        raise source.error(f"'{head}' takes at least two arguments, found {len(arguments)}", form.offset)
    terms = [linear(argument, source, resolve) for argument in arguments]
    pairs = itertools.combinations(terms, 2) if head in ("!=", "distinct") else itertools.pairwise(terms)
    operator = {"==": "=", "distinct": "!="}.get(head, head)
    if negated:
        operator = {"<=": ">", "<": ">=", ">=": "<", ">": "<=", "=": "!=", "!=": "="}[operator]
    parts = tuple(_related(operator, left, right, form.offset) for left, right in pairs)
    if len(parts) == 1:
        return parts[0]
    return Or(parts) if negated else And(parts)


def _related(operator: str, left: Linear, right: Linear, offset: int) -> Formula:
    """left operator right."""
    if operator in ("<=", "<"):
        return Inequality(left.plus(right, -1), operator == "<", offset)
    if operator in (">=", ">"):
        return Inequality(right.plus(left, -1), operator == ">", offset)
    strict = operator == "!="
    sides = (
        Inequality(left.plus(right, -1), strict, offset),
        Inequality(right.plus(left, -1), strict, offset),
    )
    return Or(sides) if strict else And(sides)


def linear(form: Expression, source: Source, resolve: Resolve) -> Linear:
    """An arithmetic expression that is linear in the variables."""
    if isinstance(form, Atom):
        variable = resolve(form)
        return Linear({}, _number(form, source)) if variable is None else Linear({variable: _ONE}, _ZERO)
    if form.head not in ARITHMETIC:
        accepted = "+, -, * and / are (see: advverify capabilities)"
        raise source.error(f"'{form.head[:40] or '()'}' is not supported in a term; {accepted}", form.offset)
    parts = [linear(argument, source, resolve) for argument in form.items[1:]]
    if not parts:
        raise source.error("an operation without arguments", form.offset)
    match form.head:
        case "+":
            total = _sum(parts, 1)
        case "-":
            total = parts[0].times(-_ONE) if len(parts) == 1 else _sum(parts, -1)
        case "*":
            total = parts[0]
            for part in parts[1:]:
                if total.terms and part.terms:
                    raise source.error("a product of two variables is not linear", form.offset)
                total = total.times(part.constant) if not part.terms else part.times(total.constant)
                _check_size(total, source, form)
        case _:
            total = parts[0]
            if len(parts) == 1 or any(part.terms or not part.constant for part in parts[1:]):
                raise source.error("'/' divides a term by numbers other than 0", form.offset)
            for part in parts[1:]:
                total = total.times(1 / part.constant)
                _check_size(total, source, form)
    _check_size(total, source, form)
    return total


def _sum(parts: list[Linear], sign: int) -> Linear:
    """The first part plus sign times each of the others, in time linear in all their terms."""
    terms, constant = dict(parts[0].terms), parts[0].constant
    for part in parts[1:]:
        for variable, value in part.terms.items():
            terms[variable] = terms.get(variable, _ZERO) + sign * value
        constant += sign * part.constant
    return Linear({v: c for v, c in terms.items() if c}, constant)


def _check_size(total: Linear, source: Source, form: Form) -> None:
    """Refuse numbers whose digits would take longer than the property."""
    for value in (total.constant, *total.terms.values()):
        if value.numerator.bit_length() > _MAX_BITS or value.denominator.bit_length() > _MAX_BITS:
            raise source.error("the numbers of this term have too many digits", form.offset)


def _number(atom: Atom, source: Source) -> Fraction:
    if _NUMBER.fullmatch(atom.text) is None:
        if re.fullmatch(r"[+-]?[\d.]+([eE][+-]?\d+)?|[+-]?(inf|nan|infinity)", atom.text, re.IGNORECASE):
            raise source.error("numbers must be finite and have fewer than 1000 digits", atom.offset)
        raise source.error(f"'{atom.text[:40]}' is neither a number nor a declared variable", atom.offset)
    value = Fraction(atom.text)
    if abs(value) > _LARGEST:
        raise source.error("numbers must be finite in float64", atom.offset)
    return value


def split(formula: Formula) -> tuple[list[Inequality], list[Or]]:
    """What holds in every disjunct, and the choices besides."""
    certain: list[Inequality] = []
    choices: list[Or] = []
    left = [formula]
    while left:
        part = left.pop()
        match part:
            case Inequality():
                certain.append(part)
            case And():
                left.extend(reversed(part.parts))
            case Or():
                choices.append(part)
    return certain, choices


def conjunctions(formula: Formula, source: Source) -> list[Conjunction]:
    """Disjunctive normal form.

    Raises:
        InvalidSpecification: more than `MAX_DISJUNCTS` conjunctions, or more than `MAX_ROWS` rows in them.
        OutOfTime: the deadline has passed.
    """
    source.deadline.check()
    match formula:
        case Inequality():
            return [(formula,)]
        case Or():
            joined: list[Conjunction] = []
            for part in formula.parts:
                joined.extend(conjunctions(part, source))
                if len(joined) > MAX_DISJUNCTS:
                    raise source.error(f"the property has more than {MAX_DISJUNCTS} disjuncts", 0)
            return joined
        case And():
            certain, choices = split(formula)
            product: list[Conjunction] = [tuple(certain)]
            for choice in choices:
                branches = conjunctions(choice, source)
                if len(product) * len(branches) > MAX_DISJUNCTS:
                    raise source.error(f"the property has more than {MAX_DISJUNCTS} disjuncts", 0)
                rows = len(branches) * sum(map(len, product)) + len(product) * sum(map(len, branches))
                if rows > MAX_ROWS:
                    raise source.error(f"the property has more than {MAX_ROWS} rows once it is multiplied out", 0)
                product = [c + d for c in product for d in branches]
            return product

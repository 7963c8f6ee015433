"""Assertions as Boolean formulas over linear inequalities, and their disjunctive normal form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .syntax import Atom, Expression, Source

# A variable is ("X", k) or ("Y", k), k its flat position.
Variable = tuple[str, int]


@dataclass(frozen=True)
class Linear:
    """sum of coefficients times variables, plus a constant."""

    terms: dict[Variable, float]
    constant: float

    def plus(self, other: Linear, sign: float = 1.0) -> Linear:
        """self + sign * other."""
        terms = dict(self.terms)
        for variable, value in other.terms.items():
            terms[variable] = terms.get(variable, 0.0) + sign * value
        return Linear({v: c for v, c in terms.items() if c != 0.0}, self.constant + sign * other.constant)

    def times(self, factor: float) -> Linear:
        """factor * self."""
        return Linear({v: c * factor for v, c in self.terms.items()}, self.constant * factor)


@dataclass(frozen=True)
class Inequality:
    """expression <= 0 (or < 0 when strict); `offset` is its place in the text."""

    expression: Linear
    strict: bool
    offset: int


@dataclass(frozen=True)
class And:
    """All of the parts."""

    parts: tuple[Formula, ...]


@dataclass(frozen=True)
class Or:
    """Any of the parts."""

    parts: tuple[Formula, ...]


Formula = Inequality | And | Or
Resolve = Callable[[Atom], Variable | None]
Conjunction = tuple[Inequality, ...]

MAX_DISJUNCTS = 50_000


def build(form: Expression, source: Source, resolve: Resolve) -> Formula:
    """The formula of an assertion's body."""
    if isinstance(form, Atom):
        raise source.error(f"expected a comparison in parentheses, found '{form.text[:40]}'", form.offset)
    head, arguments = form.head, form.items[1:]
    if head in ("and", "or"):
        if not arguments:
            raise source.error(f"'{head}' without arguments", form.offset)
        parts = tuple(build(argument, source, resolve) for argument in arguments)
        return And(parts) if head == "and" else Or(parts)
    if head in ("<=", "<", ">=", ">", "=", "==", "!="):
        if len(arguments) != 2:
            raise source.error(f"'{head}' takes two arguments, found {len(arguments)}", form.offset)
        left, right = (linear(argument, source, resolve) for argument in arguments)
        difference = left.plus(right, -1.0)
        below = Inequality(difference, head in ("<", "!="), form.offset)
        above = Inequality(difference.times(-1.0), head in (">", "!="), form.offset)
        if head in ("<=", "<"):
            return below
        if head in (">=", ">"):
            return above
        return Or((below, above)) if head == "!=" else And((below, above))
    raise source.error(f"'{head or '()'}' is not a comparison, 'and' or 'or'", form.offset)


def linear(form: Expression, source: Source, resolve: Resolve) -> Linear:
    """An arithmetic expression that is linear in the variables."""
    if isinstance(form, Atom):
        variable = resolve(form)
        if variable is not None:
            return Linear({variable: 1.0}, 0.0)
        try:
            value = float(form.text)
        except ValueError:
            raise source.error(f"'{form.text[:40]}' is neither a number nor a declared variable", form.offset) from None
        if value != value or value in (float("inf"), float("-inf")):
            raise source.error("numbers must be finite", form.offset)
        return Linear({}, value)
    parts = [linear(argument, source, resolve) for argument in form.items[1:]]
    if not parts:
        raise source.error("an operation without arguments", form.offset)
    total = parts[0]
    match form.head:
        case "+":
            for part in parts[1:]:
                total = total.plus(part)
        case "-":
            total = total.times(-1.0) if len(parts) == 1 else total
            for part in parts[1:]:
                total = total.plus(part, -1.0)
        case "*":
            for part in parts[1:]:
                if total.terms and part.terms:
                    raise source.error("a product of two variables is not linear", form.offset)
                total = total.times(part.constant) if not part.terms else part.times(total.constant)
        case "/" if len(parts) == 2 and not parts[1].terms and parts[1].constant != 0.0:
            total = total.times(1.0 / parts[1].constant)
        case _:
            raise source.error(f"'{form.head or '()'}' is not one of + - * /", form.offset)
    return total


def disjuncts(formula: Formula, source: Source) -> list[Conjunction]:
    """Disjunctive normal form.

    Raises:
        InvalidSpecification: more than `MAX_DISJUNCTS` conjunctions.
    """
    match formula:
        case Inequality():
            return [(formula,)]
        case Or():
            joined = [c for part in formula.parts for c in disjuncts(part, source)]
            if len(joined) > MAX_DISJUNCTS:
                raise source.error(f"the property has more than {MAX_DISJUNCTS} disjuncts", 0)
            return joined
        case And():
            certain: list[Inequality] = []
            product: list[Conjunction] = [()]
            for part in formula.parts:
                choices = disjuncts(part, source)
                if len(choices) == 1:
                    certain.extend(choices[0])
                    continue
                if len(product) * len(choices) > MAX_DISJUNCTS:
                    raise source.error(f"the property has more than {MAX_DISJUNCTS} disjuncts", 0)
                product = [c + d for c in product for d in choices]
            return [(*certain, *c) for c in product]

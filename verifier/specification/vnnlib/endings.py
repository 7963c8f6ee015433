"""Rows over the outputs of a final Softmax, LogSoftmax or Sigmoid, translated to rows over its arguments, the logits.

A network's nodes compute the logits z, a property speaks of what the file puts out. A row is decided at once where the
range of those outputs decides it, becomes a row of logits where that is exact, and is refused otherwise:

    Softmax     probabilities sum up to 1, so a row is sum_i a_i p_i <= 0 without a constant; all a_i of one sign decide
                it; u p_i <= v p_j is z_i - z_j <= ln(v / u). (Order rows are u = v; with two classes every row is one.)
    LogSoftmax  differences of outputs are differences of logits, so rows with sum_i a_i = 0 stay as they are; with two
                classes a threshold on one output is one on the difference.
    Sigmoid     one threshold on one output is one on its logit, and order rows hold on logits.

Logarithms are irrational: the translated offset is rounded so that the unsafe set grows, by an ulp at most, never shrinks.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

from ..exact import above
from .formula import Inequality, Linear, Variable

ENDINGS = ("Softmax", "LogSoftmax", "Sigmoid")
_DIGITS = 60  # beyond those of the threshold itself
_ERROR = Fraction(1, 10**40)  # absolute and relative, of a logarithm with that many digits


class Untranslatable(Exception):
    """A row that no row of logits equals; the text says why."""


def translate(row: Inequality, ending: str, outputs: int) -> Inequality | bool:
    """A row over what the file puts out, as a row over logits, or what it is whatever the logits are.

    Raises:
        Untranslatable: neither is possible.
    """
    if not ending or "Y" not in row.kinds:
        return row
    if row.kinds != {"Y"} and not (ending == "LogSoftmax" and _total(row) == 0):
        raise Untranslatable(f"a row that couples inputs with the outputs of a {ending} is not linear in the logits")
    match ending:
        case "Softmax":
            return _softmax(row, outputs)
        case "LogSoftmax":
            return _log_softmax(row, outputs)
        case "Sigmoid":
            return _sigmoid(row)
    raise Untranslatable(f"rows over the outputs of a {ending} are not supported")


def _outputs(row: Inequality) -> dict[int, Fraction]:
    return {k: value for (kind, k), value in row.expression.terms.items() if kind == "Y"}


def _total(row: Inequality) -> Fraction:
    return sum(_outputs(row).values(), Fraction())


def _softmax(row: Inequality, outputs: int) -> Inequality | bool:
    terms, constant = _outputs(row), row.expression.constant
    rest = constant if len(terms) < outputs else None  # coefficient of all outputs that the row does not name
    terms = {k: value + constant for k, value in terms.items() if value + constant}
    if all(value >= 0 for value in (*terms.values(), rest or 0)):
        return not terms and not rest and not row.strict
    if all(value <= 0 for value in (*terms.values(), rest or 0)):
        return True
    if rest and outputs - len(_outputs(row)) == 1:
        (k,) = set(range(outputs)) - set(_outputs(row))
        terms, rest = terms | {k: rest}, None
    if rest or len(terms) != 2:
        raise Untranslatable("a threshold on probabilities of more than two classes is not linear in the logits")
    (i, u), (j, v) = sorted(terms.items(), key=lambda item: -item[1])  # u > 0 > v
    return _difference(row, i, j, *_logarithm(-v / u))


def _log_softmax(row: Inequality, outputs: int) -> Inequality | bool:
    terms, constant = _outputs(row), row.expression.constant
    if outputs == 1:  # the output is 0
        return constant < 0 or (constant == 0 and not row.strict)
    if _total(row) == 0:
        return row
    if all(value >= 0 for value in terms.values()) and constant <= 0:  # log-probabilities lie below 0
        return True
    if all(value <= 0 for value in terms.values()) and constant >= 0:
        return False
    if outputs != 2 or len(terms) != 1:
        raise Untranslatable("a threshold on log-probabilities is not linear in the logits")
    ((k, factor),) = terms.items()
    logit = _logit_of_exponential(-constant / factor)
    return _threshold(row, {("Y", k): Fraction(1), ("Y", 1 - k): Fraction(-1)}, factor > 0, *logit)


def _sigmoid(row: Inequality) -> Inequality | bool:
    terms, constant = _outputs(row), row.expression.constant
    if constant + sum((value for value in terms.values() if value < 0), Fraction()) >= 0:  # outputs lie between 0 and 1
        return False
    if constant + sum((value for value in terms.values() if value > 0), Fraction()) <= 0:
        return True
    if constant == 0 and len(terms) == 2 and _total(row) == 0:
        return row
    if len(terms) != 1:
        raise Untranslatable("a row over several sigmoids that is no order of two of them is not linear in the logits")
    ((k, factor),) = terms.items()
    value = -constant / factor  # strictly between 0 and 1: the range has decided all others
    return _threshold(row, {("Y", k): Fraction(1)}, factor > 0, *_logarithm(value / (1 - value)))


def _difference(row: Inequality, i: int, j: int, value: Fraction, error: Fraction) -> Inequality:
    """z_i - z_j <= value."""
    return _threshold(row, {("Y", i): Fraction(1), ("Y", j): Fraction(-1)}, True, value, error)


def _threshold(
    row: Inequality, terms: dict[Variable, Fraction], upper: bool, value: Fraction, error: Fraction
) -> Inequality:
    """terms <= value, or >= value where not `upper`, for a value known up to an error; the set may only grow.

    An inexact offset lies beyond the value, so that no float64 number is lost when the row is strict.
    """
    sign = 1 if upper else -1
    offset = sign * value + error
    if error:
        offset = Fraction(above(offset))
    expression = Linear({variable: sign * factor for variable, factor in terms.items()}, -offset)
    return Inequality(expression, row.strict or error > 0, row.offset)


def _context(value: Fraction) -> Context:
    digits = max(value.numerator.bit_length(), value.denominator.bit_length()) // 3
    return Context(prec=_DIGITS + digits, Emax=10**6, Emin=-(10**6))


def _decimal(value: Fraction, context: Context) -> Decimal:
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


def _logarithm(value: Fraction) -> tuple[Fraction, Fraction]:
    """ln of a positive rational, and a bound of its error (none for 1)."""
    if value == 1:
        return Fraction(0), Fraction(0)
    context = _context(value)
    found = Fraction(_decimal(value, context).ln(context))
    return found, _ERROR * abs(found)


def _logit_of_exponential(value: Fraction) -> tuple[Fraction, Fraction]:
    """ln(e^v / (1 - e^v)) of a negative rational v, and a bound of its error."""
    context = _context(value)
    if value < -10_000:  # v - ln(1 - e^v), of which the logarithm is far below the error
        return value, _ERROR
    exponential = _decimal(value, context).exp(context)
    ratio = context.divide(exponential, context.subtract(Decimal(1), exponential))
    found = Fraction(ratio.ln(context))
    return found, _ERROR * (1 + abs(found))

"""Text to nested lists of positioned tokens (s-expressions), in one pass."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import InvalidSpecification

# Nothing here looks further than the token's own end, so that broken texts are refused in linear time, too.
_TOKEN = re.compile(
    r";[^\n]*|(?P<open>\()|(?P<close>\))"
    r"|(?P<word>\|[^|\n]*\||\"[^\"\n]*\"|[^\s();\[\]]+(?:\[[-\d,\s]*\])?|\[[-\d,\s]*\])|(?P<other>[^\s;])"
)
_TOKENS_A_LOOK = 8192  # at the clock


class OutOfTime(Exception):
    """The deadline passed while a property was being read."""


@dataclass(frozen=True)
class Deadline:
    """A point of time.perf_counter() at which reading stops."""

    at: float = math.inf

    def check(self) -> None:
        """Stop when it has passed.

        Raises:
            OutOfTime: it has.
        """
        if time.perf_counter() > self.at:
            raise OutOfTime


class Atom(NamedTuple):
    """A word, with its offset in the text."""

    text: str
    offset: int


class Form:
    """A parenthesised list, with the offset of its opening parenthesis."""

    __slots__ = ("items", "offset")

    def __init__(self, offset: int) -> None:
        """Empty at first."""
        self.offset = offset
        self.items: list[Expression] = []

    @property
    def head(self) -> str:
        """First word, or an empty string."""
        return self.items[0].text if self.items and isinstance(self.items[0], Atom) else ""


Expression = Atom | Form


class Source:
    """A text that can say where an offset lies."""

    def __init__(self, text: str, deadline: Deadline | None = None) -> None:
        """Keep the text; `deadline` limits everything that is done with it."""
        self.text = text
        self.deadline = deadline or Deadline()

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, both from 1."""
        return self.text.count("\n", 0, offset) + 1, offset - self.text.rfind("\n", 0, offset)

    def place(self, offset: int) -> str:
        """Line and column in words."""
        line, column = self.position(offset)
        return f"line {line}, column {column}"

    def error(self, message: str, offset: int) -> InvalidSpecification:
        """An error with line and column."""
        return InvalidSpecification(message, *self.position(offset))


def parse(source: Source) -> Iterator[Form]:
    """The top-level forms of a text, one by one.

    Raises:
        InvalidSpecification: unbalanced parentheses or stray characters; names line and column.
        OutOfTime: the deadline has passed.
    """
    stack: list[Form] = []
    for number, match in enumerate(_TOKEN.finditer(source.text)):
        if number % _TOKENS_A_LOOK == 0:
            source.deadline.check()
        kind = match.lastgroup
        if kind == "word":
            if not stack:
                raise source.error(f"'{match.group()[:40]}' stands outside any parentheses", match.start())
            stack[-1].items.append(Atom(match.group(), match.start()))
        elif kind == "open":
            if len(stack) > 200:
                raise source.error("parentheses are nested more than 200 deep", match.start())
            stack.append(Form(match.start()))
        elif kind == "close":
            if not stack:
                raise source.error("a closing parenthesis without an opening one", match.start())
            form = stack.pop()
            if stack:
                stack[-1].items.append(form)
            else:
                yield form
        elif kind == "other":
            raise source.error(f"unexpected character {match.group()!r}", match.start())
    if stack:
        raise source.error("this parenthesis is never closed", stack[-1].offset)

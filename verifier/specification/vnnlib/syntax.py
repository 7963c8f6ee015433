"""Text to nested lists of positioned tokens (s-expressions)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import InvalidSpecification

_TOKEN = re.compile(r"\s+|;[^\n]*|(?P<token>[()]|\|[^|]*\||\"[^\"]*\"|[^\s();\[\]]+(?:\[[^\]]*\])?|\[[^\]]*\])")


@dataclass(frozen=True)
class Atom:
    """A word, with its offset in the text."""

    text: str
    offset: int


@dataclass(frozen=True)
class Form:
    """A parenthesised list, with the offset of its opening parenthesis."""

    items: tuple[Atom | Form, ...]
    offset: int

    @property
    def head(self) -> str:
        """First word, or an empty string."""
        return self.items[0].text if self.items and isinstance(self.items[0], Atom) else ""


Expression = Atom | Form


class Source:
    """A text that can say where an offset lies."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text

    def error(self, message: str, offset: int) -> InvalidSpecification:
        """An error with line and column, both from 1."""
        line = self.text.count("\n", 0, offset) + 1
        column = offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        return InvalidSpecification(message, line, column)


def parse(source: Source) -> list[Form]:
    """The top-level forms of a text.

    Raises:
        InvalidSpecification: unbalanced parentheses or stray characters; names line and column.
    """
    text = source.text
    stack: list[tuple[int, list[Expression]]] = []
    forms: list[Form] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise source.error(f"unexpected character {text[position]!r}", position)
        token = match.group("token")
        if token == "(":
            if len(stack) > 200:
                raise source.error("parentheses are nested more than 200 deep", position)
            stack.append((position, []))
        elif token == ")":
            if not stack:
                raise source.error("a closing parenthesis without an opening one", position)
            begin, items = stack.pop()
            form = Form(tuple(items), begin)
            if stack:
                stack[-1][1].append(form)
            else:
                forms.append(form)
        elif token is not None:
            if not stack:
                raise source.error(f"'{token[:40]}' stands outside any parentheses", position)
            stack[-1][1].append(Atom(token, position))
        position = match.end()
    if stack:
        raise source.error("this parenthesis is never closed", stack[-1][0])
    return forms

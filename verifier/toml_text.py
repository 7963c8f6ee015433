"""TOML texts of users: job files, recipes. What would take memory or depth without end is refused before it is read."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from .errors import InvalidInput

_MOST_BITS = 128
_MOST_PARTS = 64  # of a dotted key; the standard library's reader takes memory by the square of their number
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_TOO_MANY = re.compile(rf"(?<![A-Za-z0-9_-])(?:{_PART}){{{_MOST_PARTS}}}")


def read_toml(text: str) -> dict[str, Any]:
    """The table of a text.

    Raises:
        InvalidInput: not TOML, or nested without end.
    """
    if _TOO_MANY.search(text):
        raise InvalidInput(f"nested too deeply: a key has more than {_MOST_PARTS} parts")
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # also of numbers of thousands of digits
        raise InvalidInput(f"not a TOML file ({error})") from error
    except RecursionError as error:
        raise InvalidInput("nested too deeply") from error
    open_values: list[Any] = [table]
    while open_values:
        value = open_values.pop()
        if isinstance(value, int) and value.bit_length() > _MOST_BITS:  # such cannot even be shown
            raise InvalidInput(f"a whole number of {value.bit_length()} bits; numbers of TOML have 64")
        if isinstance(value, dict | list):
            open_values += value.values() if isinstance(value, dict) else value
    return table

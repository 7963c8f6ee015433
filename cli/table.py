"""How results look on a terminal: numbers, and tables that fit into it."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_SIGN_ALONE = sys.float_info.min  # bounds below it say that something is positive, and no more
_PIPED = 120  # columns where nothing says how wide the place is that a pipe leads to
_LEAST = 12  # characters that are left of a text, at least


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: at its head.
        word: set to the left, as words are; numbers are set to the right.
        text: words that are folded into several lines where the table is too wide.
        spare: 0 for a column that is always there; of the others a table that is still too wide leaves out 1 first, then 2.
    """

    name: str
    word: bool = False
    text: bool = False
    spare: int = 0


def number(value: float | None, digits: int = 6) -> str:
    """So many significant digits; a dash for what is not known, and "> 0" for a bound that says no more than the sign."""
    if value is None or not math.isfinite(value):
        return "-"
    return "> 0" if 0 < value < _SIGN_ALONE else f"{value:.{digits}g}"


def share(value: float | None, digits: int = 3) -> str:
    """A share as per cent, in so many significant digits; what is too near to 0 or 1 for them is said to be."""
    if value is None or not math.isfinite(value):
        return "-"
    if 0 < value < 1e-4:
        return "< 0.01 %"
    if 0.9995 <= value < 1:
        return "> 99.9 %"
    return f"{100 * value:.0f} %" if value >= 1 else f"{100 * value:.{digits}g} %"


def bracket(sides: tuple[float, float], digits: int = 4) -> str:
    """Both sides of a range; a side without end is shown as infinite, and not as unknown."""
    low, high = ("∞" if side == math.inf else number(side, digits) for side in sides)
    return f"{low} … {high}"


def of(count: int, total: int) -> str:
    """A share and what it is a share of."""
    return f"{100 * count / total:.1f} % ({count} of {total})" if total else "- (0 of 0)"


def console(stderr: bool = False) -> Console:
    """A console as wide as its terminal; where it is piped as wide as COLUMNS says, else 120 characters."""
    from rich.console import Console

    class Quiet(Console):
        """A console whose reader may go away: that is no failure, which rich would make of it."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    plain = Quiet(stderr=stderr, highlight=False)
    if plain.is_terminal:
        return plain
    stated = os.environ.get("COLUMNS", "")
    return Quiet(stderr=stderr, highlight=False, width=int(stated) if stated.isdigit() and int(stated) else _PIPED)


def show(screen: Console, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], title: str = "") -> None:
    """Print a table that fits into the screen, with every number whole.

    A table that is too wide loses its frame, then heads and texts are folded, then spare columns are left out, which a line
    below it says; columns that do not fit even so follow in a table of their own, beside the first column again.

    Args:
        screen: where to.
        columns: of the table.
        rows: cells of each row, one a column; what looks like markup is shown as it is.
        title: above it, "" for none.
    """
    framed = _table(columns, rows, [_most(column, k, rows) for k, column in enumerate(columns)], title)
    if _width(screen, framed) <= screen.width:
        _print(screen, framed)
        return

    def of_columns(kept: list[int], title: str) -> Table:
        return _folded(screen, [columns[k] for k in kept], [[row[k] for k in kept] for row in rows], title)

    def fits(kept: list[int]) -> bool:
        return _width(screen, of_columns(kept, "")) <= screen.width

    kept, left_out = list(range(len(columns))), list[str]()
    for k in sorted((k for k in kept if columns[k].spare), key=lambda k: columns[k].spare):
        if fits(kept):
            break
        kept.remove(k)
        left_out.append(columns[k].name)
    while True:
        count = next((n for n in range(len(kept), 2, -1) if fits(kept[:n])), min(len(kept), 2))
        _print(screen, of_columns(kept[:count], title))
        if count == len(kept):
            break
        kept, title = [kept[0], *kept[count:]], ""
    if left_out:
        screen.print(f"left out at {screen.width} characters: {', '.join(left_out)}", style="dim", markup=False)


def _folded(screen: Console, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]], title: str) -> Table:
    """Without a frame, heads and texts folded as far as the screen asks for, the ones with most room first."""
    widths = [_most(column, k, rows) for k, column in enumerate(columns)]
    room = [width - _least(column, k, rows) for k, (column, width) in enumerate(zip(columns, widths, strict=True))]
    for apart in (2, 1):
        surplus = _width(screen, _table(columns, rows, widths, title, apart)) - screen.width
        if surplus <= sum(room):
            break
    for _ in range(min(surplus, sum(room))):
        k = room.index(max(room))
        room[k], widths[k] = room[k] - 1, widths[k] - 1
    return _table(columns, rows, widths, title, apart)


def _most(column: Column, k: int, rows: Sequence[Sequence[str | Text]]) -> int:
    """Characters of column k with nothing folded."""
    return max(_cells(k, rows), len(column.name))


def _least(column: Column, k: int, rows: Sequence[Sequence[str | Text]]) -> int:
    """Characters of column k with its head folded between words, and its cells where they are text."""
    cells = min(_cells(k, rows), _LEAST) if column.text else _cells(k, rows)
    return max(cells, *(len(word) for word in column.name.split()), 1)


def _cells(k: int, rows: Sequence[Sequence[str | Text]]) -> int:
    """Characters of the longest line of column k."""
    from rich.cells import cell_len

    return max((cell_len(line) for row in rows for line in str(row[k]).splitlines()), default=0)


def _table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Text]],
    widths: Sequence[int],
    title: str,
    apart: int = 0,
) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title) if title else None, title_justify="left", header_style="bold")
    if apart:
        table.box, table.padding = box.SIMPLE_HEAD, (0, apart - 1, 0, 0)
    for column, width in zip(columns, widths, strict=True):
        left = column.word or column.text
        table.add_column(Text(column.name), justify="left" if left else "right", width=width, overflow="fold")
    for row in rows:
        cells = [
            broken(cell, width) if isinstance(cell, str) and column.text else cell
            for cell, column, width in zip(row, columns, widths, strict=True)
        ]
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def broken(text: str, width: int) -> str:
    """A text in lines that fit, broken after spaces and marks where there are some: names stay readable.

    Lines that begin with spaces keep them where they are broken.

    >>> broken("zoo:digits-resnet-plain, norm inf", 16).splitlines()
    ['zoo:digits-', 'resnet-plain,', 'norm inf']
    """
    lines = []
    for line in text.splitlines():
        indent = " " * (len(line) - len(line.lstrip()))
        indent = indent if width > 2 * len(indent) else ""
        while len(line) > width:
            marks = (k for k in range(len(indent) + 1, width + 1) if line[k - 1] in " -,/:_" or line[k] == " ")
            at = max(marks, default=width)
            lines.append(line[:at].rstrip())
            line = indent + line[at:].lstrip(" ")
        lines.append(line)
    return "\n".join(lines)


def _width(screen: Console, table: Table) -> int:
    """Characters of a table's lines."""
    from rich.measure import Measurement

    return Measurement.get(screen, screen.options.update(max_width=10_000), table).maximum


def _print(screen: Console, table: Table) -> None:
    """All of it, whether it fits or not."""
    table.width = _width(screen, table)
    screen.print(table, crop=False)

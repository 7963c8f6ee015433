"""A table for terminals of any width: no number is ever cut off.

Where it is too wide it loses its rules first; where that is not enough its rows stack, a line for each column. Words fold into several
lines before that, down to a width that they can still be read at.
"""

from __future__ import annotations

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import Text

_WORDS = 12  # characters that a column of words is left with, at least, where it has as many


class FittingTable(Table):
    """A table that fits the width it is printed at; columns to the left that may wrap hold words, all others numbers."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Whole, without rules, or stacked: the first of these that fits."""
        for column in self.columns:
            column.width = None
        if not self._fits(console, options):
            self.box, self.padding = box.SIMPLE_HEAD, (0, 1, 0, 0)
        if not self._fits(console, options):
            self.padding, self.show_edge = 0, False
        if self._fits(console, options):
            yield from super().__rich_console__(console, options)
            if not self.show_edge:
                yield Text("")
        else:
            yield from self._stacked(console)

    def _fits(self, console: Console, options: ConsoleOptions) -> bool:
        """Whether there is room for all numbers; columns of words then share what is left, the first of them first."""
        pairs = [_widths(console, column) for column in self.columns]
        least, most = [low for low, _ in pairs], [high for _, high in pairs]
        natural = Measurement.get(console, options.update(max_width=10**6), self).maximum
        spare = options.max_width - (natural - sum(most)) - sum(least)
        if spare >= 0 and natural > options.max_width:
            for column, low, high in zip(self.columns, least, most, strict=True):
                column.width = min(high, low + spare)
                spare -= column.width - low
        return spare >= 0

    def _stacked(self, console: Console) -> RenderResult:
        if self.title is not None:
            yield Text(str(self.title), style="bold")
        columns = [_texts(console, column) for column in self.columns]
        names = [column[0].plain for column in columns]
        width = max((cell_len(name) for name in names[1:]), default=0)
        for row in range(1, len(columns[0])):
            yield Text.assemble(f"{names[0]} " if names[0] else "", columns[0][row])
            for name, column in zip(names[1:], columns[1:], strict=True):
                yield Text.assemble(f"  {name}{' ' * (width - cell_len(name))}  ", column[row])
        yield Text("")


def _widths(console: Console, column: Column) -> tuple[int, int]:
    """The least width at which nothing of a column is cut off or hard to read, and the one that it would like to have."""
    header, *cells = [text.plain for text in _texts(console, column)]
    longest = max((cell_len(line) for cell in cells for line in cell.splitlines()), default=0)
    word = cell_len(header) if column.no_wrap else max(map(cell_len, header.split()), default=0)
    words = column.justify == "left" and not column.no_wrap
    return max(word, min(longest, _WORDS) if words else longest), max(cell_len(header), longest)


def _texts(console: Console, column: Column) -> list[Text]:
    """The header and the cells of a column."""
    cells = [column.header, *column.cells]
    texts = [console.render_str(cell) if isinstance(cell, str) else cell for cell in cells]
    assert all(isinstance(text, Text) for text in texts)
    return texts  # type: ignore[return-value]

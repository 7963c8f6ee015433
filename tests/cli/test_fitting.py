"""Tables fit the width they are printed at, and no number in them is cut off or broken."""

import io
import random

import pytest
from rich.console import Console

from advverify.cli.fitting import FittingTable
from advverify.cli.table import console


def shown(rows: list[list[str]], names: list[str], words: int, width: int, wrap: bool = False) -> list[str]:
    table = FittingTable(title="title")
    for k, name in enumerate(names):
        table.add_column(name, justify="left" if k < words else "right", no_wrap=k >= words and not wrap)
    for row in rows:
        table.add_row(*row)
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(table)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 92, 120, 200])
@pytest.mark.parametrize("wrap", [False, True])
def test_no_number_is_cut_off(width: int, wrap: bool) -> None:
    rng = random.Random(width)
    stacked = whole = 0
    for _ in range(40):
        words, numbers = rng.randint(0, 2), rng.randint(1, 12)
        names = [f"column {k}" for k in range(words + numbers)]
        phrase = " ".join(["several"] * rng.randint(1, 8))
        rows = [
            [f"{phrase} {row}"] * words
            + [rng.choice(["-", "< 0.01 %", f"{rng.random():.{rng.randint(1, 14)}f}"]) for _ in range(numbers)]
            for row in range(3)
        ]
        lines = shown(rows, names, words, width, wrap)
        assert max(map(len, lines)) <= width and not any("…" in line for line in lines)
        text = "\n".join(lines)
        for number in {cell for row in rows for cell in row[words:]}:
            assert text.count(number) >= sum(row.count(number) for row in rows), (number, text)
        assert text.count("several") == sum(cell.count("several") for row in rows for cell in row[:words])
        stacked, whole = stacked + (len(lines) > 3 * numbers), whole + ("┃" in text)
    assert (stacked > 0 or width > 120) and (whole > 0 or width < 60)


def test_rules_go_before_rows_stack() -> None:
    names, row = ["run", "closed", "seconds"], ["some run", "12.5 %", "0.123456"]
    assert "┃" in shown([row], names, 1, 40)[2]
    assert shown([row], names, 1, 26)[1].split() == names
    assert shown([row], names, 1, 20) == ["title", "run some run", "  closed   12.5 %", "  seconds  0.123456", ""]


def test_a_pipe_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == 120
    monkeypatch.setenv("COLUMNS", "80")
    assert console().width == 80

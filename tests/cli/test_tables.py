"""Tables fit into the screen, by rules, and never at the cost of a number."""

import re
from io import StringIO

import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from advverify.cli.table import Column, show

COLUMNS = [
    Column("image"),
    Column("label", spare=1),
    Column("verdict", word=True),
    Column("margin >="),
    Column("engine", word=True, spare=3),
    Column("what was asked", text=True),
    Column("seconds", spare=2),
]
ROWS = [
    ["12", "7", "adversarial", "-0.0123457", "support-split", "zoo:digits-mlp, norm inf, eps 0.03", "12.34"],
    ["3", "10", "robust", "1.23457e-05", "crown", "[bold]a.onnx[/], norm 2, distance", "0.01"],
]


def shown(width: int, columns: list[Column] = COLUMNS, rows: list[list[str]] = ROWS, title: str = "") -> list[str]:
    out = StringIO()
    show(Console(file=out, width=width), columns, rows, title)
    return out.getvalue().splitlines()


def test_what_is_given_up_as_a_screen_narrows() -> None:
    """The frame, then lines of texts and heads, then spare columns in their order."""
    stages: list[tuple[bool, bool, str]] = []
    for width in range(130, 44, -1):
        lines = shown(width)
        text = " ".join(lines)
        left = re.search(r"left out at \d+ characters: (.*)", " ".join(text.split()))
        stage = ("┃" in text, "norm inf, eps 0.03" in text, left[1] if left else "")
        if not stages or stages[-1] != stage:
            stages.append(stage)
        assert max(map(len, lines)) <= width, width
    assert [left for left in dict.fromkeys(left for _, _, left in stages) if left] == [
        "label",
        "label, seconds",
        "label, seconds, engine",
    ]
    assert stages[0] == (True, True, "") and stages[1] == (False, True, "") and (False, False, "") in stages


def test_columns_that_do_not_fit_follow_below_the_first_one() -> None:
    columns = [Column("network", text=True), *(Column(f"0.0{k}") for k in range(1, 9))]
    rows = [["zoo:digits-mlp", *(f"{k}0.0 % / {k}1.5 %" for k in range(1, 9))]]
    lines = shown(60, columns, rows)
    assert max(map(len, lines)) <= 60 and sum("network" in line for line in lines) >= 2
    assert all(any(cell in line for line in lines) for cell in rows[0][1:])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 140),
    st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False), st.integers()), max_size=3),
    st.permutations([0, 1, 2]),
)
def test_numbers_are_whole(width: int, numbers: list[tuple[float, float, int]], spare: list[int]) -> None:
    """At any width, on one line each."""
    columns = [Column(f"number {k}", spare=each) for k, each in enumerate(spare)]
    rows = [[f"{a:.6g}", f"{b:.6g}", str(c)] for a, b, c in numbers]
    words = [word for line in shown(width, columns, rows) for word in re.split(r"[ │]+", line)]
    kept = [k for k, each in enumerate(spare) if each == 0]
    assert all(row[k] in words for row in rows for k in kept)


def test_what_looks_like_markup_is_shown() -> None:
    lines = shown(200, title="[red]m.onnx")
    assert any("[bold]a.onnx[/]" in line for line in lines) and lines[0].startswith("[red]m.onnx")


@pytest.mark.parametrize(
    "arguments",
    [
        ("certify", "zoo:digits-mlp", "--eps", "0.1", "--images", "0:3"),
        ("distance", "zoo:digits-mlp", "--images", "0:2", "--gap", "0.01"),
        ("attack", "zoo:digits-mlp", "--images", "0:3", "--attack", "fgsm"),
        ("info", "zoo:digits-resnet-antisym"),
        ("solvers",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_pipe_is_as_wide_as_it_says(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        done = run(*arguments)
        assert done.returncode == 0 and max(map(len, done.stdout.splitlines())) <= width, done.stdout


def test_folded_lines_keep_their_indentation() -> None:
    columns = [Column("program", text=True), Column("nodes"), Column("seconds")]
    lines = shown(
        48, columns, [["class 2, confirmation\n  lp tree: nothing below the cut-off of this query", "27", "0.01"]]
    )
    at = next(k for k, line in enumerate(lines) if "lp tree" in line)
    indent = lines[at].index("lp tree")
    assert indent > lines[at - 1].index("class") and lines[at + 1][:indent].isspace()
    assert lines[at + 1][indent].strip() and "query" in lines[at + 1]

"""What the README and the programs in docs/ show is what happens; test_docs.py has what else the pages say."""

import re
import textwrap
from pathlib import Path

import pytest
from command_line import run

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
README = (ROOT / "README.md").read_text()


def test_the_first_program(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(program, "README.md", "exec"), {})
    found = re.fullmatch(r"adversarial: ([0-9.]+) <= d\* <= ([0-9.]+)\n", capsys.readouterr().out)
    assert found is not None and 0 < float(found[1]) <= float(found[2]) <= float(found[1]) + 1e-4


SHOWN = {
    "mip.md": r"\('falsify', 'milp'\) \('highs',\)\nhighs, class \d, partition-4.* binaries; ",
    "how-to/bracket.md": r"0\.460 <= d\* <= 0\.460, relative gap \de-05\n64 values; \S+ moved it last",
    "how-to/refused.md": r"\(1, 8, 8\) 10\n",
    "how-to/units.md": r"\['Input', 'Affine', 'Affine', 'Relu', 'Affine'\]",
    "reference/json-lines.md": r"index.json of --save.\nadversarial \d+ moves",
    "tutorials/five-minutes.md": r"0\.\d{4} <= d\* <= 0\.\d{4}, the last move by .*\n\d+ images: FGSM's inputs are 1\.\d\d times .*\n"
    r"digits.onnx index.html",
    "tutorials/proof.md": r"class 4: 203 lines",
    "python.md": r"<Outcomes of 10 images: .* robust.*\n10 images: .*certified accuracy .*\n"
    r"the module cannot be verified, for its layer GELU.*\n"
    r"<Outcome adversarial, 0\.\d+ <= distance .*\nadversarial: 0\.\d+ <= d\* <= 0\.\d+, gap .*\n\(1, 8, 8\) True\n"
    r"\(6,\) \(6, 1, 8, 8\)\n6 images: .*median distance .*\n"
    r"(?:[0-2] \w+\n){3}[4-6] True\n(?:(?:mine|shipped) median radius 0\.\d+ to 0\.\d+\n){2}\d images .*\n"
    r"<Study in norm inf: .*\nD 0\.\d+ to .*, p 0\.\d+ to .*\n1\.0 2 True\n16 queries, 0 left\n\['mine.onnx, norm inf, eps 0.01', 'mine.onnx, norm inf, eps 0.02'\]\n16 queries with .*\n",
}
PROGRAMS = {
    page.relative_to(ROOT / "docs").as_posix(): programs
    for page in PAGES
    if (programs := re.findall(r"```(?:python|\{code-cell\} python)\n(.*?)```", page.read_text(), flags=re.DOTALL))
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter that needs no further package
@pytest.mark.parametrize("page", PROGRAMS)
def test_programs_in_the_pages_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One after another, as a reader would run them; together they show what SHOWN says of their page."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for program in PROGRAMS[page]:
        exec(compile(program, page, "exec"), names)
    shown = capsys.readouterr().out
    assert re.search(SHOWN[page], shown), shown


def test_pages_have_the_programs_that_are_looked_at() -> None:
    assert sorted(PROGRAMS) == sorted(SHOWN)


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same words and numbers; seconds are of another day, and the last digit may be of another machine."""
    monkeypatch.delenv("COLUMNS", raising=False)
    ((line, shown),) = re.findall(r"^    \$ advverify (.*)\n((?:    .*\n)+)", README, flags=re.MULTILINE)
    done = run(*line.split())
    assert done.returncode == 0

    def cells(text: str) -> list[list[str]]:
        rows = [line.split("│")[1:-1] for line in text.splitlines() if "│" in line]
        return [[cell.strip() for cell in row] for row in rows]

    ours, promised = cells(done.stdout), cells(textwrap.dedent(shown))
    assert len(ours) == len(promised) == 4
    for mine, its in zip(ours, promised, strict=True):
        assert [mine[k] for k in (0, 1, 2, 6, 7)] == [its[k] for k in (0, 1, 2, 6, 7)]
        assert [float(mine[k]) for k in (3, 4)] == pytest.approx([float(its[k]) for k in (3, 4)], rel=2e-4)

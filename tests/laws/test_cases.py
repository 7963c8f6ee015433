"""Small inputs that once gave wrong answers, through the command line: what must be printed, and what must never be.

`cases/cases.csv` says of each why its answer is right.
"""

import csv
import re
import shlex
import shutil
from pathlib import Path

import pytest

from advverify.cli.main import cli
from advverify.verifier.errors import AdvverifyError

FOLDER = Path(__file__).parent / "cases"
CASES = list(csv.DictReader((FOLDER / "cases.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path_factory.mktemp("cases") / "copy"))


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_case(
    case: dict[str, str], work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "200")
    try:
        cli.main(shlex.split(case["args"]), standalone_mode=False)
    except AdvverifyError as refusal:  # one line
        print(f"advverify: {refusal}")
    printed = "".join(capsys.readouterr())
    assert re.search(case["expect"], printed, re.MULTILINE), (printed, case["why"])
    assert not case["never"] or not re.search(case["never"], printed, re.MULTILINE), (printed, case["why"])

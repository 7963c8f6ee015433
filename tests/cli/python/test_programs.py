"""`export_mip`, `solvers`, and options of programs that had no effect."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from mip_files import solve_by_highs

import advverify
from advverify.models.datasets import load_dataset

DIGITS = load_dataset("digits")


def test_export_mip_writes_what_the_command_does(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.lp", tmp_path / "theirs.lp"
    written = advverify.export_mip(
        "zoo:digits-mlp", DIGITS.images[0], 7, ours, norm="inf", eps=0.1, formulation="partition-2", tighten="lp"
    )
    done = run(
        "export-mip", "zoo:digits-mlp", str(theirs), "--eps", "0.1", "--formulation", "partition-2", "--tighten", "lp"
    )
    assert done.returncode == 0 and str(written).replace(str(ours), str(theirs)) == done.stdout.strip()
    programs = [path.read_text().partition("Minimize")[2] for path in (ours, theirs)]
    assert programs[0] == programs[1] and not written.notes and written.binaries > 0


def test_a_misclassified_image_is_named_and_its_distance_is_0(tmp_path: Path) -> None:
    path, image = tmp_path / "q.lp", DIGITS.images[0]
    written = advverify.export_mip("zoo:digits-mlp", image, 3, path, eps=0.1)
    assert "as 7 instead of 3: its distance is 0" in written.notes[0]
    assert abs(solve_by_highs(path)) < 1e-6
    wrong = next(k for k, y in enumerate(DIGITS.labels[:40]) if advverify.open_model("zoo:digits-mlp").predict(DIGITS.images[k]) != y)  # fmt: skip
    done = run("export-mip", "zoo:digits-mlp", str(path), "--images", str(wrong), "--eps", "0.1")
    assert done.returncode == 0 and "note: the image is misclassified" in done.stderr


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"eps": 0}, "needs a radius above 0"),
        ({"objective": "nearest"}, "unknown objective 'nearest'"),
        ({"objective": "feasibility", "cuts": "root"}, "leave cuts out"),
        ({"path": "q.txt"}, "must end in"),
        ({"threat": advverify.Threat("2", 0.1)}, "say it in one of the two"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0"),
        ({"x": DIGITS.images[:2], "y": DIGITS.labels[:2]}, "a program is of one image"),
        ({"path": "nowhere/q.lp"}, "cannot be written"),
    ],
)
def test_bad_arguments_are_named(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"x": DIGITS.images[0], "y": 7, "path": "q.lp", "eps": 0.1, **changed}
    asked["path"] = tmp_path / asked["path"]
    with pytest.raises(advverify.AdvverifyError, match=message):
        advverify.export_mip("zoo:digits-mlp", **asked)
    assert not list(tmp_path.iterdir())


def test_solvers_are_those_of_the_command() -> None:
    found = {solver.name: solver for solver in advverify.solvers()}
    listed = json.loads(run("solvers", "--json").stdout)["solvers"]
    assert [entry["name"] for entry in listed] == list(found)
    assert all(entry["works"] == found[entry["name"]].works for entry in listed)
    assert found["highs"].works and "milp" in found["highs"].features


def test_an_option_that_no_query_came_to_is_warned_of() -> None:
    asked: dict[str, Any] = {"norm": "inf", "engines": "mip", "timeout": 20}
    with pytest.warns(UserWarning, match=r"cuts='none' had no effect: .*; engines='milp' begins") as caught:
        outcome = advverify.distance("zoo:digits-mlp", DIGITS.images[0], 7, cuts="none", **asked)
    assert caught[0].filename == __file__ and not np.isnan(outcome.upper)
    settings = advverify.Settings(timeout=20, milp=advverify.MilpOptions(targets="joint"))
    with pytest.warns(UserWarning, match="targets='joint' had no effect"):
        advverify.certify(
            "zoo:digits-mlp", DIGITS.images[:2], DIGITS.labels[:2], eps=0.001, engines="mip", settings=settings
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        advverify.distance("zoo:digits-mlp", DIGITS.images[0], 7, engines="milp", cuts="none", timeout=20)

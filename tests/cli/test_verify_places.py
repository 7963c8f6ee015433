"""`verify` looks at the places it is to write to before it works, and leaves no assignment of another property there."""

from pathlib import Path

import pytest
from command_line import run
from onnx_networks import write_network

TEMPLATE = """
(declare-const X_0 Real) (declare-const X_1 Real) (declare-const X_2 Real)
(declare-const Y_0 Real) (declare-const Y_1 Real) (declare-const Y_2 Real)
(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (>= X_2 0) (<= X_2 1)))
(assert (>= Y_0 {}))
"""


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "sat.vnnlib").write_text(TEMPLATE.format(-1000))
    (tmp_path / "unsat.vnnlib").write_text(TEMPLATE.format(1000))
    return str(write_network(tmp_path / "model.onnx", "mlp", 0))


@pytest.mark.parametrize("option", ["--result", "--serialise-assignments"])
def test_places_that_cannot_be_written(option: str, model: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("verify", model, str(tmp_path / "sat.vnnlib"), option, str(tmp_path / "file" / "below"))
    assert done.returncode == 2 and option in done.stderr and "sat" not in done.stdout.split()


def test_no_assignment_of_another_property_is_left(model: str, tmp_path: Path) -> None:
    folder, kept = tmp_path / "folder", tmp_path / "folder" / "assignments.txt"
    for name, there in (("sat", True), ("unsat", False)):
        done = run("verify", model, str(tmp_path / f"{name}.vnnlib"), "--serialise-assignments", str(folder))
        assert done.stdout.split() == [name] and kept.exists() is there


@pytest.mark.parametrize(("version", "name", "fine"), [("2.0", "N", True), ("9.7", "N", False), ("2.0", "M", False)])
def test_versions_and_names_of_networks(version: str, name: str, fine: bool, model: str, tmp_path: Path) -> None:
    box = " ".join(f"(<= 0 X[0,{k}]) (<= X[0,{k}] 1)" for k in range(3))
    declared = "(declare-network N (declare-input X Real [1,3]) (declare-output Y Real [1,3]))"
    (tmp_path / "p.vnnlib").write_text(f"(vnnlib-version <{version}>) {declared} (assert (and {box} (>= Y[0,0] 1e3)))")
    done = run("verify", str(tmp_path / "p.vnnlib"), "--network", f"{name}={model}")
    assert (done.returncode == 0) is fine
    assert fine or "called N, not M" in done.stderr or "version '9.7' is not known" in done.stderr


def test_no_proof_of_another_property_is_left(model: str, tmp_path: Path) -> None:
    proof = tmp_path / "a.proof"
    for name, there in (("unsat", True), ("sat", False)):
        done = run("verify", model, str(tmp_path / f"{name}.vnnlib"), "--proof", str(proof))
        assert done.stdout.split() == [name] and proof.exists() is there


def test_a_place_that_is_lost_on_the_way_is_told_in_one_line(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    out = str(tmp_path / "out")
    for command in (
        ("verify", model, str(tmp_path / "unsat.vnnlib"), "--result", out),
        ("attack", "zoo:digits-mlp", "--attack", "fgsm", "--norm", "inf", "--images", "0:3", "--out", out),
    ):
        done = run(*command)
        assert done.returncode == 2 and f"{out}: cannot be written (No space left on device)" in done.stderr

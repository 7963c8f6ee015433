"""No command writes its results over a file that it reads, by whatever name that is given."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import write_property

import advverify
from advverify.cli.main import run
from advverify.models.zoo import path_of
from advverify.verifier.errors import InvalidInput

JOB = '[[queries]]\nmodels = ["zoo:digits-mlp"]\ndata = "digits"\nimages = "0:2"\nnorms = ["inf"]\neps = [0.02]\n'
PROPERTY = "(declare-const X_0 Real)\n(declare-const Y_0 Real)\n(assert (<= X_0 1))\n(assert (<= Y_0 0))\n"
LINES = [
    "certify m.onnx --eps 0.02 --images 0:2 -o {}",
    "distance m.onnx --images 0:2 -o {}",
    "attack m.onnx --images 0:2 -o {}",
    "geometry m.onnx --images 0:2 -o {}",
    "compare m.onnx zoo:digits-mlp --images 0:2 -o {}",
    "subspace m.onnx random:2 --images 0:2 -o {}",
    "verify m.onnx p.vnnlib --result {}",
    "verify m.onnx p.vnnlib --out {}",
    "verify m.onnx p.vnnlib --proof {}",
    "verify p.vnnlib --network N=m.onnx --result {}",
    "certify zoo:digits-mlp --data npz:d.npz --eps 0.02 -o {}",
    "export-mip m.onnx {} --eps 0.02",
    "gap s.sqlite -o {}",
    "report s.sqlite -o {}",
    "show s.sqlite 0 -o {}",
    "batch export s.sqlite -o {}",
    "batch export --store s.sqlite --format jsonl -o {}",
    "train r.toml -o {}",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("places")
    shutil.copy(path_of("digits-mlp"), place / "m.onnx")
    (place / "p.vnnlib").write_text(PROPERTY)
    (place / "r.toml").write_text("[data]\nname = 'digits'\n")
    (place / "j.toml").write_text(JOB)
    np.savez(place / "d.npz", images=np.zeros((2, 1, 8, 8)), labels=np.zeros(2, int))
    advverify.batch.run(place / "j.toml", place / "s.sqlite", jobs=1)
    os.symlink(place, place / "same")
    return place


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("by", ["{}", "./{}", "same/{}"])
def test_inputs_are_never_overwritten(
    line: str, by: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    read = next(word for word in re.split("[ :=]", line) if word in ("m.onnx", "s.sqlite", "r.toml", "d.npz"))
    before = (folder / read).read_bytes()
    assert run(line.format(by.format(read)).split()) == 2
    assert "is what is read here" in capsys.readouterr().err and (folder / read).read_bytes() == before


def test_neither_by_python(folder: Path) -> None:
    store = folder / "s.sqlite"
    for call in (
        lambda: advverify.batch.export(store, folder / "same" / "s.sqlite"),
        lambda: advverify.report(store, store),
        lambda: advverify.gap([store], out=store),
    ):
        with pytest.raises(InvalidInput, match="is what is read here"):
            call()


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "images": lambda folder: (folder / "d.npz").read_bytes(),
    "network": lambda folder: (folder / "m.onnx").read_bytes(),
    "store": lambda folder: (folder / "s.sqlite").read_bytes(),
    "weights": lambda _: np.random.default_rng(0).normal(size=64).astype(np.float32).tobytes(),
}


@pytest.mark.parametrize("what", FOREIGN)
@pytest.mark.parametrize(
    "line",
    [
        "attack m.onnx --attack fgsm --images 0:2 --data npz:d.npz#images -o x",
        "verify m.onnx p.vnnlib --result x",
        "verify m.onnx p.vnnlib --proof x",
        "report s.sqlite -o x.html",
        "gap s.sqlite -o x.html",
        "compare m.onnx zoo:digits-conv --images 0:2 -o x.html",
    ],
)
def test_files_of_other_kinds_are_never_overwritten(
    line: str, what: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network's weights, images within a file, what a network's card names: whatever it is that is read under another name."""
    monkeypatch.chdir(folder)
    place = folder / line.split()[-1]
    content = FOREIGN[what](folder)
    place.write_bytes(content)
    try:
        assert run(line.split()) == 2
        assert "holds something other than what is written there" in capsys.readouterr().err
        assert place.read_bytes() == content
    finally:
        place.unlink()


def test_what_was_written_before_is_written_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write_property(folder / "q.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    lines = [
        "attack m.onnx --attack fgsm --images 0:2 -o a.jsonl",
        "report s.sqlite -o r.html",
        "verify m.onnx q.vnnlib --result r.txt --proof q.proof",
    ]
    for line in lines:
        assert run(line.split()) == run(line.split()) == 0
    assert (folder / "q.proof").stat().st_size and (folder / "r.txt").read_text() == "unsat\n"

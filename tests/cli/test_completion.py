"""What shells complete, asked of a real Bash and of the protocol that zsh and fish speak."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from advverify.models import zoo

Completed = Callable[..., list[str]]
_BREAKS = " \t\n\"'><=;|&(:"


def _environment(tmp_path: Path) -> dict[str, str]:
    command = tmp_path / "advverify"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m advverify.cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture
def completed(tmp_path: Path) -> Completed:
    """What Bash replaces the last of its words by, for a line."""
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    environment = _environment(tmp_path)
    script = subprocess.run(
        ["advverify"],
        env=environment | {"_ADVVERIFY_COMPLETE": "bash_source"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    def ask(line: str, breaks: str = _BREAKS) -> list[str]:
        asked = f'{script}\nCOMP_LINE="$1" COMP_POINT=${{#1}} COMP_WORDBREAKS="$2"\n_advverify_completion advverify\n'
        (tmp_path / "model.onnx").touch()
        out = subprocess.run(
            [bash, "--norc", "-c", asked + 'printf "%s\\n" "${COMPREPLY[@]}"', "bash", line, breaks],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return out.stdout.split()

    return ask


def test_bash(completed: Completed) -> None:
    """Commands, options, networks, forms of options; after a colon only what Bash takes for a word."""
    assert completed("advverify ce") == ["certify"]
    assert completed("advverify certify zoo:digits-mlp --targ") == ["--target", "--targets"]
    assert completed("advverify certify ")[: len(zoo.names())] == [f"zoo:{name}" for name in zoo.names()]
    assert completed("advverify certify zoo:digits-m") == ["digits-mlp"]
    assert completed("advverify certify zoo:digits-m", breaks=" \t\n") == ["zoo:digits-mlp"]
    assert completed("advverify compare zoo:digits-mlp zoo:digits-de") == ["digits-deep"]
    assert completed("advverify certify zoo:digits-mlp --norm i") == ["inf"]
    assert completed("advverify certify model.onnx --data m") == ["mnist:"]
    assert completed("advverify certify model.onnx --engines crown,lp") == ["crown,lp-split"]
    assert completed("advverify attack model.onnx --attack deep") == ["deepfool-2", "deepfool-inf"]
    assert completed("advverify certify mod") == ["model.onnx"]
    assert "model.onnx" in completed("advverify verify ") and "zoo:digits-mlp" in completed("advverify verify ")
    assert completed("advverify certify model.onnx --data npz:mod") == ["model.onnx"]
    assert completed("advverify certfy model.o") == []  # and nothing on the terminal
    assert completed("advverify batch r") == ["resume", "run"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells(tmp_path: Path, shell: str) -> None:
    """zsh and fish pass words as the command sees them, and get whole ones."""
    words = {"COMP_WORDS": "advverify distance zoo:digits-d", "COMP_CWORD": "zoo:digits-d" if shell == "fish" else "2"}
    out = subprocess.run(
        ["advverify"],
        env=_environment(tmp_path) | words | {"_ADVVERIFY_COMPLETE": f"{shell}_complete"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "zoo:digits-deep" in out.stdout and not out.stderr


def test_nothing_heavy_is_imported() -> None:
    """Words come while one types: neither torch nor onnx is imported for them."""
    code = (
        "import os, sys\n"
        "os.environ.update(_ADVVERIFY_COMPLETE='bash_complete', COMP_LINE='advverify certify zoo:a --norm inf --data d', COMP_POINT='43')\n"
        "from advverify.cli.main import cli\n"
        "try:\n    cli.main(args=[], prog_name='advverify')\n"
        "finally:\n    print([name for name in ('torch', 'onnx', 'scipy', 'highspy') if name in sys.modules], file=sys.stderr)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "plain,digits" in out.stdout and out.stderr.strip() == "[]"

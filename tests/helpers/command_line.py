"""The command line inside the test process: importing torch anew for every command would take most of the tests' time."""

import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import torch

from advverify.cli.main import run as command


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What a process of `advverify` with these arguments would have returned and printed."""
    out, err, threads = StringIO(), StringIO(), torch.get_num_threads()
    try:
        with redirect_stdout(out), redirect_stderr(err):
            code = command(arguments)
    finally:
        torch.set_num_threads(threads)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


PROPERTY = "".join(f"(declare-const X_{i} Real)" for i in range(64)) + "".join(
    f"(declare-const Y_{i} Real)" for i in range(10)
)


def write_property(path: Path, low: float, high: float, output: str) -> Path:
    box = "".join(f"(assert (>= X_{i} {low}))(assert (<= X_{i} {high}))" for i in range(64))
    path.write_text(PROPERTY + box + output)
    return path

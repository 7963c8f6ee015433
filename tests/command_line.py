"""The command line inside the test process: importing torch anew for every command would take most of the tests' time."""

import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

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

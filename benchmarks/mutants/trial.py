"""One trial: a copy of this process that imports one module with a fault in it, and runs tests until one fails.

Nothing is written to the tree: the fault is in the text that is compiled. Copies begin with torch, scipy, onnx and pytest
already imported, none with anything of the verifier, so a trial costs what its tests cost. Processes that tests start with
another interpreter see the tree without the fault; forked ones have it.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from .faults import ROOT, Fault

_BEFORE = (
    "numpy scipy.sparse scipy.optimize torch onnx onnx.reference onnxruntime highspy cvxpy hypothesis pytest".split()
)
_UNIMPORTED = "advverify.verifier."  # of which the parent must not hold any module


@dataclass(frozen=True)
class Trial:
    """How a run of tests ended: "noticed" (by `test`), "survived", "time-out" or "broken" (nothing could be collected)."""

    outcome: str
    test: str
    seconds: float
    times: dict[str, float]


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    """Finds one module, with a fault in it."""

    def __init__(self, fault: Fault) -> None:
        self.name, self.path, self.text = fault.module, str(ROOT / fault.file), fault.source()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self.path, loader=_Loader(fullname, self.path, self.text)
        )


class _Recorder:
    """A pytest plugin: the first test that fails, and seconds by file."""

    def __init__(self) -> None:
        self.failed = self.broken = ""
        self.times: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: object) -> None:
        file = report.nodeid.split("::")[0].removeprefix("tests/")  # type: ignore[attr-defined]
        self.times[file] = self.times.get(file, 0.0) + report.duration  # type: ignore[attr-defined]
        if report.failed and not self.failed:  # type: ignore[attr-defined]
            self.failed = report.nodeid.removeprefix("tests/")  # type: ignore[attr-defined]

    def pytest_collectreport(self, report: object) -> None:
        if report.failed:  # type: ignore[attr-defined]
            self.broken = report.nodeid  # type: ignore[attr-defined]


def prepare() -> None:
    """Import what trials share."""
    for name in _BEFORE:
        importlib.import_module(name)


def begin(fault: Fault | None, tests: Sequence[str], folder: Path) -> int:
    """Start a trial in a copy of this process, which leaves its results in a folder; returns its process id."""
    folder.mkdir(parents=True)
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        os.setsid()
        output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        code = _run(fault, tests, folder)
    except BaseException:  # the copy must not go on as if it were the parent
        traceback.print_exc()
        (folder / "result.json").write_text(json.dumps({"outcome": "broken", "test": "", "times": {}}))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(fault: Fault | None, tests: Sequence[str], folder: Path) -> int:
    import pytest
    import torch

    held = sorted(name for name in sys.modules if name.startswith(_UNIMPORTED))
    if held:
        raise RuntimeError(f"{held[0]} was imported before the fault was in")
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")  # examples of one fault help no other
    sys.dont_write_bytecode = True
    torch.manual_seed(0)
    torch.set_num_threads(1)
    os.chdir(ROOT)
    if fault is not None:
        sys.meta_path.insert(0, _Finder(fault))
    recorder = _Recorder()
    options = ["-q", "-x", "-m", "soundness", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
    options += [f"--basetemp={folder / 'pytest'}", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = int(pytest.main([*options, *(f"tests/{test}" for test in tests)], plugins=[recorder]))
    outcome = "noticed" if recorder.failed else "survived" if code in (0, 5) and not recorder.broken else "broken"
    result = {"outcome": outcome, "test": recorder.failed or recorder.broken, "times": recorder.times}
    (folder / "result.json").write_text(json.dumps(result))
    return 0


def end(folder: Path, seconds: float, late: bool) -> Trial:
    """What a trial that has ended left behind; one without a result was killed, by its time limit or by itself."""
    path = folder / "result.json"
    if late or not path.is_file():
        return Trial("time-out" if late else "noticed", "" if late else "the test process died", seconds, {})
    result = json.loads(path.read_text())
    return Trial(result["outcome"], result["test"], seconds, result["times"])


def stop(process: int) -> None:
    """End a trial and all that it started."""
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for the trials of one run."""
    with tempfile.TemporaryDirectory(prefix="mutants-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def ended(process: int) -> bool:
    """Whether a trial has ended."""
    return os.waitpid(process, os.WNOHANG)[0] == process


def wait() -> None:
    """A moment."""
    time.sleep(0.05)

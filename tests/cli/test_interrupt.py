"""SIGINT, SIGTERM and SIGHUP end a command alike: what is done is kept and said, and nothing is left running."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from advverify.verifier.errors import InvalidInput
from advverify.verifier.store import Store

SCRIPT = """
import time
from advverify.cli.interrupt import interrupt_alike
interrupt_alike()
try:
    print("ready", flush=True)
    time.sleep(10)
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
"""
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(command: list[str], ignored: signal.Signals | None = None) -> subprocess.Popen[str]:
    def ignore() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if ignored is not None:
            signal.signal(ignored, signal.SIG_IGN)

    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, preexec_fn=ignore, **pipes)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("number", SIGNALS)
def test_they_are_alike(number: signal.Signals) -> None:
    process = start([sys.executable, "-c", SCRIPT])
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.communicate(timeout=30)[0] == "interrupted\n"


def test_what_nohup_ignores_stays_ignored() -> None:
    process = start([sys.executable, "-c", SCRIPT.replace("sleep(10)", "sleep(0.5)")], signal.SIGHUP)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGHUP)
    assert process.communicate(timeout=30)[0] == "not interrupted\n"


JOB = """
timeout = 60
[[queries]]
models = ["zoo:digits-mlp"]
data = "digits"
images = "0:4"
norms = ["2"]
distance = true
gap = 1e-9
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_a_batch_keeps_what_was_proved(tmp_path: Path) -> None:
    """It is interrupted as soon as a bracket has moved."""
    (tmp_path / "job.toml").write_text(JOB)
    store, moved = tmp_path / "s.sqlite", 0
    command = [sys.executable, "-m", "advverify", "batch", "run", str(tmp_path / "job.toml"), "--store", str(store)]
    process = start([*command, "--jobs", "2"])
    until = time.monotonic() + 120
    while not moved and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
        if store.is_file() and store.stat().st_size:
            with suppress(InvalidInput), Store(store) as reader:  # there, and nothing in it yet
                moved = sum(len(reader.progress(row["key"])) for row in reader.rows())
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "answers of this run are kept" in said and "Traceback" not in said
    assert moved and workers and not any(os.path.exists(f"/proc/{worker}") for worker in workers)
    with Store(store) as reader:
        assert sum(len(reader.progress(row["key"])) for row in reader.rows() if row["verdict"] is None) >= 1
        assert not list(reader.accidents())


def test_a_line_says_what_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`compare` and `attack`: the folder of brackets, and the attacks that were done."""
    from advverify.cli import attacking, comparing, main

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(comparing, "run", stopped)
    two = ("zoo:digits-mlp", "zoo:digits-conv")
    assert main.run(["compare", *two, "-o", str(tmp_path / "c")]) == 130
    assert f"interrupted; {tmp_path / 'c'} keeps the brackets" in capsys.readouterr().err
    assert main.run(["compare", *two]) == 130
    assert "nothing is kept: with a folder as --out" in capsys.readouterr().err

    real, calls = attacking.try_attack, list[Any]()

    def once(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr("advverify.cli.commands.attack.try_attack", once)
    out = tmp_path / "a.jsonl"
    assert (
        main.run(["attack", two[0], "--attack", "fgsm,pgd", "--norm", "inf", "--images", "0:3", "-o", str(out)]) == 130
    )
    assert (
        "shown and written are the 1 of 2 attacks" in capsys.readouterr().err and len(out.read_text().splitlines()) == 1
    )

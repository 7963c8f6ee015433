"""A resident server: commands that it runs are their caller's in all that can be seen, and it leaves alone what is not its own."""

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import run

from advverify.cli.resident.call import Call, address
from advverify.cli.resident.client import HEAD

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork()")
ADVVERIFY = [sys.executable, "-m", "advverify"]
# runs the command of its arguments in a process that is told apart from the server's by what it has not imported
CLIENT = [
    sys.executable,
    "-c",
    "import sys; from advverify.cli.main import by_server; status = by_server(sys.argv[1:]); "
    "sys.exit('nobody' if status is None else status)",
]


def environment(path: Path, **more: str) -> dict[str, str]:
    return {**os.environ, "ADVVERIFY_SERVER": str(path), **more}


@contextmanager
def serving(path: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [*ADVVERIFY, "serve", *options]
    with subprocess.Popen(command, env=environment(path), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert f"listening at {path}" in process.stderr.readline()
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            assert process.wait(30) == 0
            assert not path.exists()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("run") / "advverify.sock"
    with serving(path):
        yield path


def ask(path: Path, *arguments: str, folder: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLIENT, *arguments], env=environment(path, **more), cwd=folder, capture_output=True, text=True, timeout=120
    )


def children(process: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def test_a_command_answers_as_without_a_server(server: Path) -> None:
    for arguments in (
        ("certify", "zoo:digits-mlp", "--eps", "0.02", "--images", "0:3", "--json"),
        ("info", "zoo:digits-conv"),
        ("certify", "zoo:digits-mlp"),  # without eps: one line, status 2
        ("certfy",),
    ):
        mine, served = run(*arguments), ask(server, *arguments)
        assert served.returncode == mine.returncode, served.stderr
        assert served.stderr == mine.stderr
        assert bool(mine.stdout) == bool(served.stdout)
        if "--json" not in arguments:  # JSON has seconds in it
            assert served.stdout == mine.stdout


def test_files_folder_and_environment_are_the_callers(server: Path, tmp_path: Path) -> None:
    arguments = ("distance", "zoo:digits-mlp", "--images", "0", "--out", "found.jsonl", "--quiet")
    wide = ask(server, *arguments, folder=tmp_path)
    assert wide.returncode == 0, wide.stderr
    assert (tmp_path / "found.jsonl").read_text().count("\n") == 1
    narrow, broad = (
        ask(server, "distance", "zoo:digits-mlp", "--images", "0", COLUMNS=columns).stdout for columns in ("40", "120")
    )
    assert max(map(len, narrow.splitlines())) <= 40 < max(map(len, broad.splitlines()))


def test_limits_of_the_caller_hold(server: Path, tmp_path: Path) -> None:
    """A file may have no more bytes than the caller may write."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    arguments = ["distance", "zoo:digits-mlp", "--images", "0", "--out", str(tmp_path / "found.jsonl")]
    found = subprocess.run(
        [*CLIENT, *arguments], env=environment(server), preexec_fn=limit, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 2 and found.stderr.count("\n") == 1 and "cannot be written" in found.stderr, found.stderr
    assert (tmp_path / "found.jsonl").stat().st_size <= 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_signals_reach_the_command(number: signal.Signals, tmp_path: Path) -> None:
    """And it alone: what is proved is said, and the server goes on."""
    path = tmp_path / "s"
    arguments = ["distance", "zoo:digits-deep", "--images", "0", "--timeout", "60", "--gap", "1e-9", "--norm", "2"]
    with serving(path) as server:
        with subprocess.Popen(
            [*CLIENT, *arguments],
            env=environment(path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        ) as client:
            until = time.monotonic() + 60
            while not children(server.pid) and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(5)
            client.send_signal(number)
            out, err = client.communicate(timeout=30)
        assert client.returncode == 130, (out, err)
        assert server.poll() is None and not children(server.pid)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_a_command_whose_caller_is_gone_ends(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(path) as server:
        arguments = ["distance", "zoo:digits-deep", "--images", "0", "--timeout", "120", "--gap", "1e-9", "--norm", "2"]
        client = subprocess.Popen([*CLIENT, *arguments], env=environment(path), stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while not children(server.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert children(server.pid)
        client.kill()
        client.wait()
        while children(server.pid) and time.monotonic() < until:
            time.sleep(0.05)
        assert not children(server.pid)
        # a thread beside this one would be lost in each fork, and with it whatever locks it holds
        assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1
        assert ask(path, "info", "zoo:digits-mlp").returncode == 0


def test_other_settings_at_the_start_are_not_served(server: Path) -> None:
    found = ask(server, "info", "zoo:digits-mlp", OMP_NUM_THREADS="7")
    assert found.returncode == 1 and "nobody" in found.stderr and "other code or settings" in found.stderr


def test_no_server_is_no_matter(tmp_path: Path) -> None:
    for name, lies in (("none", None), ("file", "file"), ("left", "socket")):
        path = tmp_path / name
        if lies == "file":
            path.write_text("")
        if lies == "socket":  # as a killed server leaves it
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(path))
        found = ask(path, "info", "zoo:digits-mlp")
        assert found.stderr == "nobody\n", name
    assert ask(Path("off"), "info", "zoo:digits-mlp").stderr == "nobody\n"


def test_a_server_takes_no_place_that_is_taken(server: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for path, words in (
        (server, "a server listens at"),
        (tmp_path / "file", "is no socket"),
        (shared / "s", "others can write into"),
    ):
        found = run("serve", "--socket", str(path))
        assert found.returncode == 2 and words in found.stderr, found.stderr
        assert found.stderr.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert ask(server, "info", "zoo:digits-mlp").returncode == 0
    found = run("serve")
    assert found.returncode == 2 and "ADVVERIFY_SERVER=off" in found.stderr


@pytest.mark.parametrize("closed", [(1,), (2,), (0,), (0, 1, 2)])
def test_a_caller_without_streams_is_not_served(server: Path, closed: tuple[int, ...]) -> None:
    """Its connection would get the number of one, and what the command prints would come back as signals."""

    def close() -> None:
        for number in closed:
            os.close(number)

    found = subprocess.run(
        [*ADVVERIFY, "info", "zoo:digits-mlp"], env=environment(server), preexec_fn=close, timeout=120, check=False
    )
    assert found.returncode == 0
    assert ask(server, "info", "zoo:digits-mlp").returncode == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_bytes_that_are_no_signals_and_the_end_of_a_server(tmp_path: Path) -> None:
    """A server that is killed takes its commands along: their callers have been told to run them again."""
    path = tmp_path / "s"
    arguments = ["distance", "zoo:digits-deep", "--images", "0", "--timeout", "120", "--gap", "1e-9", "--norm", "2"]
    command = [*ADVVERIFY, "serve"]
    with subprocess.Popen(command, env=environment(path), stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None and "listening" in server.stderr.readline()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            call = Call.here(arguments)
            data = replace(call, stamp=stamp_of_a_server(path)).to_bytes()
            socket.send_fds(connection, [HEAD.pack(len(data))], [0, 1, 2])
            connection.sendall(data)
            until = time.monotonic() + 60
            while not children(server.pid) and time.monotonic() < until:
                time.sleep(0.05)
            (process,) = children(server.pid)
            connection.sendall(bytes([9, 65, 200, 0]))
            time.sleep(1)
            assert server.poll() is None and children(server.pid) == [process]
            server.kill()
            server.wait()
            while Path(f"/proc/{process}").exists() and time.monotonic() < until:
                time.sleep(0.05)
            assert not Path(f"/proc/{process}").exists()


def stamp_of_a_server(path: Path) -> str:
    """The stamp of a process that is started as a server of these tests is."""
    code = "from advverify.cli.resident.call import code_stamp; print(code_stamp())"
    found = subprocess.run(
        [sys.executable, "-c", "import advverify.cli.main;" + code],
        env=environment(path),
        capture_output=True,
        text=True,
    )
    return found.stdout.strip()


def test_nonsense_costs_a_server_nothing(server: Path) -> None:
    for data in (b"", b"xx", HEAD.pack(3) + b"abc", HEAD.pack(1 << 31), HEAD.pack(2) + b"{}"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(server))
            socket.send_fds(connection, [data or b"\0"], [0, 1, 2][: len(data) + 1])
    assert ask(server, "info", "zoo:digits-mlp").returncode == 0


def test_a_server_without_work_ends(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with serving(path, "--idle", "0.2") as server:
        assert server.wait(30) == 0


def test_a_call_survives_its_journey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRANGE", "\udcff é")
    call = Call.here(["certify", "\udce4.onnx"])
    there = Call.from_bytes(call.to_bytes())
    assert there.arguments == call.arguments and there.environment == call.environment
    assert {name: tuple(pair) for name, pair in there.limits.items()} == call.limits


def test_where_a_server_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVVERIFY_SERVER", "off")
    assert address() is None
    monkeypatch.delenv("ADVVERIFY_SERVER")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    assert address() == Path("/run/user/7/advverify.sock")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    found = address()
    assert found is not None and found.parent.name == f"advverify-{os.getuid()}"

"""What a command is, apart from its code: all that a process hands on to the one that runs the command for it."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

# Read once, while a process starts: a server started under other values would run the command under those.
_AT_START = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "TORCH_", "LD_", "PYTHON", "MALLOC_", "ADVVERIFY_")
ADDRESS = "ADVVERIFY_SERVER"
_FOLDERS = ("cli", "models", "verifier")
FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")


def limits() -> dict[str, tuple[int, int]]:
    """The resource limits of this process by name."""
    import resource

    return {
        name: resource.getrlimit(getattr(resource, name))
        for name in sorted(vars(resource))
        if name.startswith("RLIMIT_")
    }


def code_stamp() -> str:
    """A text that differs where the code, the interpreter or what both read at their start does."""
    import advverify

    root = Path(advverify.__file__).parent
    newest = max((entry.stat().st_mtime_ns for folder in _FOLDERS for entry in _python_files(root / folder)), default=0)
    read = {name: value for name, value in os.environ.items() if name.startswith(_AT_START) and name != ADDRESS}
    return json.dumps([advverify.__version__, str(root), newest, sys.executable, sys.version, sorted(read.items())])


def _python_files(folder: Path) -> list[os.DirEntry[str]]:
    found: list[os.DirEntry[str]] = []
    pending = [str(folder)]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    found.append(entry)
                elif entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                    pending.append(entry.path)
    return found


@dataclass(frozen=True)
class Call:
    """One command as its caller would have run it.

    Attributes:
        stamp: `code_stamp` of the caller.
        arguments: of the command, its name first.
        directory: that relative paths start from.
        environment: of the caller.
        mask: for the modes of new files.
        limits: as `limits` says.
        cores: that the command may use; none where the system knows no such thing.
        niceness: of the caller.
        ignored: numbers of forwarded signals that the caller ignores (`nohup`).
    """

    stamp: str
    arguments: list[str]
    directory: str
    environment: dict[str, str]
    mask: int
    limits: dict[str, tuple[int, int]]
    cores: list[int]
    niceness: int
    ignored: list[int]

    @classmethod
    def here(cls, arguments: list[str]) -> Self:
        """A command of this process."""
        mask = os.umask(0)
        os.umask(mask)
        numbers = [getattr(signal, name) for name in FORWARDED]
        return cls(
            stamp=code_stamp(),
            arguments=arguments,
            directory=os.getcwd(),
            environment=dict(os.environ),
            mask=mask,
            limits=limits(),
            cores=sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
            niceness=os.nice(0),
            ignored=[number for number in numbers if signal.getsignal(number) is signal.SIG_IGN],
        )

    def to_bytes(self) -> bytes:
        """The call as JSON; names of files that are no text survive."""
        return json.dumps(asdict(self)).encode("utf-8", "surrogatepass")

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """A call as `to_bytes` wrote it; ValueError or TypeError for anything else."""
        fields: Any = json.loads(data.decode("utf-8", "surrogatepass"))
        return cls(**fields)

    def assume(self) -> None:
        """Make this process one that its caller could have started."""
        import resource

        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        os.umask(self.mask)
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        if self.niceness > os.nice(0):
            os.nice(self.niceness - os.nice(0))
        for name, (soft, hard) in self.limits.items():
            kind = getattr(resource, name)
            ours = resource.getrlimit(kind)[1]
            resource.setrlimit(kind, (_lower(soft, ours), _lower(hard, ours)))
        for name in FORWARDED:
            number = getattr(signal, name)
            usual = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
            signal.signal(number, signal.SIG_IGN if number in self.ignored else usual)


def _lower(one: int, other: int) -> int:
    """The lower of two limits, of which -1 is none."""
    return max(one, other) if -1 in (one, other) else min(one, other)


def address() -> Path | None:
    """Where the server of this user listens: ADVVERIFY_SERVER, or a socket in the user's runtime folder; None for "off"."""
    told = os.environ.get(ADDRESS, "")
    if told.lower() == "off":
        return None
    if told:
        return Path(told)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    folder = Path(runtime) if runtime else Path("/tmp") / f"advverify-{os.getuid()}"
    return folder / "advverify.sock"

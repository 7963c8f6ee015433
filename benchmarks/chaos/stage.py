"""The stage of the chaos benchmark: a job with files of its own, a store on a small disk, and drivers that come to no good end."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from advverify.models.zoo import path_of
from advverify.verifier.store import Store

from .cluster import Cluster

_NETWORKS = ("digits-mlp", "digits-resnet-cpl")
_RADII = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08)
_DISK = "64m"
# Counts every answer that is ever written, the same query's second one too.
_COUNTING = (
    "CREATE TABLE IF NOT EXISTS answers_given (key TEXT NOT NULL); "
    "CREATE TRIGGER IF NOT EXISTS count_answers AFTER UPDATE OF outcome ON queries WHEN NEW.outcome IS NOT NULL "
    "BEGIN INSERT INTO answers_given VALUES (NEW.key); END;"
)


@dataclass
class Stage:
    """What mischief is done to.

    Attributes:
        folder: of everything.
        rng: of the mischief.
        small: whether the store lies on a file system of its own, which can be filled.
    """

    folder: Path
    rng: random.Random
    small: bool
    cluster: Cluster | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def files(self) -> Path:
        """The job's folder, which workers of the cluster do not see."""
        return self.folder / "driver"

    @property
    def store(self) -> Path:
        """The store under mischief."""
        return self.folder / "small" / "s.sqlite"

    @property
    def network(self) -> Path:
        """One of the job's networks."""
        return self.files / f"{_NETWORKS[0]}.onnx"

    def prepare(self, queries: int) -> None:
        """Lay out files, job and disk."""
        for place in (self.files, self.store.parent):
            place.mkdir(parents=True)
        if self.small:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK}", "none", str(self.store.parent)]
            subprocess.run(mount, check=True)
        for name in _NETWORKS:
            shutil.copy(path_of(name), self.files / f"{name}.onnx")
        distances = max(2, queries // 5 // len(_NETWORKS))
        images = max(1, (queries - len(_NETWORKS) * distances) // (len(_NETWORKS) * len(_RADII)))
        models = [f"{name}.onnx" for name in _NETWORKS]
        (self.files / "job.toml").write_text(
            f"timeout = 60\n[[queries]]\nmodels = {models}\ndata = 'digits'\nimages = '0:{min(images, 360)}'\n"
            f"eps = {list(_RADII)}\n[[queries]]\nmodels = {models}\ndata = 'digits'\nimages = '0:{min(distances, 360)}'\n"
            "distance = true\ngap = 0.01\n"
        )

    def start(self, store: Path, *options: str, environment: dict[str, str] | None = None) -> Driver:
        """A driver at work on the job."""
        words = self.folder / "words.txt"
        command = [
            sys.executable,
            "-m",
            "advverify",
            "batch",
            "run",
            str(self.files / "job.toml"),
            "--store",
            str(store),
        ]
        with words.open("wb") as stream:
            process = subprocess.Popen(
                [*command, *options], stdout=stream, stderr=stream, env=os.environ | (environment or {})
            )
        return Driver(process, words)

    def count_answers(self) -> None:
        """Have every answer counted from now on; needs a store, and no driver that writes to it just then."""
        with closing(sqlite3.connect(self.store)) as connection:
            connection.executescript(_COUNTING)

    def answered(self) -> int:
        """Queries of the store that have an answer by now."""
        if not self.store.is_file() or not self.store.stat().st_size:
            return 0
        with closing(sqlite3.connect(f"{self.store.as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'queries'").fetchone()[0]:
                return 0
            return int(connection.execute("SELECT count(verdict) FROM queries").fetchone()[0])

    def given(self) -> dict[str, int]:
        """How often each query was answered."""
        with closing(sqlite3.connect(self.store)) as connection:
            return dict(connection.execute("SELECT key, count(*) FROM answers_given GROUP BY key"))

    def accidents(self) -> int:
        """Queries that ended in an accident and have no answer."""
        if not self.answered():
            return 0
        with Store(self.store) as store:
            return sum(1 for _ in store.accidents())


@dataclass
class Driver:
    """A process of `advverify batch run`."""

    process: subprocess.Popen[bytes]
    words: Path

    def runs(self) -> bool:
        """Whether it still does."""
        return self.process.poll() is None

    def workers(self) -> list[int]:
        """The processes that it has started."""
        found: list[int] = []
        for thread in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            try:
                found += map(int, thread.read_text().split())
            except (FileNotFoundError, ProcessLookupError):  # the thread has just ended
                continue
        return found

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> str:
        """Kill it if it runs; what it said."""
        if self.runs():
            self.process.kill()
        self.process.wait()
        return self.words.read_text(errors="replace")

"""A Dask cluster of processes that can be killed, whose workers do not see the files of the driver."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Self


@cache
def hides() -> tuple[str, ...] | None:
    """How a process is started that has mounts of its own; None where this machine does not allow it."""
    for command in (("unshare", "-m"), ("unshare", "-r", "-m")):
        if shutil.which("unshare") and not subprocess.run([*command, "true"], capture_output=True).returncode:
            return command
    return None


class Cluster:
    """A scheduler and workers; a context manager."""

    def __init__(self, scratch: Path, hidden: Path, workers: int) -> None:
        """Start it.

        Args:
            scratch: a folder for what the processes write.
            hidden: a folder that workers see empty, where the machine allows it.
            workers: of one thread each.
        """
        self.scratch, self.hidden, self.wanted = scratch, hidden, workers
        scratch.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.workers: list[subprocess.Popen[bytes]] = []
        self._log = (scratch / "cluster.log").open("ab")
        self.mend()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End all processes."""
        for process in (*self.workers, *([self.scheduler] if self.scheduler else [])):
            process.kill()
            process.wait()
        self._log.close()

    def mend(self) -> None:
        """Start what is dead; without a scheduler no worker lives on."""
        if self.scheduler is None or self.scheduler.poll() is not None:
            for worker in self.workers:
                worker.kill()
            self.scheduler = self._python("dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
            self._listening()
        for worker in [each for each in self.workers if each.poll() is not None]:
            worker.wait()
            self.workers.remove(worker)
        while len(self.workers) < self.wanted:
            self.workers.append(self._worker())

    def _worker(self) -> subprocess.Popen[bytes]:
        options = ["--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--death-timeout", "60"]
        unshare = hides()
        first: list[str] = []
        if unshare is not None:
            first = [*unshare, "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"', str(self.hidden)]
        place = ["--local-directory", str(self.scratch)]
        return self._python("dask_worker", self.address, *options, *place, first=first)

    def _python(self, module: str, *arguments: str, first: list[str] | None = None) -> subprocess.Popen[bytes]:
        command = [*(first or []), sys.executable, "-m", f"distributed.cli.{module}", "--no-dashboard", *arguments]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=self.scratch, env=environment, stdout=self._log, stderr=self._log)

    def _listening(self) -> None:
        """Wait for the scheduler's port.

        Raises:
            TimeoutError: it does not listen within a minute.
        """
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.1)
        raise TimeoutError(f"the scheduler does not listen at {self.address}; see {self._log.name}")

"""Mischief for batches: each kind strikes from time to time while a driver works, and mends what it broke when its turn is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .cluster import Cluster
from .stage import Driver, Stage

Strike = Callable[[Stage, Driver], None]


def _nothing(stage: Stage) -> None:
    """What is not broken is not mended."""


@dataclass(frozen=True)
class Mischief:
    """One kind.

    Attributes:
        name: as the table has it.
        strike: one deed; None where the options are bad enough.
        begin, end: before the first driver, and after the last.
        options: of the drivers.
        environment: of the drivers.
        disk: whether it needs a disk that can be filled.
    """

    name: str
    strike: Strike | None = None
    begin: Callable[[Stage], None] = _nothing
    end: Callable[[Stage], None] = _nothing
    options: Callable[[Stage], list[str]] = lambda stage: []
    environment: Callable[[Stage], dict[str, str]] = field(default=lambda stage: {})
    disk: bool = False


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it has ended by itself
        return


def _kill_driver(stage: Stage, driver: Driver) -> None:
    driver.signal(signal.SIGKILL)


def _interrupt_driver(stage: Stage, driver: Driver) -> None:
    driver.signal(stage.rng.choice((signal.SIGTERM, signal.SIGINT, signal.SIGHUP)))


def _kill_worker(stage: Stage, driver: Driver) -> None:
    workers = driver.workers()
    if workers:
        _kill(stage.rng.choice(workers))


def _stop_for_a_while(stage: Stage, driver: Driver) -> None:
    """Workers are not scheduled, as on a machine that swaps."""
    for pid in driver.workers():
        _kill(pid, signal.SIGSTOP)
        time.sleep(stage.rng.uniform(0.2, 2.0))
        _kill(pid, signal.SIGCONT)


def _lose_file(stage: Stage, driver: Driver) -> None:
    hidden = stage.network.with_suffix(".gone")
    stage.network.rename(hidden)
    if stage.rng.random() < 0.5:  # whoever comes now reads it
        workers = driver.workers()
        if workers:
            _kill(stage.rng.choice(workers))
    time.sleep(stage.rng.uniform(0.1, 2.0))
    hidden.rename(stage.network)


def _fill_disk(stage: Stage, driver: Driver) -> None:
    ballast = stage.store.parent / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(1 << 12))
        except OSError:  # full
            pass
    time.sleep(stage.rng.uniform(0.5, 3.0))
    ballast.unlink()


def _kill_dask_worker(stage: Stage, driver: Driver) -> None:
    assert stage.cluster is not None
    stage.rng.choice(stage.cluster.workers).kill()
    time.sleep(stage.rng.uniform(0.0, 1.0))
    stage.cluster.mend()


def _kill_scheduler(stage: Stage, driver: Driver) -> None:
    assert stage.cluster is not None and stage.cluster.scheduler is not None
    stage.cluster.scheduler.kill()
    stage.cluster.scheduler.wait()
    time.sleep(stage.rng.uniform(0.0, 2.0))
    stage.cluster.mend()


def _open_cluster(stage: Stage) -> None:
    stage.cluster = Cluster(stage.folder / "cluster", stage.files, workers=2)


def _close_cluster(stage: Stage) -> None:
    assert stage.cluster is not None
    stage.cluster.__exit__()
    stage.cluster = None


def _scheduler(stage: Stage) -> list[str]:
    assert stage.cluster is not None
    return ["--scheduler", stage.cluster.address]


def _slow(stage: Stage) -> dict[str, str]:
    """Every interpreter takes its time before it does anything."""
    folder = stage.folder / "slow"
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(f"import time\ntime.sleep({stage.rng.uniform(1, 5):.1f})\n")
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
    return {"PYTHONPATH": path}


def _little_memory(stage: Stage) -> list[str]:
    """From too little to start, over too little for some queries, to enough."""
    return ["--memory", str(stage.rng.choice((100, 390, 420, 480, 600)))]


def _cluster(name: str, strike: Strike, little: bool = False) -> Mischief:
    options = (lambda stage: _scheduler(stage) + _little_memory(stage)) if little else _scheduler
    return Mischief(name, strike, _open_cluster, _close_cluster, options)


KINDS = (
    Mischief("driver killed", _kill_driver),
    Mischief("driver told to end", _interrupt_driver),
    Mischief("workers killed", _kill_worker),
    Mischief("workers stopped for seconds", _stop_for_a_while),
    Mischief("network missing for seconds", _lose_file),
    Mischief("disk full for seconds", _fill_disk, disk=True),
    Mischief("little memory", options=_little_memory),
    Mischief("slow imports, driver killed", _kill_driver, environment=_slow),
    _cluster("Dask workers killed", _kill_dask_worker),
    _cluster("Dask scheduler killed", _kill_scheduler),
    _cluster("Dask, driver killed", _kill_driver),
)

"""Jobs on a Dask cluster that shares no files with the driver, and whose workers and scheduler come and go."""

import gc
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run, write_property

pytest.importorskip("distributed")
import distributed

from advverify.cli.jobs import sources
from advverify.models.zoo import path_of
from advverify.verifier.batch import dask_pool, remote
from advverify.verifier.batch.dask_pool import DaskPool
from advverify.verifier.batch.job import read_job
from advverify.verifier.batch.parcels import pack_file, pack_model, unpack
from advverify.verifier.batch.run import open_tasks, run_job
from advverify.verifier.store import Store
from benchmarks.chaos.cluster import Cluster

JOB = """
name = "away"
timeout = 20
[[queries]]
models = ["set/n.onnx"]
data = "digits"
images = "0:8"
eps = [0.02, 0.05]
[[queries]]
models = ["set/n.onnx"]
data = "digits"
images = "0:2"
distance = true
gap = 1e-2
[[properties]]
models = ["set/n.onnx"]
properties = ["set/p.vnnlib"]
"""


# What distributed leaves open where a scheduler was killed is no concern of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, Path]]:
    """A cluster, and a folder that its workers see empty."""
    base = tmp_path_factory.mktemp("away")
    (base / "driver").mkdir()
    with Cluster(base / "scratch", base / "driver", workers=1) as started:
        yield started, base / "driver"


@pytest.fixture
def cluster(away: tuple[Cluster, Path]) -> Iterator[Cluster]:
    """The cluster with its one worker."""
    yield away[0]
    away[0].wanted = 1
    away[0].mend()
    gc.collect()


@pytest.fixture
def folder(away: tuple[Cluster, Path]) -> Path:
    """The driver's folder."""
    place = away[1] / str(len(list(away[1].iterdir())))
    (place / "set").mkdir(parents=True)
    shutil.copy(path_of("digits-mlp"), place / "set" / "n.onnx")
    write_property(place / "set" / "p.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    (place / "job.toml").write_text(JOB)
    return place


def answers(store: Path) -> dict[str, str]:
    with Store(store) as opened:
        return {row["key"]: row["verdict"] for row in opened.rows()}


def later(seconds: float, do: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(seconds, do)
    timer.start()
    return timer


def test_nothing_is_shared_and_proofs_come_back(cluster: Cluster, folder: Path) -> None:
    store, here = folder / "r.sqlite", folder / "here.sqlite"
    options = ("--scheduler", cluster.address, "--proofs", str(folder / "proofs"))
    done = run("batch", "run", str(folder / "job.toml"), "--store", str(store), *options)
    assert done.returncode == 0, done.stderr
    assert run("batch", "run", str(folder / "job.toml"), "--store", str(here), "--jobs", "1").returncode == 0
    assert answers(store) == answers(here) and len(answers(store)) == 19
    with Store(store) as opened:
        proofs = [row["proof"] for row in opened.rows() if row["proof"]]
    assert len(proofs) > 8 and run("check", proofs[0], str(folder / "set" / "n.onnx")).returncode == 0


def test_a_cluster_without_workers_is_waited_for(
    cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.wanted = 0
    cluster.workers[0].kill()
    cluster.mend()
    monkeypatch.setattr(dask_pool, "_SHORT", 0.0)
    monkeypatch.setattr(dask_pool, "_LOOK", 0.1)

    def grow() -> None:
        cluster.wanted = 1
        cluster.mend()

    timer = later(3.0, grow)
    arguments = ("--store", str(folder / "r.sqlite"), "--scheduler", cluster.address)
    done = run("batch", "run", str(folder / "job.toml"), *arguments)
    timer.join()
    assert done.returncode == 0 and "the cluster has no workers; waiting for some" in done.stderr


def test_scheduler_and_workers_may_be_killed(cluster: Cluster, folder: Path) -> None:
    """After the third answer the worker goes, after the tenth the scheduler with all that it knows."""
    job = read_job(folder / "job.toml", sources())
    seen: list[str] = []

    def listener(task: Any, found: Any) -> None:
        seen.append(task.stored.key)
        if len(seen) == 3:
            cluster.workers[0].kill()
            cluster.workers[0].wait()
            cluster.mend()
        if len(seen) == 10:
            assert cluster.scheduler is not None
            cluster.scheduler.kill()
            cluster.scheduler.wait()
            cluster.mend()

    with Store(folder / "r.sqlite", write=True) as store:
        tasks = open_tasks(store, job)
        count = run_job(store, job, tasks, DaskPool(cluster.address), listener)
        assert count == len(job.tasks) == len(set(seen)) == len(seen)
        assert not list(store.accidents()) and "unknown" not in {row["verdict"] for row in store.rows()}


def test_limits_hold_there(cluster: Cluster, folder: Path) -> None:
    arguments = ("--store", str(folder / "r.sqlite"), "--scheduler", cluster.address)
    done = run("batch", "run", str(folder / "job.toml"), *arguments, "--memory", "20")
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and "20 MiB of memory: workers do not start with so little" in last


@pytest.mark.parametrize(("version", "words"), [("0.0.9", "runs advverify 0.0.9"), (None, "has no advverify")])
def test_workers_of_another_version(
    version: str | None, words: str, cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_pool, "_version_there", lambda: lambda: version)
    arguments = ("--store", str(folder / "r.sqlite"), "--scheduler", cluster.address)
    with distributed.Client(cluster.address, set_as_default=False) as client:
        client.wait_for_workers(1)
    done = run("batch", "run", str(folder / "job.toml"), *arguments)
    assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_latecomer_of_another_version_is_named(
    cluster: Cluster, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_pool.DaskPool, "_check", lambda self: None)
    monkeypatch.setattr(dask_pool, "__version__", "9.9")
    arguments = ("--store", str(folder / "r.sqlite"), "--scheduler", cluster.address)
    done = run("batch", "run", str(folder / "job.toml"), *arguments)
    assert done.returncode == 2 and "runs advverify 0.1.0, this is 9.9; install the same version" in done.stderr


def test_files_that_went_away_cost_their_own_queries(cluster: Cluster, folder: Path) -> None:
    job = read_job(folder / "job.toml", sources())
    (folder / "set" / "p.vnnlib").unlink()
    with Store(folder / "r.sqlite", write=True) as store:
        assert run_job(store, job, open_tasks(store, job), DaskPool(cluster.address)) == 18
        assert [(row["accident"], row["item"]) for row in store.accidents()] == [("file", "set/p.vnnlib")]


def test_parcels_are_unpacked_once(tmp_path: Path) -> None:
    (tmp_path / "p.vnnlib").write_bytes(b"text")
    for pack, path in ((pack_model, path_of("digits-mlp")), (pack_file, tmp_path / "p.vnnlib")):
        parcel = pack(str(path))
        place = unpack(parcel, parcel.digest, tmp_path)
        written = place.stat().st_mtime_ns
        assert place.read_bytes() == path.read_bytes() and place.name == path.name
        time.sleep(0.01)
        assert unpack(parcel, parcel.digest, tmp_path) == place and place.stat().st_mtime_ns == written
    assert parcel.digest != pack_model(str(path_of("digits-mlp"))).digest


def test_weights_in_other_files_travel_too(tmp_path: Path) -> None:
    import onnx

    from advverify.verifier.network.onnx_file import open_file

    model = onnx.load(str(path_of("digits-mlp")))
    source = tmp_path / "m.onnx"
    onnx.save_model(model, str(source), save_as_external_data=True, location="weights.bin", size_threshold=0)
    parcel = pack_model(str(source))
    assert set(parcel.files) == {"", "weights.bin"}
    assert open_file(unpack(parcel, parcel.digest, tmp_path)).sha256 == open_file(source).sha256


def test_a_letter_without_room_for_files_is_an_accident(folder: Path) -> None:
    import pickle

    job = read_job(folder / "job.toml", sources())
    task = job.tasks[0]
    parcel = pack_model(task.request.path)
    shipment = remote.Shipment([task], {task.request.path: parcel.digest}, 0)
    nowhere = str(folder / "nowhere")
    letter = pickle.loads(remote.settle(pickle.dumps(shipment), [remote.packed(parcel)], nowhere))
    ((place, found, _, _),) = letter.found
    assert place == 0 and found.kind.value == "file" and os.strerror(2) in found.message

"""Jobs, the store, workers that die, drivers that are killed, and the report."""

import html
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from advverify.cli.jobs import sources
from advverify.verifier.batch.dask_pool import DaskPool
from advverify.verifier.batch.job import Job, read_job
from advverify.verifier.batch.run import Pool, open_tasks, run_job
from advverify.verifier.batch.task import Task
from advverify.verifier.batch.work import WORK
from advverify.verifier.engines import MilpOptions
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
from advverify.verifier.parallel.accident import Accident
from advverify.verifier.parallel.pool import ProcessPool
from advverify.verifier.request import Request
from advverify.verifier.store import Store, StoredQuery

JOB = """
name = "small"
timeout = 20
[[queries]]
models = ["zoo:digits-mlp", "zoo:digits-resnet-cpl"]
data = "digits"
images = "0:12"
norms = ["inf"]
eps = [0.02, 0.05]
[[queries]]
models = ["zoo:digits-mlp"]
data = "digits"
images = "0:4"
distance = true
gap = 1e-3
"""


def write(folder: Path, text: str = JOB) -> Path:
    path = folder / "job.toml"
    path.write_text(text)
    return path


def verdicts(path: Path) -> dict[str, str]:
    with Store(path) as store:
        return {row["key"]: row["verdict"] for row in store.rows()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batch")
    done = run("batch", "run", str(write(folder)), "--store", str(folder / "r.sqlite"), "--jobs", "2")
    assert done.returncode == 0 and "52 queries, 0 answered before, 52 to do" in done.stderr, done.stderr
    return folder / "r.sqlite"


def test_status_export_and_rerun(undisturbed: Path, tmp_path: Path) -> None:
    status = run("batch", "status", "--store", str(undisturbed))
    assert status.returncode == 0 and "small" in status.stdout and "52" in status.stdout
    again = run("batch", "run", str(write(tmp_path)), "--store", str(undisturbed))
    assert again.returncode == 0 and "52 answered before, 0 to do" in again.stderr
    for form, lines in (("csv", 53), ("jsonl", 52), ("vnncomp", 48)):
        out = tmp_path / f"out.{form}"
        done = run("batch", "export", "--store", str(undisturbed), "--format", form, "-o", str(out))
        assert done.returncode == 0 and len(out.read_text().splitlines()) == lines
    first = json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0])
    assert first["trace"] is not None and first["model"] == "zoo:digits-mlp" and first["eps"] == 0.02


def test_a_changed_option_runs_again_and_the_rest_is_kept(undisturbed: Path, tmp_path: Path) -> None:
    done = run(
        "batch",
        "run",
        str(write(tmp_path, JOB.replace("gap = 1e-3", "gap = 1e-2"))),
        "--store",
        str(undisturbed),
        "--dry-run",
    )
    assert "48 answered before, 4 to do" in done.stderr


def test_killed_drivers_and_workers_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    job, store = write(tmp_path), tmp_path / "k.sqlite"
    rng, command = random.Random(0), [sys.executable, "-m", "advverify", "batch", "run", str(job)]
    for _ in range(3):
        driver = subprocess.Popen([*command, "--store", str(store), "--jobs", "2"], stderr=subprocess.DEVNULL)
        while not store.is_file():
            assert driver.poll() is None
            time.sleep(0.02)
        time.sleep(rng.uniform(0.5, 4.0))
        children = subprocess.run(
            ["ps", "--ppid", str(driver.pid), "-o", "pid="], capture_output=True, text=True
        ).stdout.split()
        if children and rng.random() < 0.5:
            os.kill(int(children[-1]), signal.SIGKILL)
            time.sleep(0.5)
        driver.kill()
        driver.wait()
    resumed = run("batch", "resume", "--store", str(store))
    assert resumed.returncode == 0, resumed.stderr
    assert verdicts(store) == verdicts(undisturbed)


class Fixed:
    """A pool that answers at once."""

    jobs = 1

    def __init__(self, limit: int = 10**9) -> None:
        self.limit = limit

    def run(self, groups: Any, hear: Any = None) -> Iterator[tuple[Task, Outcome, int]]:
        for number, task in enumerate(task for group in groups for task in group):
            if number == self.limit:
                raise KeyboardInterrupt
            yield task, Outcome(Verdict.ROBUST, Bracket(0.1, 0.2, np.zeros(4)), Trust.SOLVER, "propagate", 0.01), 1


def many(count: int) -> Job:
    stored = [
        StoredQuery(f"{k:032x}", "certify", "m.onnx", "ab", "digits", str(k), "inf", 0.1, "{}", "0")
        for k in range(count)
    ]
    return Job("many", "text", ".", tuple(Task(s, Request("certify", "m.onnx", "ab")) for s in stored))


def run_open(store: Store, job: Job, pool: Pool) -> int:
    return run_job(store, job, open_tasks(store, job), pool)


def test_an_interrupted_run_keeps_what_is_done(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite", write=True) as store:
        with pytest.raises(KeyboardInterrupt):
            run_open(store, many(20), Fixed(7))
        assert store.jobs()[0]["done"] == 7 and len(open_tasks(store, many(20))) == 13
        assert run_open(store, many(20), Fixed()) == 13 and store.jobs()[0]["robust"] == 20


def children() -> list[int]:
    """The processes that this one has started and not waited for."""
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_a_worker_killed_from_outside_costs_one_more_attempt(tmp_path: Path) -> None:
    job, before = read_job(write(tmp_path, JOB.replace("0:12", "0:3")), sources()), set(children())
    answers: list[tuple[Outcome | Accident, int]] = []
    for _, found, attempts in ProcessPool(WORK, 1).run([[task] for task in job.tasks]):
        answers.append((found, attempts))
        if len(answers) == 3:
            (worker,) = set(children()) - before
            os.kill(worker, signal.SIGKILL)
    assert len(answers) == len(job.tasks) and {attempts for _, attempts in answers} <= {1, 2}
    assert all(isinstance(found, Outcome) and found.verdict is not Verdict.UNKNOWN for found, _ in answers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[queries]\n", "not a TOML file"),
        ("name = 'x'\n", "needs [[queries]], [[properties]] or [[vnncomp]]"),
        (JOB.replace("norms", "norm"), "has no key 'norm'"),
        (JOB.replace('["inf"]', '["3"]'), "number 1: "),
        (JOB.replace("zoo:digits-resnet-cpl", "zoo:nothing"), "the zoo has no network"),
        (JOB.replace("zoo:digits-resnet-cpl", "gone.onnx"), "gone.onnx"),
        (JOB.replace("0:12", "0:9999"), "the data set has 360 images"),
        (JOB.replace("eps = [0.02, 0.05]", ""), "needs eps"),
        (JOB.replace("eps = [0.02, 0.05]", "eps = [-1.0]"), "numbers >= 0"),
        (JOB.replace("timeout = 20", "timeout = 0"), "above 0"),
        (
            JOB.replace("norms", "formulation = 'extnded'\nnorms"),
            "number 1: unknown formulation 'extnded': did you mean",
        ),
        (JOB.replace("norms", "cuts = 'tree'\nnorms"), "unknown cuts 'tree': choose among none, root"),
        (JOB.replace("norms", "solver = 'nothing'\nnorms"), "unknown solver 'nothing'"),
        (JOB.replace("norms", "solver = 'gorubi'\nnorms"), "number 1: unknown solver 'gorubi': did you mean gurobi?"),
        (JOB.replace("norms", "engines = 'mlip'\nnorms"), "number 1: unknown engine 'mlip': did you mean mip?"),
        (JOB.replace("norms", "engines = ' , '\nnorms"), "' , ' names no engine: leave engines out for all of them"),
        (
            JOB.replace("norms", "engines = 'crown'\nsolver = 'highs'\nnorms"),
            "number 1: solver is read by milp alone, and the engines are crown: add milp to them, or leave solver out",
        ),
        (JOB.replace("norms", "engines = 3\nnorms"), "engines must be a text or a list of names, got 3"),
        ("[[vnncomp]]\nfolder = '.'\nengines = ['magic']\n", "[[vnncomp]] number 1: unknown engine 'magic'"),
        (JOB.replace("norms", "fix_stable = 0\nnorms"), "fix_stable must be true or false, got 0"),
        ("[[vnncomp]]\nfolder = 'nowhere'\n", "instances.csv is not there"),
    ],
)
def test_broken_jobs_are_one_line(text: str, message: str, tmp_path: Path) -> None:
    store = tmp_path / "r.sqlite"
    done = run("batch", "run", str(write(tmp_path, text)), "--store", str(store))
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not store.exists()


def test_jobs_choose_how_their_programs_are_written(tmp_path: Path) -> None:
    chosen = 'formulation = "partition-4"\ntighten = "mip"\ntargets = "joint"\ncuts = "none"\nfix_stable = false\nsubstitute = false\nnorms'
    usual, job = (read_job(write(tmp_path, text), sources()) for text in (JOB, JOB.replace("norms", chosen)))
    options = MilpOptions("highs", "partition-4", False, False, "mip", "joint", "none")
    first, last = job.tasks[0], job.tasks[-1]
    assert first.request.settings.milp == options and last.request.settings.milp == MilpOptions()
    assert json.loads(first.stored.options)["formulation"] == "partition-4"
    assert first.stored.key != usual.tasks[0].stored.key and last.stored.key == usual.tasks[-1].stored.key


@pytest.mark.parametrize("written", ['"mip"', '["mip"]', '" mip ,"'])
def test_jobs_take_engines_as_the_command_line_does(written: str, tmp_path: Path) -> None:
    job = read_job(write(tmp_path, JOB.replace("norms", f"engines = {written}\nnorms")), sources())
    assert job.tasks[0].request.engines == ("mip",) and job.tasks[-1].request.engines == ()


def test_a_model_that_changed_is_refused_by_name(tmp_path: Path) -> None:
    from advverify.models.zoo import path_of

    (tmp_path / "n.onnx").write_bytes(path_of("digits-mlp").read_bytes())
    job = write(tmp_path, JOB.replace('"zoo:digits-mlp", "zoo:digits-resnet-cpl"', '"n.onnx"').replace("0:12", "0:2"))
    store = tmp_path / "r.sqlite"
    assert run("batch", "run", str(job), "--store", str(store)).returncode == 0
    (tmp_path / "n.onnx").write_bytes(path_of("digits-resnet-cpl").read_bytes())
    done = run("batch", "resume", "--store", str(store))
    assert done.returncode == 2 and "n.onnx: the file has changed" in done.stderr


def test_vnncomp_folders(tmp_path: Path) -> None:
    from command_line import write_property

    from advverify.models.zoo import path_of

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "n.onnx").write_bytes(path_of("digits-mlp").read_bytes())
    write_property(tmp_path / "bench" / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    write_property(tmp_path / "bench" / "unsafe.vnnlib", 0, 0.5, "(assert (>= Y_0 -1000))")
    (tmp_path / "bench" / "instances.csv").write_text("n.onnx,safe.vnnlib,20\nn.onnx,unsafe.vnnlib,20\n")
    store, out = tmp_path / "r.sqlite", tmp_path / "results.csv"
    job = write(tmp_path, "[[vnncomp]]\nfolder = 'bench'\n")
    assert run("batch", "run", str(job), "--store", str(store)).returncode == 0
    assert run("batch", "export", "--store", str(store), "--format", "vnncomp", "-o", str(out)).returncode == 0
    assert [line.split(",")[4] for line in out.read_text().splitlines()] == ["unsat", "sat"]


def test_proofs_of_a_job(tmp_path: Path) -> None:
    job = write(
        tmp_path, JOB.replace('"zoo:digits-mlp", "zoo:digits-resnet-cpl"', '"zoo:digits-mlp"').replace("0:12", "0:2")
    )
    store, proofs = tmp_path / "r.sqlite", tmp_path / "proofs"
    assert run("batch", "run", str(job), "--store", str(store), "--proofs", str(proofs)).returncode == 0
    with Store(store) as opened:
        rows = [row for row in opened.rows() if row["verdict"] == "robust"]
    assert rows and all(row["trust"] == "checked" and row["proof"] for row in rows)
    assert run("check", rows[0]["proof"], "zoo:digits-mlp").returncode == 0
    place = Path(rows[0]["proof"])
    place.unlink()
    place.mkdir()  # nothing can be written there
    done = run("batch", "run", str(job), "--store", str(tmp_path / "s.sqlite"), "--proofs", str(proofs))
    assert done.returncode == 1 and "no proof: an error while proving" in done.stderr
    with Store(tmp_path / "s.sqlite") as opened:
        assert sum(row["verdict"] == "robust" for row in opened.rows()) == len(rows)


def test_the_report(undisturbed: Path, tmp_path: Path) -> None:
    page, figures = tmp_path / "r.html", tmp_path / "f"
    done = run(
        "report", str(undisturbed), "-o", str(page), "--figures", str(figures), "--text", "--against", str(undisturbed)
    )
    assert done.returncode == 0, done.stderr
    text = page.read_text()
    assert "52 answered queries" in text and "No verdict changed" in text and "data:image/png;base64" in text
    assert "http://" not in text and "https://" not in text
    assert {p.suffix for p in figures.iterdir()} == {".png", ".svg"}
    assert "settled" in done.stdout
    nothing = run("report", str(undisturbed))
    assert nothing.returncode == 2 and "choose what to write" in nothing.stderr


def test_the_report_escapes_what_it_prints(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    stored = StoredQuery("0" * 32, "certify", evil, "ab", evil, "0", "inf", 0.1, "{}", "0")
    with Store(tmp_path / "s.sqlite", write=True) as store:
        run_open(store, Job("j", "t", ".", (Task(stored, Request("certify", "m.onnx", "ab")),)), Fixed())
    page = tmp_path / "r.html"
    assert run("report", str(tmp_path / "s.sqlite"), "-o", str(page)).returncode == 0
    assert evil not in page.read_text()


def test_a_cluster_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers, however long one waits; here it is for a second."""
    pytest.importorskip("distributed")
    connect = DaskPool._connect
    monkeypatch.setattr(DaskPool, "_connect", lambda self, timeout: connect(self, 1.0))
    done = run("batch", "run", str(write(tmp_path)), "--store", str(tmp_path / "s"), "--scheduler", "tcp://127.0.0.1:9")
    assert done.returncode == 2 and "no Dask scheduler answers" in done.stderr and "Traceback" not in done.stderr


def test_the_same_on_a_cluster(undisturbed: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    store, arguments = tmp_path / "d.sqlite", {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(processes=True, silence_logs=50, **arguments) as cluster:
        address = cluster.scheduler_address
        done = run("batch", "run", str(write(tmp_path)), "--store", str(store), "--scheduler", address)
        (tmp_path / "broken.onnx").write_bytes(b"no network")
        broken = write(tmp_path, JOB.replace("zoo:digits-mlp", "broken.onnx"))
        refused = run("batch", "run", str(broken), "--store", str(store), "--scheduler", address)
    assert done.returncode == 0, done.stderr
    assert refused.returncode == 1 and "24 answered before, 28 to do" in refused.stderr
    assert "28 accidents, refused: " in refused.stderr and "broken.onnx" in refused.stderr
    assert {key: verdict for key, verdict in verdicts(store).items() if verdict} == verdicts(undisturbed)


def test_what_a_cluster_decides_is_refused(tmp_path: Path) -> None:
    arguments = ("--store", str(tmp_path / "s"), "--scheduler", "tcp://127.0.0.1:9", "--jobs", "2")
    done = run("batch", "run", str(write(tmp_path)), *arguments)
    assert done.returncode == 2 and "jobs is for workers of this machine" in done.stderr


CHECK = """
<script>
window.problems = [];
window.addEventListener("error", e => window.problems.push(e.message));
</script>
"""
DRIVE = """
<script>
const lines = () => [...document.querySelectorAll("#all tbody tr")].map(r => [...r.cells].map(c => c.textContent));
const result = { all: lines().length };
const field = document.getElementById("filter"), word = document.getElementById("verdict");
field.value = "digits-mlp"; field.dispatchEvent(new Event("input"));
result.filtered = lines().length; result.models = [...new Set(lines().map(r => r[0]))];
field.value = ""; word.value = "robust"; word.dispatchEvent(new Event("change"));
result.verdicts = [...new Set(lines().map(r => r[3]))];
word.value = ""; word.dispatchEvent(new Event("change"));
const heads = document.querySelectorAll("#all th");
heads[7].click(); result.up = lines().map(r => Number(r[7]));
heads[7].click(); result.down = lines().map(r => Number(r[7]));
result.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
result.figures = [...document.images].filter(i => i.complete && i.naturalWidth > 0).length;
result.images = document.images.length;
result.problems = window.problems;
document.body.innerHTML = "";
const out = document.createElement("pre"); out.id = "result"; out.textContent = JSON.stringify(result);
document.body.append(out);
</script>
"""


@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_in_a_browser(undisturbed: Path, tmp_path: Path, width: int) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium on this machine")
    page = tmp_path / "r.html"
    assert run("report", str(undisturbed), "-o", str(page)).returncode == 0
    text = page.read_text().replace("<head>", "<head>" + CHECK).replace("</body>", DRIVE + "</body>")
    page.write_text(text)
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [browser, *options, f"--window-size={width},900", "--dump-dom", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    found = json.loads(html.unescape(shown.split('<pre id="result">')[1].split("</pre>")[0]))
    assert found["problems"] == [] and found["wide"] <= 0
    assert found["all"] == 52 and found["filtered"] == 28 and found["models"] == ["zoo:digits-mlp"]
    assert found["verdicts"] == ["robust"]
    assert found["up"] == sorted(found["up"]) and found["down"] == sorted(found["down"], reverse=True)
    assert found["figures"] == found["images"] >= 3


def test_vnncomp_scripts(tmp_path: Path) -> None:
    """The competition's harness: prepare and run, with this environment in the place of the installed one."""
    from command_line import write_property

    from advverify.models.zoo import path_of

    here = Path(__file__).parents[3]
    scripts = tmp_path / "examples" / "vnncomp"
    shutil.copytree(here / "examples" / "vnncomp", scripts)
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "advverify").write_text(f'#!/bin/bash\nexec {sys.executable} -m advverify.cli "$@"\n')
    (binaries / "advverify").chmod(0o755)
    prop = write_property(tmp_path / "p.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    arguments = ["v1", "test", str(path_of("digits-mlp")), str(prop)]
    out = tmp_path / "result.txt"
    done = subprocess.run(["bash", str(scripts / "run_instance.sh"), *arguments, str(out), "20"], check=False)
    assert done.returncode == 0 and out.read_text().split()[0] == "unsat"
    assert subprocess.run(["bash", str(scripts / "run_instance.sh"), "v2", *arguments[1:]], check=False).returncode == 1

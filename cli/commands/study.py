"""`advverify study`: what depth, width, optimiser, data and the like do to the certified radius, by a sweep of trainings.

The Python call `advverify.study` is something else: distributions of the radii of networks that there are.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput, TrainingDiverged
from advverify.verifier.outcome import finite

from ..help import Command
from ..options import COUNT, DATA, device_from, images_from, output_options
from ..places import writable_folder
from ..progress import Progress
from ..report import sweep_figures
from ..report.figures import require_report
from ..results import ResultFile
from ..table import Column, bracket, console, show

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.models.sweep.effects import Effect, Measured
    from advverify.models.sweep.plan import Run, Sweep

_RUNS, _BRACKETS = "runs.jsonl", "brackets.jsonl"


@click.command("study", cls=Command)
@click.argument("sweep", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder for networks, runs, brackets, the page and its figure.",
)
@click.option("--data", default=None, type=DATA, help="Where the recipes' data are [default: their name].")
@click.option("--jobs", type=COUNT, default=1, show_default=True, help="Images bracketed at the same time.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where training computes.",
)
@click.option(
    "--minutes", type=float, default=math.inf, help="Begin no further run after so many.  [default: no limit]"
)
@output_options(rows="with all effects")
def command(
    sweep: Path, out: Path, data: str | None, jobs: int, device: str, minutes: float, as_json: bool, quiet: bool
) -> int:
    """Train and measure every network of SWEEP (a TOML file), and show what each factor does.

    Each run is kept as it ends, each bracket too: a study that was stopped goes on where it was when it is started again.
    What there is so far is shown every time. Radii are medians over the images asked for, 0 where one is misclassified.
    """
    import torch

    from advverify.models.datasets import load_dataset
    from advverify.models.sweep.effects import effects
    from advverify.models.sweep.plan import read_sweep

    if not minutes > 0:
        raise InvalidInput("--minutes must be above 0")
    require_report()
    plan = read_sweep(sweep)
    runs, kind = list(plan.runs()), str(plan.base.get("data", {}).get("name", "digits"))
    names = {run.recipe.data.name for run in runs}
    if len(names) > 1:
        raise InvalidInput(f"{sweep}: all runs must have the same data, these have {', '.join(sorted(names))}")
    if data is not None and data.partition(":")[0] != kind:
        raise InvalidInput(f"--data {data}: the sweep's networks are trained on {kind}")
    device = device_from(device)
    training, test = load_dataset(data or kind, "train"), load_dataset(data or kind, "test")
    asked = images_from(plan.measure.images, len(test), "[measure] images")
    writable_folder(out / "networks", "--out")
    torch.set_num_threads(1)
    done = _known(out / _RUNS)
    began, brackets = time.monotonic(), ResultFile(out / _BRACKETS)
    measured: list[Measured] = []
    progress = Progress(len(runs), "runs", quiet=quiet)
    try:
        with progress:
            for number, run in enumerate(runs, start=1):
                key = _key(run, plan, training, test)
                if key not in done:
                    if time.monotonic() - began > 60 * minutes:
                        continue
                    progress.doing(_setting(run.setting))
                    _train(run, training, test, _path(run, out), device)
                    row = {**_measure(run, out, test, asked, plan, jobs, brackets), "key": key}
                    done[key] = row
                    with (out / _RUNS).open("a") as stream:
                        stream.write(json.dumps(finite(row)) + "\n")
                    if not quiet:
                        click.echo(f"{number} of {len(runs)}: {_line(row)}", err=True)
                progress.settle(key)
                measured.append(_read(done[key]))
    except KeyboardInterrupt as stop:
        stop.add_note(f"{out} keeps what was trained and measured, and the same command goes on from there")
        raise
    finally:
        brackets.close()
    factors = {name: [level.label for level in levels] for name, levels in plan.factors.items()}
    found = effects(measured, factors, plan.design == "full")
    record = _record(found, measured, plan, len(runs), test.name)
    _write(record, found, plan, out, len(asked))
    if as_json:
        click.echo(json.dumps(record, allow_nan=False))
    elif not quiet:
        _show(found, plan, len(measured), len(runs))
    if not quiet:
        click.echo(f"written to {out}", err=as_json)
    return 0


def _known(path: Path) -> dict[str, dict[str, Any]]:
    """Rows of runs that ended, by key; a last line that a kill cut short is taken off.

    Raises:
        InvalidInput: a file that holds something else.
    """
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    try:
        rows = [json.loads(line) for line in content[:whole].splitlines()]
        known = {row["key"]: row for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path}: holds something other than the runs of a study; choose another --out") from error
    if whole < len(content):
        path.write_bytes(content[:whole])
    return known


def _key(run: Run, plan: Sweep, training: Dataset, test: Dataset) -> str:
    """Everything that a run's numbers depend on but the seconds that it may take."""
    m = plan.measure
    parts = [run.recipe.fingerprint, training.sha256, test.sha256, m.norm, m.images, m.timeout, m.gap]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:24]


def _path(run: Run, out: Path) -> Path:
    return out / "networks" / f"{run.recipe.fingerprint}.onnx"


def _train(run: Run, training: Dataset, test: Dataset, path: Path, device: str) -> None:
    """Write the network, unless it is there.

    Raises:
        TrainingDiverged: says with which setting.
    """
    from advverify.models.build import build_once

    try:
        build_once(run.recipe, training, test, path, device=device)
    except TrainingDiverged as error:
        raise TrainingDiverged(f"with {_setting(run.setting)}: {error}") from error


def _measure(
    run: Run, out: Path, test: Dataset, asked: range, plan: Sweep, jobs: int, sink: ResultFile
) -> dict[str, Any]:
    """Accuracy, and the bracket of every image, those known already from the file."""
    import numpy as np
    import torch

    from advverify.verifier.engines import Settings
    from advverify.verifier.network.evaluate import predict
    from advverify.verifier.request import model_of

    path, m = _path(run, out), plan.measure
    model = model_of(str(path))
    predicted = predict(model.network, torch.from_numpy(test.images.reshape(len(test), -1))).numpy()
    from ..brackets import brackets_of

    settings = Settings(timeout=m.timeout, gap=m.gap, threads=1, seed=0)
    found = brackets_of(path, test, asked, m.norm, settings, sink, jobs=jobs)
    sides = [(o.bracket.lower, o.bracket.upper) for o in found]
    metrics = path.with_suffix(".training") / "metrics.jsonl"
    return {
        "setting": run.setting,
        "seed": run.seed,
        "network": path.name,
        "accuracy": float((predicted == test.labels).mean()),
        "brackets": [(max(low, 0.0) if low == low else 0.0, high if high == high else math.inf) for low, high in sides],
        "relus": model.network.relu_count,
        "solve_seconds": float(np.sum([o.seconds for o in found])),
        "train_seconds": _seconds(metrics),
    }


def _seconds(metrics: Path) -> float:
    """Of training, all epochs together; those of levels lie in folders of their own."""
    files = [metrics] if metrics.is_file() else sorted(metrics.parent.glob("level-*/metrics.jsonl"))
    return sum(float(json.loads(line)["seconds"]) for file in files for line in file.read_text().splitlines())


def _read(row: dict[str, Any]) -> Measured:
    from advverify.models.sweep.effects import Measured

    sides = tuple((float(low), math.inf if high is None else float(high)) for low, high in row["brackets"])
    return Measured(row["setting"], row["seed"], row["accuracy"], sides, row["solve_seconds"])


def _setting(setting: Mapping[str, str]) -> str:
    """Factors and their levels, in words."""
    return ", ".join(f"{name} = {label}" for name, label in setting.items())


def _line(row: dict[str, Any]) -> str:
    radius = bracket(_read(row).radius)
    return f"{_setting(row['setting'])}, seed {row['seed']}: accuracy {100 * row['accuracy']:.1f} %, median radius {radius}"


_HEAD = (
    "factor",
    "level",
    "runs",
    "accuracy",
    "median radius, mean",
    "95 %",
    "difference to the first",
    "95 % ",
    "verdict",
)


def _cells(e: Effect) -> list[str]:
    def interval(sides: tuple[float, float] | None) -> str:
        if sides is None or not all(map(math.isfinite, sides)):
            return "-"
        return f"{sides[0]:.4f} … {sides[1]:.4f}"

    difference = "-" if e.difference is None else f"{e.difference[0]:+.4f} … {e.difference[1]:+.4f}"
    accuracy = f"{100 * e.accuracy:.1f} %"
    cells = [e.factor.rpartition(".")[2], e.level, str(e.runs), accuracy, bracket(e.mean), interval(e.interval)]
    return [*cells, difference, interval(e.difference_interval), e.verdict or "first"]


def _show(found: list[Effect], plan: Sweep, done: int, runs: int) -> None:
    screen = console()
    words, spare = ("factor", "level", "verdict"), {"95 %": 1, "runs": 2}
    columns = [Column(name, name in words, text=name in ("factor",), spare=spare.get(name, 0)) for name in _HEAD]
    show(screen, columns, [_cells(e) for e in found], f"{plan.name}: {done} of {runs} runs, norm {plan.measure.norm}")
    if done < runs:
        screen.print(f"{runs - done} runs are left: start the same command again to go on", markup=False)


def _record(found: list[Effect], measured: list[Measured], plan: Sweep, runs: int, data: str) -> dict[str, Any]:
    """All that was found, as plain values; what is not known is null."""
    record = {
        "schema": 1,
        "name": plan.name,
        "design": plan.design,
        "seeds": plan.seeds,
        "data": data,
        "norm": plan.measure.norm,
        "images": plan.measure.images,
        "runs": {"done": len(measured), "planned": runs},
        "effects": [{**vars(e), "verdict": e.verdict} for e in found],
        "networks": [{**vars(m), "setting": dict(m.setting), "radius": m.radius} for m in measured],
    }
    plain: dict[str, Any] = finite(record)
    return plain


def _write(record: dict[str, Any], found: list[Effect], plan: Sweep, out: Path, images: int) -> None:
    """Numbers first, then the picture, then the page."""
    runs, data = record["runs"], record["data"]
    (out / "study.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    if found:
        sweep_figures.effects(found, plan.measure.norm, out / "effects.png")
    words = "every combination" if plan.design == "full" else "one factor changed at a time"
    text = [
        f"# {plan.name}",
        "",
        f"{runs['done']} of {runs['planned']} runs ({words}, {plan.seeds} seeds); median distance in norm {plan.measure.norm} over "
        f"{images} test images of {data}, 0 where one is misclassified; a mean is over runs, a range is what open brackets "
        "leave open, an interval is Student's at 95 % over all radii that the brackets allow. Differences are to the first "
        "level, over pairs of runs with the same seed and otherwise the same setting. Verdicts are not adjusted for their number.",
        "",
        "| " + " | ".join(_HEAD) + " |",
        "|" + "---|" * len(_HEAD),
        *("| " + " | ".join(_cells(e)) + " |" for e in found),
        "",
        *(["![effects with intervals](effects.png)", ""] if found else []),
    ]
    (out / "README.md").write_text("\n".join(text), encoding="utf-8")

"""VNN-COMP folders (instances.csv, truth.csv) in one process: verdicts, times and nodes.

For the competition's own way, one process an instance, use its scoring script.
"""

from __future__ import annotations

import csv
from pathlib import Path

import click

from advverify.verifier.api import verify
from advverify.verifier.engines import ReluSplitOptions, Settings
from advverify.verifier.outcome import Verdict

from .measure import median, table

_WORDS = {Verdict.ROBUST: "unsat", Verdict.ADVERSARIAL: "sat", Verdict.UNKNOWN: "unknown"}


@click.command("vnncomp")
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--timeout", default=60.0, show_default=True, help="Seconds an instance.")
@click.option("--take", type=int, default=None, help="First instances of each folder.")
@click.option("--branching", default="auto", show_default=True, help="Score of ReLU splits.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda, for attacks and bound propagation.")
@click.option("--verbose", is_flag=True, help="One line an instance on stderr.")
def command(
    folders: tuple[Path, ...], timeout: float, take: int | None, branching: str, device: str, verbose: bool
) -> None:
    """Verify the instances of FOLDERS."""
    rows = []
    for folder in folders:
        instances = list(csv.reader((folder / "instances.csv").open()))[:take]
        truth = {(row[0], row[1]): row[3] for row in list(csv.reader((folder / "truth.csv").open()))[1:]}
        seconds, nodes, settled, wrong = [], 0, 0, 0
        for model, spec, limit in instances:
            options = ReluSplitOptions(branching)
            settings = Settings(timeout=min(timeout, float(limit)), relu_split=options, device=device)
            outcome = verify(folder / model, folder / spec, settings=settings)
            word, expected = _WORDS[outcome.verdict], truth.get((model, spec), "unknown")
            settled += word != "unknown"
            wrong += word != "unknown" and expected in ("sat", "unsat") and word != expected
            seconds.append(outcome.seconds)
            nodes += int(outcome.statistics.get("nodes", 0))
            if verbose:
                click.echo(f"{model} {spec} {word} ({expected}) {outcome.seconds:.2f} s {outcome.engine}", err=True)
        rows.append([folder.name, len(instances), settled, wrong, median(seconds), f"{max(seconds):.1f}", nodes])
    click.echo(table(["set", "instances", "settled", "wrong", "median s", "max s", "nodes"], rows))

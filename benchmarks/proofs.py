"""How many robust verdicts carry a proof that the checker accepts, and what finding and checking them costs."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterator
from pathlib import Path

import click

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, verify
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Outcome, Trust, Verdict
from advverify.verifier.specification import Threat

from .measure import table


def vnncomp(folder: Path, take: int | None, settings: Settings) -> Iterator[tuple[str, Outcome]]:
    """Instances of a VNN-COMP folder."""
    for model, spec, limit in list(csv.reader((folder / "instances.csv").open()))[:take]:
        if float(limit) > 0:
            yield f"{model} {spec}", verify(folder / model, folder / spec, settings=settings)


def images(model: Path, data: str, eps: float, take: int, settings: Settings) -> Iterator[tuple[str, Outcome]]:
    """The first test images of a data set, norm inf."""
    network, chosen = Model(model), load_dataset(data)
    for i in range(take):
        yield (
            f"image {i}",
            certify(network, chosen.images[i], int(chosen.labels[i]), Threat("inf", eps), settings=settings),
        )


@click.command("proofs")
@click.argument("folders", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--wk17a", type=click.Path(exists=True, path_type=Path), default=None, help="The ONNX file.")
@click.option("--mnist", type=click.Path(exists=True, path_type=Path), default=None, help="Folder of the idx files.")
@click.option("--take", type=int, default=100, show_default=True, help="First instances or images of each set.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a verdict, and again for its proof.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/proofs"), show_default=True)
def command(
    folders: tuple[Path, ...], wk17a: Path | None, mnist: Path | None, take: int, timeout: float, work: Path
) -> None:
    """Prove the robust verdicts of digits, of VNN-COMP FOLDERS and of the WK17a network."""
    settings = Settings(timeout=timeout, proofs=work)
    sets: dict[str, Iterator[tuple[str, Outcome]]] = {
        "digits-mlp, eps 0.05": images(path_of("digits-mlp"), "digits", 0.05, take, settings)
    }
    if wk17a is not None and mnist is not None:
        sets["WK17a, eps 0.1"] = images(wk17a, f"mnist:{mnist}", 0.1, take, settings)
    for folder in folders:
        sets[folder.name] = vnncomp(folder, take, settings)
    rows = []
    for name, outcomes in sets.items():
        robust, proved, solve, find, checking, sizes = 0, 0, 0.0, 0.0, 0.0, []
        for query, outcome in outcomes:
            if outcome.verdict is not Verdict.ROBUST:
                continue
            robust += 1
            if outcome.trust is not Trust.CHECKED or outcome.proof is None:
                click.echo(f"{name}: {query}: {outcome.statistics.get('no_proof')}", err=True)
                continue
            proved += 1
            solve += outcome.seconds
            find += outcome.statistics["proof_seconds"]
            checking += outcome.statistics["check_seconds"]
            sizes.append(Path(outcome.proof).stat().st_size / 1024)
        size = f"{statistics.median(sizes):.0f} / {max(sizes):.0f}" if sizes else "-"
        rows.append([name, robust, proved, f"{solve:.1f}", f"{find:.1f}", f"{checking:.1f}", size])
        click.echo(f"{name}: {proved} of {robust}", err=True)
    header = ["set", "robust", "with a proof", "solving s", "proving s", "checking s", "KiB, median / most"]
    click.echo(table(header, rows))

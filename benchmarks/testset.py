"""A whole test set certified at one radius, beside the published verdicts of another tool.

MIPVerify with Gurobi publishes 9,463 robust images, 537 that are not and none open for `mnist_xiao19` at linf 0.1, in 23,335 s
for the 10,000 MNIST test images (Jia & Rinard, "Exploiting Verified Neural Networks via Floating Point Numerical Error", 2021).
"""

from __future__ import annotations

import csv
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import click

from advverify.cli.options import data_for, images_from
from advverify.verifier.answers import answers_to_many
from advverify.verifier.api import Model
from advverify.verifier.engines import Settings
from advverify.verifier.norms import NORMS
from advverify.verifier.outcome import Outcome, Trust, Verdict
from advverify.verifier.request import Request
from advverify.verifier.specification import Threat

from .measure import median, table


@dataclass
class Tally:
    """What came out for the images so far."""

    verdicts: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    agreed: int = 0
    contradicted: list[int] = field(default_factory=list)
    open: list[tuple[int, Outcome]] = field(default_factory=list)
    proved: int = 0
    proving: float = 0.0

    def add(self, index: int, outcome: Outcome, published: str | None) -> None:
        """Count one image; `published` is "robust", "not_robust" (misclassified images included), or anything else."""
        self.verdicts[outcome.verdict.value] += 1
        self.engines[outcome.engine] += 1
        self.seconds.append(outcome.seconds)
        if outcome.verdict is Verdict.UNKNOWN:
            self.open.append((index, outcome))
        elif published in ("robust", "not_robust"):
            same = (outcome.verdict is Verdict.ROBUST) == (published == "robust")
            self.agreed += same
            if not same:
                self.contradicted.append(index)
        if outcome.verdict is Verdict.ROBUST and outcome.trust is Trust.CHECKED and outcome.proof is not None:
            self.proved += 1
        self.proving += outcome.statistics.get("proof_seconds", 0.0) + outcome.statistics.get("check_seconds", 0.0)


@click.command("testset")
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="The ONNX file.")
@click.option("--data", required=True, help="mnist:DIR, cifar10:DIR, npz:FILE#NAME, digits.")
@click.option("--images", default="0:500", show_default=True, help="0:5000, 3, 1,2,7.")
@click.option("--norm", type=click.Choice(list(NORMS)), default="inf", show_default=True)
@click.option("--eps", type=float, required=True)
@click.option("--published", type=click.Path(exists=True, path_type=Path), help="CSV with columns index and verdict.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds an image.")
@click.option("--threads", default=2, show_default=True, help="Of all jobs together.")
@click.option("--jobs", default=1, show_default=True, help="Processes for the images that are too hard for batches.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda, for attacks and bound propagation.")
@click.option("--proofs", type=click.Path(path_type=Path), help="Folder: prove the robust verdicts as well.")
def command(
    model: Path,
    data: str,
    images: str,
    norm: str,
    eps: float,
    published: Path | None,
    timeout: float,
    threads: int,
    jobs: int,
    device: str,
    proofs: Path | None,
) -> None:
    """Certify the test images of a data set."""
    network = Model(model)
    chosen = data_for(network, data)
    told: dict[int, str] = {}
    if published is not None:
        with published.open(encoding="utf-8") as stream:
            told = {int(line["index"]): line["verdict"] for line in csv.DictReader(stream)}
    which = list(images_from(images, len(chosen.images)))
    settings = Settings(timeout=timeout, threads=max(1, threads // jobs), device=device, proofs=proofs)
    tally, began, threat = Tally(), time.perf_counter(), Threat(norm, eps)
    requests = [
        Request("certify", str(model), network.network.sha256, threat, image, label, settings=settings)
        for image, label in ((chosen.images[i], int(chosen.labels[i])) for i in which)
    ]
    for position, outcome in answers_to_many(requests, jobs):
        index = which[position]
        tally.add(index, outcome, told.get(index))
        if outcome.verdict is Verdict.UNKNOWN:
            click.echo(f"image {index}: margin {outcome.bracket.lower:.4f} {outcome.bracket.upper:.4f}", err=True)
    total = time.perf_counter() - began
    click.echo(_summary(tally, len(which), total, bool(told), proofs is not None))


def _summary(tally: Tally, images: int, total: float, compared: bool, with_proofs: bool) -> str:
    header = ["images", *(v.value for v in Verdict), "median s", "max s", "total s", "settled by"]
    by = ", ".join(f"{name} {count}" for name, count in tally.engines.most_common())
    seconds = [median(tally.seconds), f"{max(tally.seconds):.1f}", f"{total:.1f}"]
    row: list[object] = [images, *(tally.verdicts[v.value] for v in Verdict), *seconds, by]
    if compared:
        header += ["as published", "against it"]
        row += [tally.agreed, ", ".join(map(str, tally.contradicted)) or "0"]
    if with_proofs:
        header += ["with a proof", "proving and checking s"]
        row += [tally.proved, f"{tally.proving:.1f}"]
    return table(header, [row])

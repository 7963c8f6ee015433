"""Images certified one by one, and side by side: the same queries in one run."""

from __future__ import annotations

import time

import click

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, certify_all
from advverify.verifier.engines import Settings
from advverify.verifier.specification import Threat

from .measure import table


@click.command("batching")
@click.option("--models", default="digits-mlp,digits-conv,digits-deep", show_default=True, help="Networks of the zoo.")
@click.option("--take", default=200, show_default=True, help="First test images.")
@click.option("--eps", default=0.05, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="Of the work side by side.")
def command(models: str, take: int, eps: float, timeout: float, device: str) -> None:
    """Seconds for the first test images; refuses to print where a verdict differs."""
    data = load_dataset("digits")
    images, labels = data.images[:take], data.labels[:take]
    settings = Settings(timeout=timeout, device=device)
    rows = []
    for name in models.split(","):
        model = Model(path_of(name))
        certify(
            model, images[0], int(labels[0]), Threat("inf", eps), settings=settings
        )  # what is loaded with the first query
        began = time.perf_counter()
        alone = [certify(model, x, int(y), Threat("inf", eps)) for x, y in zip(images, labels, strict=True)]
        middle = time.perf_counter()
        settled = len(list(certify_all(model, images, labels, Threat("inf", eps), settings=settings, rest=False)))
        screened = time.perf_counter()
        together = dict(certify_all(model, images, labels, Threat("inf", eps), settings=settings))
        end = time.perf_counter()
        if any(together[k].verdict is not outcome.verdict for k, outcome in enumerate(alone)):
            raise click.ClickException(f"{name}: a verdict changed")
        one, first, every = middle - began, screened - middle, end - screened
        rows.append([name, take, f"{one:.2f}", f"{every:.2f}", f"{one / every:.1f}", settled, f"{first:.2f}"])
    header = ["network", "images", "one by one s", "together s", "ratio", "settled side by side", "in s"]
    click.echo(table(header, rows))

"""Exact distances for norm 0: the tree over supports, and one MILP a target instead, in the same run."""

from __future__ import annotations

import click

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, distance
from advverify.verifier.engines import Settings
from advverify.verifier.specification import Threat

from .measure import closed, median, table

_FIRST = ("falsify", "propagate")


@click.command("l0_tree")
@click.option("--models", default="digits-mlp,digits-conv,digits-deep", show_default=True, help="Of the zoo, or paths.")
@click.option("--data", default="digits", show_default=True)
@click.option("--take", default=20, show_default=True, help="First test images.")
@click.option("--timeout", default=30.0, show_default=True)
def command(models: str, data: str, take: int, timeout: float) -> None:
    """Seconds and closed distances after the same attack and bound propagation; refuses to print a contradiction."""
    dataset, settings = load_dataset(data), Settings(timeout=timeout)
    rows = []
    for name in models.split(","):
        model = Model(name if name.endswith(".onnx") else path_of(name))
        images = list(zip(dataset.images[:take], dataset.labels[:take], strict=True))
        distance(
            model, images[0][0], int(images[0][1]), Threat("0"), settings=settings
        )  # what is loaded with the first query
        tree, milp = (
            [distance(model, x, int(y), Threat("0"), settings=settings, engines=(*_FIRST, engine)) for x, y in images]
            for engine in ("support-split", "milp")
        )
        for ours, theirs in zip(tree, milp, strict=True):
            if ours.bracket.lower > theirs.bracket.upper or theirs.bracket.lower > ours.bracket.upper:
                raise click.ClickException(f"{name}: two distances that contradict each other")
        hard = [k for k, outcome in enumerate(tree) if outcome.statistics.get("nodes")]  # the others need neither
        ratios = [milp[k].seconds / tree[k].seconds for k in hard if closed(milp[k], 0)]
        total = sum(outcome.seconds for outcome in tree)
        far = max((o.bracket.upper for o in tree if closed(o, 0) and o.bracket.upper < float("inf")), default=0)
        rows.append(
            [
                *(name.rsplit("/", 1)[-1], take, len(hard), f"{far:g}"),
                *(sum(closed(o, 0) for o in tree), median([tree[k].seconds for k in hard]), f"{total:.1f}"),
                *(sum(closed(o, 0) for o in milp), median([milp[k].seconds for k in hard]), median(ratios)),
            ]
        )
    header = ["network", "images", "need a search", "largest distance closed"]
    header += ["tree: closed", "median s of these", "total s", "MILP: closed", "median s of these", "median ratio"]
    click.echo(table(header, rows))

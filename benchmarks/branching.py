"""Scores of ReLU splits against each other, on robustness queries that bound propagation leaves open."""

from __future__ import annotations

import itertools

import click

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, distance
from advverify.verifier.bounds.branching import SCORES
from advverify.verifier.engines import ReluSplitOptions, Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .measure import median, table


@click.command("branching")
@click.option("--model", default="digits-deep", show_default=True, help="A network of the zoo.")
@click.option("--take", default=20, show_default=True, help="First test images.")
@click.option("--share", default=0.9, show_default=True, help="Radius, as a share of the best adversarial distance.")
@click.option("--timeout", default=30.0, show_default=True)
def command(model: str, take: int, share: float, timeout: float) -> None:
    """Nodes and seconds for each score, without neuron trees or MILPs beside the search."""
    network, data = Model(path_of(model)), load_dataset("digits")
    engines = ("propagate", "relu-split")
    queries = []
    for index in range(take):
        image, label = data.images[index], int(data.labels[index])
        upper = distance(network, image, label, Threat("inf"), engines=("falsify",)).bracket.upper
        queries.append((image, label, share * upper))
    rows = []
    for score, fsb_candidates in itertools.product(SCORES, (1, 3)):
        seconds, nodes, settled = [], 0, 0
        for image, label, eps in queries:
            settings = Settings(
                timeout=timeout, relu_split=ReluSplitOptions(score, fsb_candidates, intermediate_bounds=False)
            )
            outcome = certify(network, image, label, Threat("inf", eps), settings=settings, engines=engines)
            settled += outcome.verdict is not Verdict.UNKNOWN
            seconds.append(outcome.seconds)
            nodes += int(outcome.statistics.get("nodes", 0))
        rows.append([score, fsb_candidates, f"{settled}/{take}", median(seconds), f"{sum(seconds):.1f}", nodes])
    click.echo(table(["score", "compared", "settled", "median s", "total s", "nodes"], rows))

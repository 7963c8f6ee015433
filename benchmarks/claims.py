"""What a MILP solver claims of big-M programs of an image, what our own tree of LPs proves of it, and what is attained.

HiGHS 1.15.1 has been published to call 0.046142 optimal for MNIST test image 290 on `mnist_wk17a`, where 0.040950 is attained.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import click

from advverify.models.datasets import load_dataset
from advverify.verifier.api import Model, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, encode
from advverify.verifier.engines import Settings
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.specification import Threat, robustness

from .measure import table


@click.command("claims")
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="The ONNX file.")
@click.option("--data", required=True, help="digits, mnist:DIR, cifar10:DIR or npz:FILE.")
@click.option("--image", default=290, show_default=True)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds of each solve, and of each tree.")
def command(model: Path, data: str, image: int, timeout: float) -> None:
    """Minimal linf distortion of one image by HiGHS alone, in four forms."""
    opened, images = Model(model), load_dataset(data)
    x, label = images.images[image].ravel(), int(images.labels[image])
    known = distance(opened, x, label, Threat("inf"), settings=Settings(timeout=timeout, gap=1e-3)).bracket
    click.echo(f"by all engines: {known.lower:.6f} to {known.upper:.6f}", err=True)
    network = opened.network
    radius = min(known.upper * 1.2, 1.0)
    disjunct = robustness(x, label, Threat("inf", radius), network.output_size).disjuncts[0]
    bounds = crown(network, InputSet.from_regions([disjunct.region]))
    rows = []
    for name, presolve in itertools.product(("asymmetric", "symmetric"), (False, True)):
        form = Formulation(name)
        program = encode(network, bounds, disjunct.region, disjunct.unsafe, Objective.MIN_DISTORTION, form)
        result = Highs().solve(program, SolveOptions(time_limit=timeout, presolve=presolve))
        tree = LpTree(program).minimum(timeout, target=result.dual_bound)
        wrong = result.dual_bound > known.upper * (1 + 1e-6) or tree.bound > known.upper * (1 + 1e-6)
        rows.append(
            [
                name,
                "on" if presolve else "off",
                program.binaries,
                result.status.name.lower(),
                f"{result.objective:.6f}",
                f"{result.dual_bound:.6f}",
                f"{tree.bound:.6f}",
                "yes" if wrong else "no",
            ]
        )
    header = ["big-M", "presolve", "binaries", "status", "objective", "claimed bound", "proved by the tree", "wrong"]
    click.echo(table(header, rows))

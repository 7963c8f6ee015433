"""`advverify export-mip`: a query as a file for any MIP solver."""

from __future__ import annotations

from pathlib import Path

import click

from advverify.verifier.errors import InvalidInput

from ..options import data_for, images_from, model_path, norm_option


@click.command("export-mip")
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@norm_option()
@click.option("--eps", type=float, required=True, help="Radius that the big-M bounds are computed for.")
@click.option(
    "--objective", type=click.Choice(["feasibility", "min_distortion", "max_margin"]), default="min_distortion"
)
@click.option("--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the model's own].")
@click.option("--images", default="0", show_default=True, help="One image.")
@click.option("--target", type=int, default=None, help="Only this class counts as adversarial.")
def command(
    model: str, output: Path, norm: str, eps: float, objective: str, data: str | None, images: str, target: int | None
) -> int:
    """Write the mixed-integer program of one image of MODEL to OUTPUT (.mps or .lp)."""
    from advverify.verifier.api import Model
    from advverify.verifier.bounds import InputSet, crown
    from advverify.verifier.encoding import encode
    from advverify.verifier.query import Objective
    from advverify.verifier.solvers.pulp import write_file
    from advverify.verifier.specification import Threat, robustness

    threat = Threat(norm, eps, target=target)
    if norm == "2" and objective != "min_distortion":
        raise InvalidInput("a ball of norm 2 is no linear constraint: with --norm 2 only min_distortion can be written")
    loaded = Model(model_path(model))
    network = loaded.network
    images_of = data_for(loaded, data)
    index = images_from(images, len(images_of))[0]
    image, label = images_of.images[index], int(images_of.labels[index])
    disjunct = robustness(image, label, threat, network.output_size).disjuncts[0]
    bounds = crown(network, InputSet.from_regions([disjunct.region]))
    program = encode(network, bounds, disjunct.region, disjunct.unsafe, Objective(objective))
    try:
        write_file(program, output)
    except OSError as error:
        raise InvalidInput(f"{output}: cannot be written ({error.strerror})") from error
    rows, columns = program.matrix.shape
    click.echo(f"{output}: {rows} rows, {columns} columns, {program.binaries} binaries")
    return 0

"""`advverify distance`: how far is the nearest adversarial example?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput

from ..images import Task, model_of, run_images
from ..options import query_options

if TYPE_CHECKING:
    from advverify.verifier.outcome import Outcome


def ask(task: Task) -> Outcome:
    """Bracket the distance of one image (runs in worker processes too)."""
    from advverify.verifier.api import distance

    path, image, label, options = task
    return distance(model_of(path), image, label, **options)


@click.command("distance")
@query_options
@click.option("--eps", type=float, default=None, help="Largest radius of interest [default: none].")
def command(eps: float | None, **options: Any) -> int:
    """How far is the nearest adversarial example of each image of MODEL (a path or zoo:NAME)?

    Shows a bracket: the lower side is proved, the upper side is an input that the ONNX file misclassifies.
    """
    if eps is not None and (math.isnan(eps) or eps < 0):
        raise InvalidInput(f"--eps must be a number >= 0, got {eps:g}")
    options["extra"] = {"limit": math.inf if eps is None else eps}
    return run_images(options, ask, f"distance {{model}}, norm {options['norm']}", distances=True)

"""`advverify certify`: is there an adversarial example within eps?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput

from ..images import Task, model_of, run_images
from ..options import query_options

if TYPE_CHECKING:
    from advverify.verifier.outcome import Outcome


def ask(task: Task) -> Outcome:
    """Certify one image (runs in worker processes too)."""
    from advverify.verifier.api import certify

    path, image, label, options = task
    return certify(model_of(path), image, label, **options)


def ask_all(tasks: list[Task], rest: bool) -> Iterator[tuple[int, Outcome]]:
    """Certify what can be settled side by side, and the rest if asked to."""
    from advverify.verifier.api import certify_all

    path, _, _, options = tasks[0]
    asked = {k: v for k, v in options.items() if k not in ("executed", "exact_margin")}
    images, labels = [task[1] for task in tasks], [task[2] for task in tasks]
    yield from certify_all(model_of(path), images, labels, rest=rest, **asked)


@click.command("certify")
@query_options
@click.option("--eps", type=float, required=True, help="Radius of the ball around each image.")
@click.option("--exact-margin", is_flag=True, help="Close the bracket of the worst margin instead of its sign only.")
def command(eps: float, exact_margin: bool, **options: Any) -> int:
    """Is each image of MODEL (a path or zoo:NAME) robust within --eps?

    Margins are max(C y - d) over the worst input: robust when the lower one is above 0.
    """
    if math.isnan(eps) or eps < 0:
        raise InvalidInput(f"--eps must be a number >= 0, got {eps:g}")
    options["extra"] = {"eps": eps, "exact_margin": exact_margin}
    title = f"certify {{model}}, norm {options['norm']}, eps {eps:g}"
    alone = exact_margin or options["float32"] or options["proofs"] is not None  # more than a verdict is asked for
    return run_images(options, ask, title, distances=False, first=None if alone else ask_all)

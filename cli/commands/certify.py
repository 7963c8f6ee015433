"""`advverify certify`: is there an adversarial example within eps?"""

from __future__ import annotations

from typing import Any

import click

from ..help import Command
from ..images import run_images
from ..search import query_options


@click.command("certify", cls=Command)
@query_options
@click.option("--eps", type=float, required=True, help="Radius of the ball around each image.")
@click.option("--exact-margin", is_flag=True, help="Close the bracket of the worst margin instead of its sign only.")
def command(exact_margin: bool, **options: Any) -> int:
    """Is each image of MODEL (a path or zoo:NAME) robust within --eps?

    A margin is the least of y_label - y_other, plus --margin, over the ball and the other classes: above 0 the image is
    robust, below 0 it is not. It lies between the two that are shown; the upper one is that of an input that was executed.
    """
    return run_images("certify", options, exact_margin)

"""`advverify certify`: is there an adversarial example within eps?"""

from __future__ import annotations

from typing import Any

import click

from ..images import run_images
from ..search import query_options


@click.command("certify")
@query_options
@click.option("--eps", type=float, required=True, help="Radius of the ball around each image.")
@click.option("--exact-margin", is_flag=True, help="Close the bracket of the worst margin instead of its sign only.")
def command(exact_margin: bool, **options: Any) -> int:
    """Is each image of MODEL (a path or zoo:NAME) robust within --eps?

    Margins are max(C y - d) over the worst input: robust when the lower one is above 0.
    """
    return run_images("certify", options, exact_margin)

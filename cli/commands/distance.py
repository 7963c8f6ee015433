"""`advverify distance`: how far is the nearest adversarial example?"""

from __future__ import annotations

from typing import Any

import click

from ..help import Command
from ..images import run_images
from ..search import query_options


@click.command("distance", cls=Command)
@query_options
@click.option("--eps", type=float, default=None, help="Largest radius of interest [default: none].")
def command(**options: Any) -> int:
    """How far is the nearest adversarial example of each image of MODEL (a path or zoo:NAME)?

    Shows a bracket: the lower side is proved, the upper side is an input that the ONNX file misclassifies.
    """
    return run_images("distance", options)

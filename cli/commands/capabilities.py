"""`advverify capabilities`: what `verify` supports, in the words of the VNN-LIB 2.1 standard command line."""

from __future__ import annotations

import json

import click

from ..help import Command


@click.command("capabilities", cls=Command)
def command() -> int:
    """Print, as JSON, the theory, operators and formats that verify supports."""
    from advverify.verifier.network.onnx_ops import READERS

    click.echo(
        json.dumps(
            {
                "vnnlib-versions": ["1.0", "2.0"],
                "theory": "QF_LRA",
                "networks": 1,
                "element-types": ["float32", "float64", "Real"],
                "onnx-operators": sorted([*READERS, "Constant"]),
                "answers": ["sat", "unsat", "unknown", "timed-out"],
            },
            indent=2,
        )
    )
    return 0

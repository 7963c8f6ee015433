"""`advverify check`: is a proof valid for a model?"""

from __future__ import annotations

from pathlib import Path

import click

from advverify.verifier.errors import InvalidInput

from ..options import model_path


@click.command("check")
@click.argument("proof", type=click.Path(path_type=Path))
@click.argument("model")
def command(proof: Path, model: str) -> int:
    """Check PROOF against MODEL (a path or zoo:NAME) without trusting whoever wrote it.

    Exit status 0 only for a valid proof, 1 for one that is not. The checker reads the weights from the ONNX file itself
    and needs numpy and onnx only.
    """
    from advverify.verifier.proof.checker import Rejected, check

    path = model_path(model)
    for file in (proof, path):
        if not file.is_file():
            raise InvalidInput(f"{file}: no such file")
    try:
        report = check(proof, path)
    except Rejected as error:
        click.echo(f"not valid: {error}")
        return 1
    click.echo(f"valid: {report.statement} ({report.leaves} leaves, {report.lemmas} lemmas)")
    return 0

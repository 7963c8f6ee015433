"""`advverify info`: what a network is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from ..completion import MODEL
from ..help import Command
from ..options import model_path
from ..table import Column, console, show

if TYPE_CHECKING:
    from advverify.verifier.network.nodes import Network


@click.command("info", cls=Command)
@click.argument("model", type=MODEL)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def command(model: str, as_json: bool) -> int:
    """Layers, ReLUs, notes and data card of MODEL (a path or zoo:NAME)."""
    from advverify.verifier.network.nodes import Affine, predecessors
    from advverify.verifier.network.onnx_reader import read_onnx

    network = read_onnx(model_path(model))
    if as_json:
        from advverify.verifier.outcome import finite

        click.echo(json.dumps(finite(_record(model, network)), allow_nan=False))
        return 0
    columns = [Column("node"), Column("kind", word=True), Column("size"), Column("reads", word=True)]
    columns.append(Column("operators", text=True))
    rows = []
    for i, node in enumerate(network.nodes):
        kinds = ", ".join(type(o).__name__ for o in node.operators) if isinstance(node, Affine) else ""
        reads = ", ".join(map(str, predecessors(node)))
        rows.append([str(i), type(node).__name__, str(node.size), reads, kinds])
    screen = console()
    show(screen, columns, rows, f"{model}  sha256 {network.sha256[:16]}")
    screen.print(
        f"input {list(network.input_shape)}, {network.output_size} outputs, "
        f"{network.relu_count} ReLUs" + (", max pooling" if network.has_max else "") + f", {network.input_dtype}"
    )
    for key, value in network.metadata:
        screen.print(f"{key}: {value}", markup=False)
    for note in network.notes:
        screen.print(f"note: {note}", style="yellow", markup=False)
    return 0


def _record(model: str, network: Network) -> dict[str, Any]:
    """What the tables show, as plain values."""
    from advverify.verifier.network.nodes import Affine, predecessors

    nodes = [
        {
            "kind": type(node).__name__,
            "size": node.size,
            "reads": list(predecessors(node)),
            "operators": [type(o).__name__ for o in node.operators] if isinstance(node, Affine) else [],
        }
        for node in network.nodes
    ]
    record = {"schema": 1, "model": model, "model_sha256": network.sha256, "input_shape": list(network.input_shape)}
    record |= {"outputs": network.output_size, "relus": network.relu_count, "max_pooling": network.has_max}
    record |= {"input_dtype": str(network.input_dtype), "nodes": nodes, "notes": list(network.notes)}
    return record | {"card": dict(network.metadata)}

"""`advverify info`: what a network is made of."""

from __future__ import annotations

import click

from ..help import Command
from ..options import model_path
from ..table import Column, console, show


@click.command("info", cls=Command)
@click.argument("model")
def command(model: str) -> int:
    """Layers, ReLUs, notes and data card of MODEL (a path or zoo:NAME)."""
    from advverify.verifier.network.nodes import Affine, predecessors
    from advverify.verifier.network.onnx_reader import read_onnx

    network = read_onnx(model_path(model))
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

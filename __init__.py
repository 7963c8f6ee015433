"""advverify says how far an input is from its nearest adversarial example, exactly and with evidence.

    import advverify

    outcomes = advverify.certify(module, images, labels, norm="inf", eps=0.05, timeout=10)
    outcomes.summary(), outcomes[0].verdict, outcomes[0].adversarial
    advverify.distance(module, images[0], labels[0], norm=2)     # lower <= d* <= upper

A model is a `torch.nn.Module`, an `onnx.ModelProto`, the path of an ONNX file, "zoo:NAME", or what `open_model` gave; images are
numpy or torch, one or a batch, in the model's own units. docs/python.md begins at the beginning, and every function's docstring has
an example.

Calls: `certify`, `distance`, `verify`, `attack`; answer by answer `certify_all`, `distance_all`; `open_model`, `export`; of
mixed-integer programs `export_mip` and `solvers`.
Several networks: `compare`, `study`, `geometry`; for users of foolbox `ExactDistance`. Thousands of queries: `batch.run` and its like, `report`, `gap`.
Results: `Outcome` with its `Verdict`, `Outcomes` of a batch. Options as values: `Threat`, `Settings`, `MilpOptions`,
`ReluSplitOptions`. Errors are `AdvverifyError` and its kinds; Ctrl-C raises `Interrupted` or `BatchInterrupted`, which keep what is
proved.

The names are loaded on first use, so that importing the package does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advverify.cli.python import batch as batch
    from advverify.cli.python.adapters import ExactDistance as ExactDistance
    from advverify.cli.python.attacking import attack as attack
    from advverify.cli.python.calls import certify as certify
    from advverify.cli.python.calls import certify_all as certify_all
    from advverify.cli.python.calls import distance as distance
    from advverify.cli.python.calls import distance_all as distance_all
    from advverify.cli.python.calls import verify as verify
    from advverify.cli.python.exporting import export as export
    from advverify.cli.python.opening import open_model as open_model
    from advverify.cli.python.outcomes import BatchInterrupted as BatchInterrupted
    from advverify.cli.python.outcomes import Outcomes as Outcomes
    from advverify.cli.python.programs import export_mip as export_mip
    from advverify.cli.python.reports import gap as gap
    from advverify.cli.python.reports import report as report
    from advverify.cli.python.solvers import solvers as solvers
    from advverify.cli.python.studies import compare as compare
    from advverify.cli.python.studies import geometry as geometry
    from advverify.cli.python.studies import study as study
    from advverify.cli.studying import Study as Study
    from advverify.verifier.api import Interrupted as Interrupted
    from advverify.verifier.api import Model as Model
    from advverify.verifier.engines import MilpOptions as MilpOptions
    from advverify.verifier.engines import ReluSplitOptions as ReluSplitOptions
    from advverify.verifier.engines import Settings as Settings
    from advverify.verifier.errors import AdvverifyError as AdvverifyError
    from advverify.verifier.network.onnx_reader import read_onnx as read_onnx
    from advverify.verifier.outcome import Outcome as Outcome
    from advverify.verifier.outcome import Verdict as Verdict
    from advverify.verifier.specification import Threat as Threat

__version__ = "0.1.0"

_PUBLIC = {
    "AdvverifyError": "advverify.verifier.errors",
    "BatchInterrupted": "advverify.cli.python.outcomes",
    "ExactDistance": "advverify.cli.python.adapters",
    "Interrupted": "advverify.verifier.api",
    "MilpOptions": "advverify.verifier.engines",
    "Model": "advverify.verifier.api",
    "Outcome": "advverify.verifier.outcome",
    "Outcomes": "advverify.cli.python.outcomes",
    "ReluSplitOptions": "advverify.verifier.engines",
    "Settings": "advverify.verifier.engines",
    "Study": "advverify.cli.studying",
    "Threat": "advverify.verifier.specification",
    "Verdict": "advverify.verifier.outcome",
    "attack": "advverify.cli.python.attacking",
    "certify": "advverify.cli.python.calls",
    "certify_all": "advverify.cli.python.calls",
    "compare": "advverify.cli.python.studies",
    "distance": "advverify.cli.python.calls",
    "distance_all": "advverify.cli.python.calls",
    "export": "advverify.cli.python.exporting",
    "export_mip": "advverify.cli.python.programs",
    "gap": "advverify.cli.python.reports",
    "geometry": "advverify.cli.python.studies",
    "open_model": "advverify.cli.python.opening",
    "read_onnx": "advverify.verifier.network.onnx_reader",
    "report": "advverify.cli.python.reports",
    "solvers": "advverify.cli.python.solvers",
    "study": "advverify.cli.python.studies",
    "verify": "advverify.cli.python.calls",
}
__all__ = [
    "AdvverifyError",
    "BatchInterrupted",
    "ExactDistance",
    "Interrupted",
    "MilpOptions",
    "Model",
    "Outcome",
    "Outcomes",
    "ReluSplitOptions",
    "Settings",
    "Study",
    "Threat",
    "Verdict",
    "__version__",
    "attack",
    "batch",
    "certify",
    "certify_all",
    "compare",
    "distance",
    "distance_all",
    "export",
    "export_mip",
    "gap",
    "geometry",
    "open_model",
    "read_onnx",
    "report",
    "solvers",
    "study",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name == "batch":
        return import_module("advverify.cli.python.batch")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'advverify' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

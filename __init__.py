"""advverify: how far is this input from the nearest adversarial example, exactly and with evidence?

The public names below are loaded on first use, so that `advverify --help` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from advverify.verifier.api import Model as Model
    from advverify.verifier.api import certify as certify
    from advverify.verifier.api import certify_all as certify_all
    from advverify.verifier.api import distance as distance
    from advverify.verifier.api import verify as verify
    from advverify.verifier.engines import MilpOptions as MilpOptions
    from advverify.verifier.engines import ReluSplitOptions as ReluSplitOptions
    from advverify.verifier.engines import Settings as Settings
    from advverify.verifier.network.onnx_reader import read_onnx as read_onnx
    from advverify.verifier.specification import Threat as Threat

__version__ = "0.1.0"

_PUBLIC = {
    "MilpOptions": "advverify.verifier.engines",
    "Model": "advverify.verifier.api",
    "ReluSplitOptions": "advverify.verifier.engines",
    "Settings": "advverify.verifier.engines",
    "Threat": "advverify.verifier.specification",
    "certify": "advverify.verifier.api",
    "certify_all": "advverify.verifier.api",
    "distance": "advverify.verifier.api",
    "verify": "advverify.verifier.api",
    "read_onnx": "advverify.verifier.network.onnx_reader",
}
__all__ = [
    "MilpOptions",
    "Model",
    "ReluSplitOptions",
    "Settings",
    "Threat",
    "__version__",
    "certify",
    "certify_all",
    "distance",
    "read_onnx",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'advverify' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

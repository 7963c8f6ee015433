"""Terms that training adds to its loss; one file each, one line in `DEFENCES`. A recipe may combine any of them.

What changes the images instead (adversarial training) is `adversary`, and what replaces the loss by a proved worst case
is `certified`.
"""

from __future__ import annotations

from importlib import import_module

from .base import Defence, Step

DEFENCES = {
    "contrastive": "contrastive:Contrastive",
    "cure": "cure:Cure",
    "jacobian": "jacobian:Jacobian",
    "l1": "sparsity:L1",
    "large-margin": "large_margin:LargeMargin",
    "local-linearity": "local_linearity:LocalLinearity",
    "relu-stability": "relu_stability:ReluStability",
    "smoothness": "smoothness:Smoothness",
    "spectral": "spectral:Spectral",
}

__all__ = ["DEFENCES", "Defence", "Step", "defence_type"]


def defence_type(name: str) -> type[Defence]:
    """The class of a defence in the table."""
    module, attribute = DEFENCES[name].split(":")
    found: type[Defence] = getattr(import_module(f".{module}", __package__), attribute)
    return found

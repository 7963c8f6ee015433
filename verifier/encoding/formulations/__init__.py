"""Formulations of the ReLU: one file each, one line in `FORMULATIONS`, from the weakest relaxation to the strongest.

All have a binary a, the phase, for every ReLU that is written with one: a = 1 makes the neuron active, a = 0 inactive, so that
a program whose phases are fixed is the network's cell. Over the same bounds the LP relaxations of the table's lines are
ordered, `partition-N` by any N that divides the next one; `ideal_relu` adds to each what the box of inputs allows, as cuts.

LeakyReLU, Abs, Clip and their like are sums of ReLUs before they come here (`network.activations`), for LeakyReLU at no loss;
maxima have one formulation (`piecewise_linear.encode_max`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module

from ...errors import InvalidInput, no_such
from .base import Neurons, ReluFormulation

FORMULATIONS = {
    "symmetric": "symmetric:Symmetric",
    "asymmetric": "asymmetric:Asymmetric",
    "partition-N": "partition:Partition",
    "extended": "extended:Extended",
}

__all__ = ["FORMULATIONS", "Formulation", "Neurons", "ReluFormulation", "get_formulation"]


@dataclass(frozen=True)
class Formulation:
    """A formulation says how ReLUs are written.

    Attributes:
        name: one of `FORMULATIONS`, with a number for N.
        fix_stable: give no binary to ReLUs whose bounds have one sign (ablation when False).
        substitute: give them no column either, where that keeps the program small (`encoding.substitution`).

    Raises:
        InvalidInput: there is no such formulation.
    """

    name: str = "asymmetric"
    fix_stable: bool = True
    substitute: bool = False

    def __post_init__(self) -> None:
        """Refuse names that the table does not know."""
        get_formulation(self.name)

    def __str__(self) -> str:
        """In words."""
        if not self.fix_stable:
            return f"{self.name}, binaries for stable ReLUs"
        return f"{self.name}, stable ReLUs substituted" if self.substitute else self.name


def get_formulation(name: str) -> ReluFormulation:
    """The formulation called `name`; the number of `partition-4` is what its class is made with.

    Raises:
        InvalidInput: there is no such formulation.
    """
    numbered = re.fullmatch(r"(.+)-([1-9][0-9]{0,8})", str(name))
    key = f"{numbered[1]}-N" if numbered else str(name)
    if key not in FORMULATIONS or (numbered is None and key.endswith("-N")):
        if re.match(r".+-", str(name)) and f"{str(name).partition('-')[0]}-N" in FORMULATIONS:
            family = str(name).partition("-")[0]
            raise InvalidInput(
                f"unknown formulation '{name}': {family}-N takes a whole number from 1, as {family}-4 does"
            )
        raise no_such("formulation", str(name), FORMULATIONS)
    module, attribute = FORMULATIONS[key].split(":")
    kind = getattr(import_module(f".{module}", __package__), attribute)
    formulation: ReluFormulation = kind(int(numbered[2])) if numbered else kind()
    return formulation

"""From (network, bounds, region, unsafe set, objective) to a mixed-integer program, and back from its points to inputs."""

from .encode import Formulation, encode
from .program import ColumnMap, MixedIntegerProgram

__all__ = ["ColumnMap", "Formulation", "MixedIntegerProgram", "encode"]

"""From (network, bounds, region, unsafe set, objective) to a mixed-integer program, and back from its points to inputs."""

from .ball import QuadraticBall
from .encode import encode
from .formulations import FORMULATIONS, Formulation
from .program import ColumnMap, MixedIntegerProgram
from .substitution import fitted

__all__ = ["FORMULATIONS", "ColumnMap", "Formulation", "MixedIntegerProgram", "QuadraticBall", "encode", "fitted"]

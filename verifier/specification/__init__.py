"""What is asked: input regions, unsafe output sets, robustness as sugar, and the VNN-LIB languages."""

from .region import NormBall, Region
from .robustness import robustness
from .specification import Disjunct, Polytope, Specification, stack_polytopes
from .threat import Threat

__all__ = ["Disjunct", "NormBall", "Polytope", "Region", "Specification", "Threat", "robustness", "stack_polytopes"]

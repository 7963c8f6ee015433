"""Linear maps that are never blown up into dense matrices; one file each.

Every operator maps flat vectors to flat vectors (any number of leading batch dimensions) and knows its adjoint,
its entrywise absolute value and its sparse matrix.
"""

from .base import Compose, Operator, Transposed
from .conv2d import Conv2d
from .dense import Dense
from .mean import MeanAxes
from .scale import Scale
from .select import Select

__all__ = ["Compose", "Conv2d", "Dense", "MeanAxes", "Operator", "Scale", "Select", "Transposed"]

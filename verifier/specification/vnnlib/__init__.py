"""VNN-LIB 1.0 as VNN-COMP uses it, and the declarations of 2.0: text -> syntax tree -> `Specification`."""

from .compile import Facts, Property, read_vnnlib
from .syntax import OutOfTime

__all__ = ["Facts", "OutOfTime", "Property", "read_vnnlib"]

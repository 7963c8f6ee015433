"""VNN-LIB 1.0 as VNN-COMP uses it, and the declarations of 2.0: text -> syntax tree -> `Specification`."""

from .compile import read_vnnlib

__all__ = ["read_vnnlib"]

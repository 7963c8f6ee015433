"""Bounds of intermediate neurons from solves (OBBT), where those of `bounds` leave something to be gained.

Tjeng, Xiao & Tedrake, "Evaluating robustness of neural networks with mixed integer programming", ICLR 2019, section 4.
alpha-CROWN finds the bounds of LPs over a region at a hundredth of the cost, so what a solver adds is what alpha-CROWN
cannot see: that only unsafe inputs are of interest, and integrality.
"""

from .solves import tighten

__all__ = ["tighten"]

"""`python -m benchmarks ablation`: formulations and solvers on one question an image, inside the ball that an attack leaves.

`encodings` starts from all of [0, 1]^n, where hardly a ReLU is stable. Nobody hands such a program to a solver: an attack comes first, and
its distance is the radius of the ball that is left to be searched. Here every variant gets that ball, the same bounds and the same class.
"""

from .command import command

__all__ = ["command"]

"""Attacks: searches for inputs that violate a specification. One file each, one line in `ATTACKS`.

An attack only proposes points. `base.run` re-evaluates every one of them, and no point counts as a counterexample
before the original ONNX file has agreed (`engines.falsify`).
"""

from .base import AttackProblem, AttackResult, Problem, run

ATTACKS = {
    "fgsm": "fgsm:Fgsm",
    "noise": "noise:Noise",
    "pgd": "pgd:Pgd",
    "greedy-l0": "greedy_l0:GreedyL0",
}

__all__ = ["ATTACKS", "AttackProblem", "AttackResult", "Problem", "run"]

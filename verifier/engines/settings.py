"""Options of a run: limits that hold for all of it, and what belongs to one method."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from ..bounds.branching import SCORES
from ..errors import InvalidInput, no_such

Tighten = Literal["none", "lp", "mip"]
Targets = Literal["joint", "separate"]
Cuts = Literal["none", "root"]

_SEEDS = 2**63


@dataclass(frozen=True)
class MilpOptions:
    """Options of the MILP engine; `engines.READERS` says which engines read which.

    Attributes:
        solver: back end, one of `solvers.SOLVERS`; whether it is installed is looked at by the call that may need it.
        formulation: of the ReLUs, one of `encoding.FORMULATIONS` with a number for N: "asymmetric", "partition-4".
        fix_stable: give no binary to stable ReLUs (ablation when False).
        substitute: give them no column either, where that keeps the program small (ablation when False).
        tighten: bounds from solves before a MILP, "none", "lp" (relaxations) or "mip" (see `tightening`).
        targets: one MILP a target ("separate"), or one over all of them ("joint").
        cuts: rows of ideal ReLU formulations (see `encoding.ideal_relu`): "none", or separated at the "root".

    Raises:
        InvalidInput: a name that its table does not have, or a switch that is neither True nor False.
    """

    solver: str = "highs"
    formulation: str = "asymmetric"
    fix_stable: bool = True
    substitute: bool = True
    tighten: Tighten = "lp"
    targets: Targets = "separate"
    cuts: Cuts = "root"

    def __post_init__(self) -> None:
        """Refuse names that no table knows."""
        for kind, name, known in (
            ("tighten", self.tighten, Tighten),
            ("targets", self.targets, Targets),
            ("cuts", self.cuts, Cuts),
        ):
            if name not in get_args(known):
                raise no_such(kind, name, get_args(known))
        for kind, switch in (("fix_stable", self.fix_stable), ("substitute", self.substitute)):
            if not isinstance(switch, bool):
                raise InvalidInput(f"{kind} must be True or False, got {switch!r}")
        # Most runs end without a program: the modules of programs and solvers are not imported for them.
        if self.formulation != "asymmetric":
            from ..encoding import Formulation

            Formulation(self.formulation)
        if self.solver != "highs":
            from ..solvers import SOLVERS

            if self.solver not in tuple(SOLVERS):
                raise no_such("solver", self.solver, SOLVERS)


@dataclass(frozen=True)
class ReluSplitOptions:
    """Options of branch and bound over ReLU phases.

    Attributes:
        branching: score of ReLU splits, one of `bounds.branching.SCORES`.
        fsb_candidates: so many of the ReLUs of highest score are compared by cheap bounds of both children before a split (De
            Palma et al., "Improved Branch and Bound for Neural Network Verification via Lagrangian Decomposition", 2021).
        beta_steps: ascent steps for each domain.
        intermediate_bounds: bound intermediate neurons harder before the tree starts (ablation when False).

    Raises:
        InvalidInput: there is no such branching score, or a number is too small.
    """

    branching: str = "auto"
    fsb_candidates: int = 1
    beta_steps: int = 8
    intermediate_bounds: bool = True

    def __post_init__(self) -> None:
        """Refuse names that no table knows."""
        if self.branching not in SCORES:
            raise no_such("branching score", self.branching, SCORES)
        for kind, number in (("fsb_candidates", self.fsb_candidates), ("beta_steps", self.beta_steps)):
            if number < 1:
                raise InvalidInput(f"{kind} must be a whole number from 1, got {number}")


_REAL, _WHOLE = (int, float, np.integer, np.floating), (int, np.integer)
_TYPES: tuple[tuple[str, tuple[type, ...], str], ...] = (
    ("timeout", _REAL, "a number of seconds above 0"),
    ("gap", _REAL, "a number between 0 and 1"),
    ("threads", _WHOLE, "a whole number from 1"),
    ("seed", _WHOLE, "a whole number from 0"),
    ("device", (str,), "cpu or cuda"),
    ("proofs", (Path, type(None)), "a pathlib.Path or None"),
    ("proof_seconds", (*_REAL, type(None)), "a number of seconds above 0, or None"),
    ("milp", (MilpOptions,), "MilpOptions"),
    ("relu_split", (ReluSplitOptions,), "ReluSplitOptions"),
)


def check_gpu(device: str) -> None:
    """Refuse a GPU that is not here; settings themselves may be for workers that have one.

    Raises:
        InvalidInput: torch finds none.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise InvalidInput(f"device {device}: torch finds no GPU here; use cpu")


@dataclass(frozen=True)
class Settings:
    """Options of a run that cannot change a verdict, only how soon it comes.

    Attributes:
        timeout: seconds for the query.
        gap: relative gap at which a bracket counts as closed.
        threads: of torch and of solvers; ReLU trees take as many processes instead where they can (Linux).
        seed: of attacks and solvers.
        device: where attacks and bound propagation look at a query first; trees, LPs and MILPs stay on the CPU.
        proofs: folder for proofs; none are written without it.
        proof_seconds: limit for finding one, on top of `timeout`; as long as `timeout` where None.
        milp: of the MILP engine.
        relu_split: of branch and bound over ReLU phases.

    Raises:
        InvalidInput: a limit that makes no sense.
    """

    timeout: float = 60.0
    gap: float = 1e-4
    threads: int = 2
    seed: int = 0
    device: str = "cpu"
    proofs: Path | None = None
    proof_seconds: float | None = None
    milp: MilpOptions = field(default_factory=MilpOptions)
    relu_split: ReluSplitOptions = field(default_factory=ReluSplitOptions)

    def __post_init__(self) -> None:
        """Refuse limits that would only fail, or never end, once a search is under way."""
        for name, wanted, words in _TYPES:
            if not isinstance(getattr(self, name), wanted) or isinstance(getattr(self, name), bool):
                raise InvalidInput(f"{name} must be {words}, got {getattr(self, name)!r}")
        try:
            torch.device(self.device)
        except RuntimeError:
            raise InvalidInput(f"device must be cpu or cuda, got '{self.device}'") from None
        for name, seconds in (("timeout", self.timeout), ("proof_seconds", self.proof_seconds)):
            if seconds is not None and (math.isnan(seconds) or seconds <= 0):
                raise InvalidInput(f"{name} must be a number of seconds above 0, got {seconds:g}")
        if not 0 < self.gap < 1:
            raise InvalidInput(f"gap must be above 0 and below 1, got {self.gap:g}")
        if self.threads < 1:
            raise InvalidInput(f"threads must be a whole number from 1, got {self.threads}")
        if not 0 <= self.seed < _SEEDS:
            raise InvalidInput(f"seed must be a whole number from 0 to 2^63 - 1, got {self.seed}")

"""Options of a run: limits that hold for all of it, and what belongs to one method."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from ..bounds.branching import SCORES
from ..errors import InvalidInput

Solves = Literal["none", "lp", "mip"]


@dataclass(frozen=True)
class MilpOptions:
    """Options of the MILP engine.

    Attributes:
        solver: back end, one of `solvers.SOLVERS`.
        symmetric: symmetric big-M (ablation).
        fix_stable: leave out binaries of stable ReLUs (ablation when False).
        obbt: bounds from solves before a MILP, "none", "lp" or "mip" (see `tightening`).
        cuts: separate rows of ideal ReLU formulations at the root.
        all_targets: one MILP over all targets instead of one MILP a target.

    Raises:
        InvalidInput: there is no such kind of solves.
    """

    solver: str = "highs"
    symmetric: bool = False
    fix_stable: bool = True
    obbt: Solves = "lp"
    cuts: bool = True
    all_targets: bool = False

    def __post_init__(self) -> None:
        """Refuse names that no table knows."""
        if self.obbt not in get_args(Solves):
            raise InvalidInput(f"unknown bounds from solves '{self.obbt}': choose among {', '.join(get_args(Solves))}")


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
        InvalidInput: there is no such branching score.
    """

    branching: str = "auto"
    fsb_candidates: int = 1
    beta_steps: int = 8
    intermediate_bounds: bool = True

    def __post_init__(self) -> None:
        """Refuse names that no table knows."""
        if self.branching not in SCORES:
            raise InvalidInput(f"unknown branching score '{self.branching}': choose among {', '.join(SCORES)}")


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

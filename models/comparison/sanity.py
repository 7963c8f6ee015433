"""Does an evaluation of robustness make sense? The signs of masked gradients and of broken attacks, checked by rule.

Athalye et al., ICML 2018; Carlini et al., "On evaluating adversarial robustness", 2019. Where a radius is proved, an attack
that succeeds inside it, or a "certificate" beyond a known adversarial example, is a bug in one of the two. Brackets that
are open, and tests that they leave undecided, are named too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .statistics import LEVEL, Range, decision

_STRENGTH = {"noise": 0, "square": 0, "fgsm": 1, "bim": 2, "pgd": 2}
BLACK_BOX = ("noise", "square")


@dataclass(frozen=True)
class Evaluation:
    """Robust accuracy (share) of a network under an attack on `count` images; `clean` on the same images."""

    network: str
    attack: str
    norm: str
    eps: float
    robust: float
    clean: float
    count: int

    @property
    def tolerance(self) -> float:
        """What randomness of an attack may account for: one image in a hundred, at least one image."""
        return max(0.01, 1.0 / max(self.count, 1)) + 1e-9


def lint(evaluations: Sequence[Evaluation]) -> list[str]:
    """One line for everything that is off; empty when all is well."""
    found = []
    for e in evaluations:
        where = f"{e.network}, {e.attack}, norm {e.norm}, eps {e.eps:g}"
        if e.robust > e.clean + 1e-9:
            found.append(f"{where}: robust accuracy {_p(e.robust)} is above clean accuracy {_p(e.clean)}")
        if e.eps >= 1 and e.norm == "inf" and e.attack not in BLACK_BOX and e.robust > e.tolerance:
            found.append(f"{where}: {_p(e.robust)} survive although the whole input range is allowed")
    for a in evaluations:
        for b in evaluations:
            if (a.network, a.norm) != (b.network, b.norm):
                continue
            margin = max(a.tolerance, b.tolerance)
            if a.attack == b.attack and a.eps < b.eps and b.robust > a.robust + margin:
                found.append(
                    f"{a.network}, {a.attack}: more images survive eps {b.eps:g} ({_p(b.robust)}) than {a.eps:g} "
                    f"({_p(a.robust)})"
                )
            if a.eps == b.eps and _STRENGTH[a.attack] < _STRENGTH[b.attack] and b.robust > a.robust + margin:
                weaker = "black-box" if a.attack in BLACK_BOX else "one-step"
                found.append(
                    f"{a.network}, eps {a.eps:g}: the {weaker} attack {a.attack} ({_p(a.robust)} survive) is stronger than "
                    f"{b.attack} ({_p(b.robust)}): masked gradients, or {b.attack} is broken"
                )
    return found


def lint_bounds(
    network: str, image: int, lower: float, upper: float, fooled_at: Sequence[float], certificate: float | None
) -> list[str]:
    """Contradictions between a proved bracket of one image, the radii at which attacks succeeded, and a certificate."""
    found = []
    if lower > upper:
        found.append(f"{network}, image {image}: lower side {lower:g} above upper side {upper:g}")
    inside = [eps for eps in fooled_at if eps < lower]
    if inside:
        found.append(f"{network}, image {image}: an attack succeeds at {min(inside):g}, inside the proved {lower:g}")
    if certificate is not None and certificate > upper:
        found.append(f"{network}, image {image}: Lipschitz certificate {certificate:g} above upper side {upper:g}")
    return found


def lint_open(counts: Sequence[tuple[str, int, int]], gap: float) -> list[str]:
    """One line about the networks whose brackets are not all closed: (name, open, all)."""
    left = [f"{name} {some} of {every}" for name, some, every in counts if some]
    if not left:
        return []
    return [f"brackets open (not closed to {_p(gap)}): {', '.join(left)}; what rests on them is a range"]


def lint_undecided(what: str, tests: Mapping[str, Range]) -> list[str]:
    """One line about the tests whose p values lie on both sides of the level, whatever else is known."""
    left = [name for name, p in tests.items() if decision(p) == "undecided"]
    return [f"{what}: undecided at {LEVEL:g}: {', '.join(left)}; more time may close the brackets"] if left else []


def _p(share: float) -> str:
    return f"{100 * share:.1f} %"

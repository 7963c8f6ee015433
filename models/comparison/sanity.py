"""Does an evaluation of robustness make sense? The signs of masked gradients and of broken attacks, checked by rule.

Athalye et al., ICML 2018; Carlini et al., "On evaluating adversarial robustness", 2019. Where a radius is proved, an attack
that succeeds inside it, or a "certificate" beyond a known adversarial example, is a bug in one of the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def _p(share: float) -> str:
    return f"{100 * share:.1f} %"

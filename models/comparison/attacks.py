"""Robust accuracy under attacks of three strengths: noise without gradients, one step, many steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from advverify.verifier.attacks.base import Attack, run
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.fgsm import Fgsm
from advverify.verifier.attacks.noise import Noise
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.norms import get_norm

_PGD = Pgd(steps=40, restarts=4)
_RUNS: dict[str, list[tuple[Attack, str]]] = {  # each with the losses it is run on
    "noise": [(Noise(), "margin")],
    "fgsm": [(Fgsm(), "cross-entropy")],
    "pgd": [(_PGD, "cross-entropy"), (_PGD, "margin")],
}
NAMES = tuple(_RUNS)


@dataclass(frozen=True)
class Attacked:
    """Which images stay rightly classified under an attack; `robust` is (images,) Boolean."""

    attack: str
    eps: float
    robust: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share that stays right."""
        return float(self.robust.mean()) if len(self.robust) else float("nan")


def attacked(
    network: Network, images: np.ndarray, labels: np.ndarray, norm: str, eps: float, name: str, seed: int = 0
) -> Attacked:
    """Attack every image; PGD descends the cross-entropy's negative and the margin, and the better one counts.

    Args:
        network: float64.
        images: (N, ...) inside [0, 1].
        labels: (N,).
        norm: "1", "2" or "inf".
        eps: radius.
        name: one of `NAMES`.
        seed: of random starts.
    """
    x = torch.from_numpy(images.reshape(len(images), -1).astype(np.float64))
    y = torch.from_numpy(labels.astype(np.int64))
    robust = np.ones(len(x), dtype=bool)
    for attack, loss in _RUNS[name]:
        problem = ClassificationProblem.balls(lambda p: evaluate(network, p), x, y, get_norm(norm), eps, loss)
        robust &= ~run(attack, problem, seed).success.numpy()
    return Attacked(name, eps, robust)

"""Norm 0: the tree over supports, and what counts mean, against the enumeration of supports and activation patterns."""

import functools
import itertools

import numpy as np
import pytest
import torch
from networks import random_network
from oracle import nearest

from advverify.verifier.api import distance
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.outcome import Verdict

FAST = Settings(timeout=20, threads=1)


@functools.cache
def case(kind: str, seed: int) -> tuple[Network, np.ndarray, int, float]:
    """A network, an image, its label, and the distance of the nearest adversarial example."""
    network = random_network(kind, seed)
    image = np.random.default_rng(2000 + seed).random(network.input_size)
    label = int(predict(network, torch.tensor(image)[None]))
    return network, image, label, nearest(network, image, label, "0")


@pytest.mark.parametrize("engines", [("propagate",), ("falsify", "propagate"), ("milp",), ()])
def test_a_limit_counts_itself(engines: tuple[str, ...]) -> None:
    """d* = limit is within the limit: proving that fewer entries do no harm is not enough for `robust`."""
    for kind, seed in itertools.product(("mlp", "residual"), range(4)):
        network, image, label, truth = case(kind, seed)
        for limit in (1.0, 2.0, 2.5, 3.0):
            outcome = distance(network, image, label, "0", limit=limit, settings=FAST, engines=engines)
            wrong = Verdict.ROBUST if truth <= limit else Verdict.ADVERSARIAL
            assert outcome.verdict is not wrong, (kind, seed, limit, truth)
            assert outcome.bracket.lower <= truth, (kind, seed, limit, truth)

"""Attacks of the Adversarial Robustness Toolbox (Nicolae et al., 2018; extra `[attacks]`): auto-PGD, which foolbox lacks, and a
decision-based one.

It works in float32, with one radius a run and numpy's global random numbers; the last are put back as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InvalidInput, how_to_install
from .classification import ClassificationProblem
from .from_foolbox import Wrapped, by_radius


@dataclass(frozen=True)
class Art:
    """Options: the class in `art.attacks.evasion`, its arguments, and whether it fills a ball of given radius."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    ball: bool = False

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The toolbox's points.

        Raises:
            InvalidInput: the toolbox is not installed.
        """
        try:
            from art.attacks import evasion
            from art.estimators.classification import PyTorchClassifier
        except ImportError as error:
            raise InvalidInput(f"attacks of the toolbox ART need: {how_to_install('attacks')}") from error
        images = problem.images
        with torch.no_grad():
            classes = problem.forward(images[:1]).shape[1]
        classifier = PyTorchClassifier(
            Wrapped(problem),
            loss=nn.CrossEntropyLoss(),
            input_shape=(images.shape[1],),
            nb_classes=classes,
            clip_values=(0.0, 1.0),
            device_type="cpu" if images.device.type == "cpu" else "gpu",
        )
        norm = problem.inputs.norm
        assert norm is not None
        shared = {"norm": np.inf if norm.name == "inf" else int(norm.name), "targeted": problem.targets is not None}
        goal = F.one_hot(problem.labels if problem.targets is None else problem.targets, classes).cpu().numpy()
        points, before = images.clone(), np.random.get_state()
        np.random.seed(generator.initial_seed() % (1 << 32))
        try:
            groups = by_radius(problem) if self.ball else [(None, torch.arange(len(images), device=images.device))]
            for radius, rows in groups:
                own = {} if radius is None else {"eps": radius, "eps_step": radius / 4}
                attack = getattr(evasion, self.name)(classifier, verbose=False, **shared, **own, **self.arguments)
                found = attack.generate(images[rows].float().cpu().numpy(), y=goal[rows.cpu().numpy()])
                points[rows] = torch.from_numpy(found).to(images)
        finally:
            np.random.set_state(before)
        return points

"""Our exact distance in the form in which users of foolbox call attacks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias, Unpack

import numpy as np
import torch
from torch import nn

from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Verdict

from .calls import distance
from .opening import open_model, outputs_of
from .options import DistanceOptions, read_options
from .outcomes import Outcomes

_OWN = ("eps", "target", "listener", "bytes_as")  # of a call: epsilons, criterion

Inputs: TypeAlias = torch.Tensor | np.ndarray
Raw: TypeAlias = Any  # as the inputs are: a tensor or an array, or a list of them


class ExactDistance:
    """A minimal attack that proves how near it comes: called as attacks of foolbox are, with `distance` behind it.

    Example:
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> attack = ExactDistance(norm="inf", gap=0.01, timeout=10)
        >>> raw, clipped, is_adv = attack("zoo:digits-mlp", digits.images[:3], digits.labels[:3], epsilons=[0.05, 0.2])
        >>> is_adv.shape, is_adv.any(axis=1).tolist()
        ((2, 3), [False, True])
        >>> len(attack.outcomes)
        3

    Attributes:
        outcomes: of the last call: brackets, and what they rest on.
    """

    outcomes: Outcomes

    def __init__(self, **options: Unpack[DistanceOptions]) -> None:
        """Keep the options of `distance`, by their names.

        Args:
            options: as in `distance`, `norm` before all, but for `eps`, `target`, `listener` and `bytes_as`.

        Raises:
            InvalidInput: an option that makes no sense.
        """
        for name in _OWN:
            if name in options:
                raise InvalidInput(f"{name} is not an option of ExactDistance: epsilons and the criterion say it")
        self._norm, self._options = read_options("distance", dict(options)).threat.norm, dict(options)

    def __call__(
        self, model: Any, inputs: Inputs, criterion: Any, *, epsilons: float | Sequence[float | None] | None = None
    ) -> tuple[Raw, Raw, Inputs]:
        """Find the nearest adversarial example of every input.

        Args:
            model: as in `certify`, or a `foolbox.PyTorchModel`, whose preprocessing and bounds count.
            inputs: (N, ...), torch or numpy.
            criterion: labels (N,), or foolbox's `Misclassification`.
            epsilons: a radius, several of them, or None for no limit; None within them stands for no limit, too.

        Returns:
            `raw`: the nearest examples that were found, the input itself where there is none.
            `clipped`: these, drawn back into the ball of the radius; one for each radius where several are given.
            `is_adv`: whether an adversarial example within the radius was found, (N,) or (radii, N). False proves nothing where
            `outcomes` has a bracket around the radius.

        Raises:
            InvalidInput: a criterion or radius that makes no sense, and as in `distance`.
        """
        radii, several = _radii(epsilons)
        labels = _labels(criterion)
        opened, valid = _opened(model, inputs)
        values = inputs.detach().cpu().double().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs)
        options: dict[str, Any] = dict(self._options)
        if valid is not None:
            options.setdefault("valid_range", valid)
        found = distance(opened, values, labels, **options)
        assert isinstance(found, Outcomes)
        self.outcomes = found
        raw, reach = values.astype(np.float64).copy(), np.zeros(len(values))
        for k, outcome in enumerate(found):
            if outcome.verdict is not Verdict.MISCLASSIFIED:
                example = outcome.adversarial
                reach[k] = math.inf if example is None else outcome.upper
                raw[k] = raw[k] if example is None else example
        clipped = [_like(self._clipped(raw, values, reach, radius), inputs) for radius in radii]
        hits = np.stack([(reach <= radius) & np.isfinite(reach) for radius in radii])
        own = _like(raw, inputs)
        is_adv: Inputs = torch.from_numpy(hits).to(inputs.device) if isinstance(inputs, torch.Tensor) else hits
        return ([own] * len(radii), clipped, is_adv) if several else (own, clipped[0], is_adv[0])

    def _clipped(self, raw: np.ndarray, values: np.ndarray, reach: np.ndarray, radius: float) -> np.ndarray:
        """What is nearer stays as it is; of the rest entries are cut off in norm inf, changes shortened in 1 and 2, undone in 0."""
        clipped: np.ndarray = raw.copy()
        for k in np.flatnonzero(np.isfinite(reach) & (reach > radius)):
            change = raw[k] - values[k]
            if self._norm == "inf":
                change = np.clip(change, -radius, radius)
            else:
                change = change * (0.0 if self._norm == "0" else radius / reach[k])
            clipped[k] = values[k] + change
        return clipped


def _radii(epsilons: Any) -> tuple[list[float], bool]:
    several = epsilons is not None and np.ndim(epsilons) > 0
    radii = []
    for eps in epsilons if several else [epsilons]:
        radius = math.inf if eps is None else eps
        if isinstance(radius, bool) or not isinstance(radius, int | float | np.number) or not float(radius) >= 0:
            raise InvalidInput(f"epsilons must be radii >= 0, or None, got {eps!r}")
        radii.append(float(radius))
    if not radii:
        raise InvalidInput("epsilons holds no radius: give one, or None for no limit")
    return radii, several


def _labels(criterion: Any) -> list[int]:
    if hasattr(criterion, "target_classes"):
        raise InvalidInput(
            "a TargetedMisclassification wants one class on top of all others: distance(..., target=k) asks for the nearest input "
            "on which it is above the label"
        )
    given = getattr(criterion, "labels", criterion)
    given = getattr(given, "raw", given)  # foolbox keeps eagerpy's tensors
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu().numpy()
    try:
        return [int(each) for each in given]
    except (TypeError, ValueError):
        raise InvalidInput(
            f"criterion must be labels (N,), or foolbox's Misclassification, got {type(criterion).__name__}"
        ) from None


def _opened(model: Any, inputs: Inputs) -> tuple[Any, tuple[float, float] | None]:
    """The model, and the bounds that a model of foolbox states."""
    bounds = getattr(model, "bounds", None)
    if bounds is not None and hasattr(model, "_preprocess_args"):
        module = _Preprocessed(model)
        few = inputs[:4].detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else np.asarray(inputs)[:4]
        wanted = model(torch.from_numpy(few).float()).detach().cpu().double().numpy()
        if not np.allclose(outputs_of(module, few), wanted, rtol=1e-4, atol=1e-4):
            raise InvalidInput(
                "this model of foolbox computes more than its preprocessing and its module: give a module"
            )
        return open_model(module, inputs), (float(bounds.lower), float(bounds.upper))
    return open_model(model, inputs if isinstance(model, nn.Module) else None), None


class _Preprocessed(nn.Module):
    """The module of a `foolbox.PyTorchModel`, with its preprocessing as layers."""

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(self, model: Any) -> None:
        super().__init__()
        cells = getattr(model._model, "__closure__", None) or ()
        modules = [cell.cell_contents for cell in cells if isinstance(cell.cell_contents, nn.Module)]
        if len(modules) != 1:
            raise InvalidInput("only models of foolbox that hold a torch.nn.Module can be read: give the module itself")
        self.module = modules[0]
        mean, std, self.flip = model._preprocess_args
        self.register_buffer("mean", None if mean is None else mean.raw.detach().clone(), persistent=False)
        self.register_buffer("std", None if std is None else std.raw.detach().clone(), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As foolbox does."""
        if self.flip is not None:
            x = x.flip(self.flip)
        if self.mean is not None:
            x = x - self.mean
        if self.std is not None:
            x = x / self.std
        outputs: torch.Tensor = self.module(x)
        return outputs


def _like(values: np.ndarray, inputs: Inputs) -> Inputs:
    """As the inputs are: torch or numpy, of their type and on their device."""
    if isinstance(inputs, torch.Tensor):
        return torch.from_numpy(values).to(inputs.device, inputs.dtype)
    return values.astype(inputs.dtype) if inputs.dtype.kind == "f" else values

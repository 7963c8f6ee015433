"""Attacks that are learned on some images and measured on others, as `advverify attack` has them: which images, and files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advverify.verifier.errors import InvalidInput

from .options import data_for, images_from

if TYPE_CHECKING:
    from torch import Tensor

    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.attacks.learned import Fitted
    from advverify.verifier.network.nodes import Network

DEFAULT_EPS = {"inf": 0.1, "2": 1.0}
_COUNT = 300  # of training images, where nothing is said


@dataclass(frozen=True)
class Lesson:
    """What attacks are learned on: a network, and images (N, n) that it classifies rightly, with labels (N,)."""

    network: Network
    images: Tensor
    labels: Tensor
    spec: str

    def learn(self, name: str, norm: str, eps: float, options: dict[str, Any], made: dict[str, Any]) -> Fitted:
        """Learn an attack; `options` are the command's, `made` those of the attack itself."""
        import torch

        from advverify.verifier.attacks import make_attack
        from advverify.verifier.attacks.classification import ClassificationProblem
        from advverify.verifier.attacks.learned import fit
        from advverify.verifier.norms import get_norm

        targets, images, labels = None, self.images, self.labels
        if options["target"] is not None:
            other = labels != options["target"]
            images, labels = images[other], labels[other]
            targets = torch.full_like(labels, options["target"])
        if not len(images):
            raise InvalidInput(f"--fit {self.spec}: no image of these is classified rightly, so nothing can be learned")
        problem = ClassificationProblem.balls(
            forward_of(self.network), images, labels, get_norm(norm), eps, options["loss"], targets
        ).confident(options["margin"])
        about = {"network": self.network.sha256, "fit": self.spec, "images": len(images), "target": options["target"]}
        return fit(name, make_attack(name, **made), problem, options["seed"], **about)


def forward_of(network: Network) -> Callable[[Tensor], Tensor]:
    """Points (B, n) to logits."""
    from advverify.verifier.network.evaluate import evaluate

    return lambda points: evaluate(network, points)


def lesson_from(
    spec: str | None,
    model: Model,
    network: Network,
    test: Dataset,
    name: str | None,
    asked: range,
    say: Callable[[str], None],
) -> Lesson:
    """The images of --fit: 0:300 of the test set, train:0:300 of the training part (the default).

    Args:
        spec: the option's value.
        model: that is attacked.
        network: that the attacks see: the model's, or another one.
        test: the test set.
        name: of the data set, as --data has it.
        asked: images of --images.
        say: hears what was decided and not stated.

    Raises:
        InvalidInput: images that there are not, or that are measured on too.
    """
    import torch

    from advverify.verifier.network.evaluate import predict

    training = spec is None or spec.startswith("train:")
    rest = (spec or "").removeprefix("train:")
    data = data_for(model, name, split="train", say=say) if training else test
    indices = images_from(rest or f"0:{min(_COUNT, len(data))}", len(data), "--fit")
    common = sorted(set(indices) & set(asked))
    if not training and common:
        raise InvalidInput(
            f"--fit {spec} and --images have {len(common)} images in common, the first is {common[0]}: what was learned on an "
            "image says nothing about unseen ones; choose others"
        )
    data.check_range(indices)
    images = torch.from_numpy(data.images[list(indices)].reshape(len(indices), -1))
    labels = torch.from_numpy(data.labels[list(indices)])
    right = predict(network, images) == labels
    shown = f"{'train:' if training else ''}{indices.start}:{indices.stop}" + (
        f":{indices.step}" if indices.step != 1 else ""
    )
    return Lesson(network, images[right], labels[right], shown)


def loaded(path: Path, model: Model) -> Fitted:
    """A learned attack of a file, which may have been learned on another network.

    Raises:
        InvalidInput: no such file, or perturbations of another size.
    """
    import torch

    from advverify.verifier.attacks.learned import random_signs
    from advverify.verifier.attacks.learned_file import load

    found, size = load(path), model.network.input_size
    generator = torch.Generator().manual_seed(0)
    try:
        found.learned.flipped(random_signs(size, generator, torch.zeros(1, dtype=torch.float64)))
    except RuntimeError:
        raise InvalidInput(
            f"--learned {path}: was learned on images of another size than the model's {size} values"
        ) from None
    return found


def keep(fitted: Fitted, shape: tuple[int, ...], folder: Path) -> None:
    """Write a learned attack, and a picture of what can be drawn: perturbations and atoms with both signs."""
    from advverify.verifier.attacks.learned_file import save

    from .report.learned_figures import draw

    stem = f"{fitted.name}-{fitted.norm}"
    save(fitted, folder / f"{stem}.npz")
    draw(fitted, shape, folder, stem)

"""Training by a recipe: reproducible, resumable, with metrics on disk.

On the CPU one thread sums in one order, so that a recipe gives the same weights every time, interrupted or not.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput, TrainingDiverged

from . import checkpoint
from .architectures import build
from .datasets import Dataset
from .defences import Step
from .defences.adversary import Attacker
from .multilevel import levels, prolong
from .recipe import Recipe, Training

CHECKPOINT, METRICS = "checkpoint.npz", "metrics.jsonl"

Listener = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Trained:
    """A network in evaluation mode on the CPU, and the metrics of every epoch."""

    network: nn.Sequential
    metrics: list[dict[str, Any]]


def train(
    recipe: Recipe,
    data: Dataset,
    test: Dataset | None = None,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
) -> Trained:
    """Train from scratch, or from the checkpoint in `folder`; level after level where the recipe has several.

    Args:
        recipe: what to do.
        data: training part.
        test: measured after every epoch where given.
        folder: for the checkpoint and the metrics; None keeps nothing.
        device: "cpu" or "cuda".
        listener: hears the metrics of every epoch.

    Raises:
        InvalidInput: images that do not fit, or a checkpoint of another recipe.
        TrainingDiverged: the loss is no number any more; the last good checkpoint stays.
    """
    if recipe.multilevel is not None:
        return _levels(recipe, data, test, folder, device, listener)
    with _reproducible(device):
        torch.manual_seed(recipe.training.seed)
        return _Trainer(recipe, data, test, folder, torch.device(device), listener).run()


def _levels(
    recipe: Recipe, data: Dataset, test: Dataset | None, folder: Path | None, device: str, listener: Listener | None
) -> Trained:
    """Each level starts where the one before ended, prolonged; its epochs count on from there."""
    before: nn.Sequential | None = None
    metrics: list[dict[str, Any]] = []
    for number, level in enumerate(levels(recipe)):
        done = len(metrics)

        def hear(record: dict[str, Any], done: int = done) -> None:
            if listener is not None:
                listener({**record, "epoch": record["epoch"] + done})

        own = None if folder is None else folder / f"level-{number + 1}"
        with _reproducible(device):
            torch.manual_seed(recipe.training.seed)
            # A checkpoint belongs to the whole recipe: how a level began depends on the levels before.
            lineage = f"{recipe.fingerprint}-{number + 1}"
            trained = _Trainer(level, data, test, own, torch.device(device), hear, before, lineage).run()
        before = trained.network
        metrics += [{**record, "epoch": record["epoch"] + done, "level": number + 1} for record in trained.metrics]
    assert before is not None
    return Trained(before, metrics)


@contextmanager
def _reproducible(device: str) -> Iterator[None]:
    """Leaves torch's global random state and thread count as they were."""
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else [device]):
            yield
    finally:
        torch.set_num_threads(threads)


class _Trainer:
    """The state of one training."""

    def __init__(
        self,
        recipe: Recipe,
        data: Dataset,
        test: Dataset | None,
        folder: Path | None,
        device: torch.device,
        listener: Listener | None,
        before: nn.Sequential | None = None,
        lineage: str = "",
    ) -> None:
        self.fingerprint = lineage or recipe.fingerprint
        self.recipe, self.test, self.folder, self.device, self.listener = recipe, test, folder, device, listener
        limit = recipe.data.limit or len(data)
        self.images = torch.from_numpy(data.images[:limit]).float().to(device)
        self.labels = torch.from_numpy(data.labels[:limit]).to(device)
        network = build(recipe.architecture.name, **recipe.architecture.options)
        assert isinstance(network, nn.Sequential)
        if before is not None:
            prolong(before, network)
        self.network = network.to(device)
        self._try()
        options, batch = recipe.training, recipe.training.batch
        self.steps = -(-len(self.images) // batch) * options.epochs
        self.optimiser = _optimiser(self.network, options)
        self.schedule = _schedule(self.optimiser, options, self.steps)
        self.loss = _loss(options)
        self.metrics: list[dict[str, Any]] = []

    def _try(self) -> None:
        """One forward pass, so that a network that does not fit is refused before anything else."""
        try:
            with torch.no_grad():
                logits = self.network.eval()(self.images[:1])
        except RuntimeError as error:
            raise InvalidInput(
                f"the network does not take images of shape {list(self.images.shape[1:])}: {error}"
            ) from error
        classes = int(self.labels.max()) + 1
        if logits.shape[-1] < classes:
            raise InvalidInput(f"the network has {logits.shape[-1]} outputs, the data {classes} classes")

    def run(self) -> Trained:
        """All epochs that are left."""
        for epoch in range(self._resume(), self.recipe.training.epochs):
            began = time.perf_counter()
            loss, right = self._epoch(epoch)
            record = {"epoch": epoch + 1, "loss": loss, "train_accuracy": right / len(self.images)}
            if self.test is not None:
                record["test_accuracy"] = accuracy(self.network, self.test)
            record["seconds"] = round(time.perf_counter() - began, 3)
            self._keep(epoch + 1, record)
        return Trained(self.network.eval().cpu(), self.metrics)

    def _resume(self) -> int:
        """Number of epochs that are done."""
        if self.folder is None:
            return 0
        self.folder.mkdir(parents=True, exist_ok=True)
        place, log = self.folder / CHECKPOINT, self.folder / METRICS
        if not place.is_file():
            log.write_text("")
            return 0
        done, state = checkpoint.load(place, self.fingerprint, self.network, self.optimiser, self.schedule)
        torch.set_rng_state(state)
        lines = log.read_text().splitlines() if log.is_file() else []
        self.metrics = [json.loads(line) for line in lines[:done]]
        log.write_text("".join(json.dumps(record) + "\n" for record in self.metrics))
        return done

    def _keep(self, epoch: int, record: dict[str, Any]) -> None:
        self.metrics.append(record)
        if self.folder is not None:
            with (self.folder / METRICS).open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            checkpoint.save(
                self.folder / CHECKPOINT,
                self.fingerprint,
                epoch,
                self.network,
                self.optimiser,
                self.schedule,
                torch.get_rng_state(),
            )
        if self.listener is not None:
            self.listener(record)

    def _epoch(self, epoch: int) -> tuple[float, int]:
        """Mean loss and number of rightly classified images (as trained on)."""
        self.network.train()
        total, right = 0.0, 0
        attack = self._attacker(epoch)
        order = torch.randperm(len(self.images)).to(self.device)
        batches = order.split(self.recipe.training.batch)
        for number, index in enumerate(batches):
            done = epoch * len(batches) + number
            value, hits = self._step(index, done, attack)
            if not math.isfinite(value):
                where = f"; the checkpoint of epoch {epoch} is in {self.folder}" if self.folder and epoch else ""
                raise TrainingDiverged(f"the loss became {value} in epoch {epoch + 1}: lower learning_rate{where}")
            total, right = total + value * len(index), right + hits
        return total / len(self.images), right

    def _attacker(self, epoch: int) -> Attacker | None:
        """What makes adversarial images in this epoch."""
        recipe = self.recipe
        if recipe.adversary is None:
            return None
        generator = torch.Generator(self.device).manual_seed(recipe.training.seed * 1_000_003 + epoch)
        return recipe.adversary.begin(self.network, self.images, self.labels, generator)

    def _step(self, index: Tensor, done: int, attack: Attacker | None) -> tuple[float, int]:
        recipe, labels = self.recipe, self.labels[index]
        clean = self._augment(self.images[index])
        images, progress = clean, done / self.steps
        if attack is not None:
            generator = torch.Generator(self.device).manual_seed(recipe.training.seed * 1_000_003 + done)
            images = attack(clean, labels, progress, generator)
        self.optimiser.zero_grad()
        embedding = self.network[:-1](images)
        logits = self.network[-1](embedding)
        loss = self.loss(logits, labels)
        step = Step(self.network, self.loss, clean, images, labels, embedding, progress)
        if recipe.certified is not None:
            share = recipe.certified.share * recipe.certified.ramp(progress)
            loss = (1 - share) * loss + share * recipe.certified(step) if share else loss
        for term in recipe.defences.values():
            loss = loss + term.weight * term(step)
        loss.backward()
        if recipe.training.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), recipe.training.clip)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach()), int((logits.argmax(-1) == labels).sum())

    def _augment(self, images: Tensor) -> Tensor:
        options = self.recipe.data
        if options.flip:
            mirrored = torch.rand(len(images)).to(self.device) < 0.5
            images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
        if options.crop:
            padded, (height, width) = F.pad(images, [options.crop] * 4), images.shape[-2:]
            moves = torch.randint(0, 2 * options.crop + 1, (len(images), 2)).tolist()
            images = torch.stack(
                [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, moves, strict=True)]
            )
        return images


def _optimiser(network: nn.Module, options: Training) -> torch.optim.Optimizer:
    if options.optimiser == "adam":
        return torch.optim.Adam(network.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        network.parameters(),
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.momentum > 0,
        weight_decay=options.weight_decay,
    )


def _schedule(optimiser: torch.optim.Optimizer, options: Training, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """One step of the schedule a batch."""
    if options.schedule == "one-cycle":
        cycle = options.optimiser == "adam" or options.momentum > 0
        return torch.optim.lr_scheduler.OneCycleLR(
            optimiser, options.learning_rate, total_steps=steps, cycle_momentum=cycle
        )
    if options.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    stones = [round(share * steps) for share in options.milestones] if options.schedule == "step" else []
    return torch.optim.lr_scheduler.MultiStepLR(optimiser, stones)


def _loss(options: Training) -> Callable[[Tensor, Tensor], Tensor]:
    if options.loss == "multi-margin":
        return partial(F.multi_margin_loss, margin=options.margin)
    return F.cross_entropy


def accuracy(network: nn.Module, data: Dataset, batch: int = 1000) -> float:
    """Share of correctly classified images."""
    device = next(network.parameters()).device
    images = torch.from_numpy(data.images).float()
    network.eval()
    with torch.no_grad():
        predicted = torch.cat([network(part.to(device)).argmax(-1).cpu() for part in images.split(batch)])
    return float((predicted.numpy() == data.labels).mean())

"""Multilevel training: a shallow network first, then the same with twice the blocks and half the step, and so on.

A residual network is a discretised differential equation, so a trained one is a good start for a finer one: its weights are
prolonged, piecewise linearly in time. Haber & Ruthotto, "Stable architectures for deep neural networks", Inverse Problems
34:014004, 2017, section 4.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from .architectures import constructor
from .architectures.residual import ResidualBlock

if TYPE_CHECKING:
    from .recipe import Recipe


@dataclass(frozen=True)
class Multilevel:
    """How many networks are trained one after another, each of twice the blocks and half the step of the one before.

    The epochs of the recipe are shared among them, the remainder is the last one's.
    """

    levels: int = 2

    def __post_init__(self) -> None:
        """Check the number."""
        if self.levels < 2:
            raise InvalidInput(f"[multilevel] needs levels >= 2, got {self.levels}")


def levels(recipe: Recipe) -> list[Recipe]:
    """The recipes of the levels, the shallowest first.

    Raises:
        InvalidInput: an architecture without blocks, blocks that cannot be halved so often, or fewer epochs than levels.
    """
    assert recipe.multilevel is not None
    count, options = recipe.multilevel.levels, recipe.architecture.options
    known = inspect.signature(constructor(recipe.architecture.name)).parameters
    blocks, epochs = options.get("blocks"), recipe.training.epochs
    if "blocks" not in known:
        raise InvalidInput(f"[multilevel] is for residual networks: {recipe.architecture.name} has no blocks")
    if not isinstance(blocks, int) or blocks % 2 ** (count - 1) or blocks < 1:
        raise InvalidInput(
            f"[multilevel] {count} levels need blocks that can be halved {count - 1} times, got {blocks}"
        )
    if epochs < count:
        raise InvalidInput(f"[multilevel] {count} levels need at least as many epochs, got {epochs}")
    made = []
    for level in range(count):
        factor = 2 ** (count - 1 - level)
        changed = {**options, "blocks": blocks // factor}
        if "step" in known:
            changed["step"] = options.get("step", known["step"].default) * factor
        share = epochs // count + (epochs % count if level == count - 1 else 0)
        architecture = replace(recipe.architecture, options=changed)
        training = replace(recipe.training, epochs=share)
        made.append(replace(recipe, architecture=architecture, training=training, multilevel=None))
    return made


def prolong(coarse: nn.Sequential, fine: nn.Sequential) -> None:
    """Give `fine`, of twice the blocks and half the step, the weights of `coarse`: nearly the same function.

    Block 2j gets those of block j, block 2j + 1 the mean of the blocks j and j + 1.
    """
    before, after = list(_runs(coarse)), list(_runs(fine))
    assert len(before) == len(after)
    with torch.no_grad():
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            if not isinstance(old, list):
                assert not isinstance(new, list)
                new.load_state_dict(old.state_dict())
                _change_state(new, _block_beside(before, place, -1), _block_beside(before, place, 1))
                continue
            assert isinstance(new, list) and len(new) == 2 * len(old)
            for j, block in enumerate(old):
                new[2 * j].load_state_dict(block.state_dict())
                _between(block, old[min(j + 1, len(old) - 1)], new[2 * j + 1])
            for block in new:
                for part in block.modules():
                    if isinstance(part, ResidualBlock):
                        part.halve()


def _runs(network: nn.Sequential) -> Iterator[nn.Module | list[nn.Module]]:
    """Layers, and runs of blocks as lists."""
    run: list[nn.Module] = []
    for layer in network:
        if any(isinstance(part, ResidualBlock) for part in layer.modules()):
            run.append(layer)
            continue
        if run:
            yield run
            run = []
        yield layer
    if run:
        yield run


def _between(first: nn.Module, second: nn.Module, block: nn.Module) -> None:
    """The mean of two blocks' parameters and statistics; states of power iterations, whose sign is arbitrary, of the first."""
    a, b = first.state_dict(), second.state_dict()
    learned = {name for name, _ in first.named_parameters(remove_duplicate=False)}
    mixed = {
        name: (value + b[name]) / 2 if name in learned or name.rpartition(".")[2].startswith("running_") else value
        for name, value in a.items()
    }
    block.load_state_dict(mixed)


def _block_beside(layers: list[nn.Module | list[nn.Module]], place: int, way: int) -> ResidualBlock | None:
    """The nearest block before (-1) or behind (1) a layer."""
    k = place + way
    while 0 <= k < len(layers):
        run = layers[k]
        if isinstance(run, list):
            return next(part for part in run[0].modules() if isinstance(part, ResidualBlock))
        if any(True for _ in run.parameters()):
            return None
        k += way
    return None


def _change_state(layer: nn.Module, before: ResidualBlock | None, behind: ResidualBlock | None) -> None:
    """W <- P W Q, b <- P b for a linear layer between blocks: it reads states of half the step and makes such."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return
    weight: Tensor = layer.weight
    made = None if behind is None else behind.finer_state(weight.shape[0])
    if made is not None:
        made = made.to(weight)
        weight.copy_(torch.einsum("ij,j...->i...", made, weight))
        if layer.bias is not None:
            layer.bias.copy_(made @ layer.bias)
    if before is None:
        return
    size = before.state_size()
    read = before.finer_state(size)
    if read is not None:  # pooling and flattening keep channels apart
        undone = torch.linalg.inv(read.to(weight))
        grouped = weight.reshape(weight.shape[0], size, -1)
        weight.copy_(torch.einsum("oif,ij->ojf", grouped, undone).reshape(weight.shape))

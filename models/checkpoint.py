"""Checkpoints as .npz files: parameters, optimiser, random state, and where the training was. No pickles."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

_FORMAT = 1


def save(
    path: Path,
    fingerprint: str,
    epoch: int,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    generator_state: Tensor,
) -> None:
    """Write in one piece: a kill leaves the checkpoint before or the one after."""
    arrays = {f"network/{key}": value.detach().cpu().numpy() for key, value in network.state_dict().items()}
    state = optimiser.state_dict()
    for index, entry in state["state"].items():
        for key, value in entry.items():
            if value is not None:
                arrays[f"optimiser/{index}/{key}"] = torch.as_tensor(value).cpu().numpy()
    arrays["random"] = generator_state.numpy()
    groups = [{k: v for k, v in group.items() if _plain(v)} for group in state["param_groups"]]
    rates = {k: v for k, v in schedule.state_dict().items() if _plain(v)}
    header = {"format": _FORMAT, "recipe": fingerprint, "epoch": epoch, "groups": groups, "schedule": rates}
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as stream:
        np.savez(stream, **arrays)
    os.replace(temporary, path)


def load(
    path: Path,
    fingerprint: str,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> tuple[int, Tensor]:
    """Restore in place; returns the number of finished epochs and the random state.

    Raises:
        InvalidInput: broken, or of another recipe.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        header = json.loads(arrays["header"].tobytes())
        if header["format"] != _FORMAT:
            raise InvalidInput(f"{path}: a checkpoint of another version; choose another --work folder")
        if header["recipe"] != fingerprint:
            raise InvalidInput(f"{path}: a checkpoint of another recipe; choose another --work folder")
        values = {
            k.removeprefix("network/"): torch.from_numpy(v) for k, v in arrays.items() if k.startswith("network/")
        }
        network.load_state_dict(values)
        state: dict[int, dict[str, Any]] = {}
        for key, value in arrays.items():
            if key.startswith("optimiser/"):
                _, index, name = key.split("/")
                state.setdefault(int(index), {})[name] = torch.from_numpy(value)
        groups = [old | new for old, new in zip(optimiser.state_dict()["param_groups"], header["groups"], strict=True)]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        schedule.load_state_dict(header["schedule"])
        return int(header["epoch"]), torch.from_numpy(arrays["random"])
    except InvalidInput:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path}: not a readable checkpoint; remove it to start afresh ({error})") from error


def _plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)

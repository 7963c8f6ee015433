"""A device that is not the CPU, where there is none: its tensors refuse to meet tensors of the CPU, as a GPU's do.

They compute on the CPU all the same. PyTorch believes them to be on "meta", so code that forgets to say where a tensor
is to live, or to bring one back before numpy gets it, fails here as it would on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = "meta"
_aten = torch.ops.aten
# what a GPU allows: positions may be given by a tensor of the CPU, and copies go from anywhere to anywhere
_MIXED = {_aten.index.Tensor, _aten.index_put_.default, _aten.copy_.default, _aten._to_copy.default}


class MixedDevices(RuntimeError):
    """An operation on tensors of two devices."""


class Foreign(Tensor):
    """A tensor of the device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Foreign:
        result: Foreign = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), dtype=held.dtype, device=torch.device(DEVICE)
        )
        result.held = held
        return result

    def numpy(self, *, force: bool = False) -> Any:
        raise MixedDevices("numpy reads tensors of the CPU only")

    def tolist(self) -> Any:
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _perform(func, args, kwargs or {})


def _perform(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    ours = any(isinstance(t, Foreign) for t in tensors)
    plain = [t for t in tensors if not isinstance(t, Foreign) and t.dim() > 0]
    if ours and plain and func not in _MIXED:
        raise MixedDevices(f"{func} on tensors of two devices")
    device = kwargs.get("device")
    to_us = torch.device(device).type == DEVICE if device is not None else ours
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}

    def bare(x: Any) -> Any:
        return x.held if isinstance(x, Foreign) else x

    result = func(*tree_map(bare, args), **tree_map(bare, kwargs))
    if func is _aten.copy_.default or func is _aten.index_put_.default:
        return args[0]
    same = {id(t.held): t for t in tensors if isinstance(t, Foreign)}  # of operations in place
    return tree_map(lambda x: same.get(id(x), Foreign(x)) if to_us and isinstance(x, Tensor) else x, result)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _perform(func, args, kwargs or {})


class _Constants(TorchFunctionMode):
    """`torch.tensor` makes its tensors where no dispatch sees it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu").type == DEVICE:
            return func(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        return func(*args, **kwargs)


@contextmanager
def foreign_device() -> Iterator[None]:
    """Inside, `DEVICE` can be used."""
    with _Constants(), _Operations():  # type: ignore[no-untyped-call]
        yield

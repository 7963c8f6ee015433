"""Network architectures as torch modules, all piecewise linear; one family a file, one line in `ARCHITECTURES`.

A constructor whose first parameter is `shape` takes the options of `Shape.of` instead. Each file's `STABILITY` says what
is proved of its networks. `models.folding` turns any of them into plain layers.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from torch import nn

from advverify.verifier.errors import InvalidInput, no_such

from .residual import Shape

ARCHITECTURES = {
    "mlp": "mlp:mlp",
    "conv": "conv:conv",
    "lenet": "lenet:lenet",
    "resnet": "resnet:resnet",
    "antisymmetric": "antisymmetric:antisymmetric",
    "hamiltonian": "hamiltonian:hamiltonian",
    "leapfrog": "leapfrog:leapfrog",
    "cpl": "lipschitz:convex_potential",
    "sll": "lipschitz:sll",
    "lipschitz-mlp": "lipschitz:lipschitz_mlp",
}


def _find(name: str) -> tuple[Any, Any]:
    """Module and constructor of an architecture.

    Raises:
        InvalidInput: there is no such architecture.
    """
    if name not in ARCHITECTURES:
        raise no_such("architecture", name, ARCHITECTURES)
    file, function = ARCHITECTURES[name].split(":")
    module = import_module(f".{file}", __package__)
    return module, getattr(module, function)


def build(name: str, **options: Any) -> nn.Module:
    """A freshly initialised network.

    Raises:
        InvalidInput: there is no such architecture, or it does not take these options.
    """
    make = constructor(name)
    own = dict(inspect.signature(make).parameters)
    where = inspect.signature(Shape.of).parameters if own.pop("shape", None) is not None else {}
    known = {**where, **own}
    unknown = [option for option in options if option not in known]
    if unknown:
        raise InvalidInput(f"architecture {name} has no option '{unknown[0]}': choose {', '.join(known)}")
    missing = [p.name for p in known.values() if p.default is p.empty and p.name not in options]
    if missing:
        raise InvalidInput(f"architecture {name} needs the option '{missing[0]}'")
    try:
        if where:
            place = Shape.of(**{key: options.pop(key) for key in where if key in options})
            network: nn.Module = make(place, **options)
        else:
            network = make(**options)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"architecture {name}: impossible options {options} ({error})") from error
    return network


def constructor(name: str) -> Any:
    """The function that makes an architecture's networks.

    Raises:
        InvalidInput: there is no such architecture.
    """
    return _find(name)[1]


def stability(name: str) -> str:
    """What is proved of an architecture's networks."""
    text: str = _find(name)[0].STABILITY
    return text

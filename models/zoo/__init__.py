"""The shipped networks: small, each trained by its recipe in `recipes/`, with its data card in the ONNX metadata.

`python -m advverify.models.zoo` retrains them into this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advverify.verifier.errors import InvalidInput, no_file

if TYPE_CHECKING:
    from ..recipe import Recipe

FOLDER = Path(__file__).parent
RECIPES = FOLDER / "recipes"


def names() -> list[str]:
    """Names of the shipped networks."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def path_of(name: str) -> Path:
    """File of a shipped network.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in names():
        raise InvalidInput(f"the zoo has no network '{name}': choose {', '.join(names())}")
    return FOLDER / f"{name}.onnx"


def locate(model: str) -> Path:
    """The file of a model that is named by a path or by `zoo:NAME`.

    Raises:
        InvalidInput: there is no such file.
    """
    if model.startswith("zoo:"):
        return path_of(model.removeprefix("zoo:"))
    path = Path(model)
    if not path.is_file():
        shipped = model in names()
        hint = f"did you mean zoo:{model}?" if shipped else "give an ONNX file, or zoo:NAME for a shipped network"
        raise InvalidInput(f"{model}: {no_file(path)}; {hint}")
    return path


def recipe_of(name: str) -> Recipe:
    """Recipe of a shipped network.

    Raises:
        InvalidInput: there is none of that name.
    """
    from ..recipe import read_recipe

    path = RECIPES / f"{name}.toml"
    if not path.is_file():
        choices = sorted(p.stem for p in RECIPES.glob("*.toml"))
        raise InvalidInput(f"the zoo has no recipe '{name}': choose {', '.join(choices)}")
    return read_recipe(path)

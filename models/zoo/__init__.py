"""The shipped networks: small, each trained by its recipe in `recipes/`, with its data card in the ONNX metadata.

`python -m advverify.models.zoo` retrains them into this folder.
"""

from __future__ import annotations

from difflib import get_close_matches
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
        near = get_close_matches(name, names(), n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InvalidInput(f"the zoo has no network '{name}': {meant}choose {', '.join(names())}")
    return FOLDER / f"{name}.onnx"


def locate(model: str) -> Path:
    """The file of a model that is named by a path or by `zoo:NAME`.

    Raises:
        InvalidInput: there is no such file.
    """
    if model.startswith("zoo:"):
        return path_of(model.removeprefix("zoo:"))
    path = Path(model)
    if path.suffix.lower() in _OTHERS:
        raise InvalidInput(f"{model} is {_OTHERS[path.suffix.lower()]}")
    if not path.is_file():
        near = get_close_matches(path.stem.removeprefix("zoo-"), names(), n=1)
        hint = f"did you mean zoo:{near[0]}?" if near else "give an ONNX file, or zoo:NAME for a shipped network"
        raise InvalidInput(f"{model}: {no_file(path)}; {hint}")
    return path


_TORCH = (
    "a file of PyTorch, which holds weights and not what is computed with them: build the module in Python, load them, and write "
    "advverify.export(module, example, 'model.onnx')"
)
_OTHERS = {  # what is often given in the place of an ONNX file
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors"), _TORCH),
    **dict.fromkeys(
        (".h5", ".keras", ".pb", ".tflite"), "a file of TensorFlow: write it as ONNX with the package tf2onnx"
    ),
    ".vnnlib": "a property, not a network: commands take the ONNX file first",
}


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

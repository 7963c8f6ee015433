"""Modules, models in memory, paths and zoo names are opened alike; what cannot be is said of the user's layers."""

import gc
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import advverify
from advverify.cli.python.opening import difference, open_model, outputs_of
from advverify.models.zoo import path_of
from advverify.verifier.errors import AdvverifyError, InvalidInput, InvalidModel, UnsupportedOperator

IMAGES = np.random.default_rng(0).random((5, 1, 8, 8))


class Branching(nn.Module):
    """Adds what a convolution and a skip give."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.head = nn.Linear(192, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.norm(self.conv(x)) + x)
        out: torch.Tensor = self.head(hidden.flatten(1))
        return out


def conv(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), *layers)


MODULES: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4)),
    "conv": lambda: conv(nn.Linear(27, 4)),
    "branching": Branching,
    "softmax": lambda: conv(nn.Linear(27, 4), nn.Softmax(-1)),
    "double": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU(), nn.Linear(7, 4)).double(),
    "parametrized": lambda: conv(
        nn.utils.parametrizations.spectral_norm(nn.Linear(27, 6)),
        nn.LeakyReLU(),
        nn.utils.parametrizations.weight_norm(nn.Linear(6, 4)),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules(name: str) -> None:
    torch.manual_seed(0)
    module = MODULES[name]().train()
    module(
        torch.from_numpy(IMAGES).to(next(module.parameters()).dtype)
    )  # so that running statistics are not the initial ones
    before = {key: value.clone() for key, value in module.state_dict().items()}
    model = open_model(module, IMAGES)
    assert model.network.input_shape == (1, 8, 8) and model.network.output_size == 4
    assert difference(module, model, IMAGES) < 1e-4
    assert module.training and all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    predicted = outputs_of(module, IMAGES).argmax(1)
    assert [model.predict(image) for image in IMAGES] == predicted.tolist()
    assert advverify.certify(module, IMAGES, predicted, eps=0.0).verdicts == [advverify.Verdict.ROBUST] * 5


def test_wrappers_are_taken_off() -> None:
    module = MODULES["mlp"]().eval()
    for wrapped in (nn.DataParallel(module), torch.compile(module, backend="eager")):
        assert isinstance(wrapped, nn.Module)
        assert difference(module, open_model(wrapped, IMAGES), IMAGES) < 1e-5


def test_the_file_lives_as_long_as_the_model() -> None:
    model = open_model(MODULES["mlp"](), IMAGES)
    assert model.path is not None and model.path.is_file()
    folder = model.path.parent
    del model
    gc.collect()
    assert not folder.exists()


def test_the_same_by_every_name() -> None:
    path = path_of("digits-mlp")
    image = np.full((1, 8, 8), 0.5)
    opened = open_model("zoo:digits-mlp")
    assert open_model(opened) is opened
    for model in (path, str(path), onnx.load(str(path)), opened, opened.network):
        outcome = advverify.certify(model, image, opened.predict(image), eps=1e-4)
        assert outcome.verdict is advverify.Verdict.ROBUST


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (nn.Tanh(), "for its layer Tanh: Tanh is not piecewise linear"),
        (nn.GELU(), "for its layer GELU: Erf is not piecewise linear"),
        (nn.LayerNorm(6), "for its layer LayerNorm: LayerNormalization is not piecewise linear"),
        (nn.SiLU(), "for its layer SiLU: Sigmoid is supported as the last layer only"),
    ],
)
def test_layers_that_are_not_piecewise_linear(layer: nn.Module, words: str) -> None:
    with pytest.raises(UnsupportedOperator, match=re.escape(words)):
        open_model(conv(nn.Linear(27, 6), layer, nn.Linear(6, 4)), IMAGES)


class Deciding(nn.Module):
    """Depends on values in a way that an export cannot follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x.flatten(1))
        return -out if float(x.sum()) > 1 else out


class Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.flatten(1), x


class Sorting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.linalg.qr(x.flatten(1)[:, :4].T @ x.flatten(1)[:, :4])[0][:1].expand(len(x), 4)
        return out


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("module", "kind", "words"),
    [
        (Deciding(), InvalidModel, "the exported file computes something else than the module: on input"),
        (Pair(), InvalidInput, "the module gives tuple, and one tensor (N, classes) is needed"),
        (nn.Conv2d(1, 2, 3), InvalidInput, "the module gives outputs of shape [1, 2, 6, 6]"),
        (nn.Linear(9, 2), InvalidInput, "the module does not take inputs of shape [1, 1, 8, 8] (RuntimeError: "),
        (Sorting(), InvalidModel, "the module cannot be exported to ONNX ("),
        (conv(nn.Linear(27, 4)).double(), InvalidModel, "give the module in float32, module.float()"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4)).half(), InvalidModel, "export it in float32"),
    ],
)
def test_modules_that_cannot_be_used(module: nn.Module, kind: type[AdvverifyError], words: str) -> None:
    with pytest.raises(kind, match=re.escape(words)) as refused:
        open_model(module, IMAGES)
    assert "\n" not in str(refused.value) and "/tmp" not in str(refused.value)


def test_what_is_no_model(tmp_path: Path) -> None:
    for model, words in [
        (3, "model must be a torch.nn.Module, an onnx.ModelProto"),
        ("digits-mlp", "did you mean zoo:digits-mlp?"),
        (tmp_path, "is a folder, not a file"),
    ]:
        with pytest.raises(InvalidInput, match=re.escape(words)):
            open_model(model)
    with pytest.raises(InvalidInput, match="a module needs an example"):
        open_model(nn.Linear(3, 2))
    with pytest.raises(InvalidModel, match="^the ONNX model: not an ONNX network: the graph is empty"):
        open_model(onnx.ModelProto())

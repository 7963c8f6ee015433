"""Asking advverify, as a program or as a user at the command line does; every end of that is an `Answer`."""

from __future__ import annotations

import json
import math
import re
import shlex
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.testing import CliRunner

from advverify.cli.main import cli
from advverify.verifier.api import certify, certify_all, distance, verify
from advverify.verifier.engines import Settings
from advverify.verifier.errors import AdvverifyError
from advverify.verifier.outcome import Outcome
from advverify.verifier.specification import Threat

from .properties import Property
from .questions import Question

_WORDS = {"unsat": "robust", "sat": "adversarial", "timeout": "unknown", "unknown": "unknown"}


@dataclass(frozen=True)
class Answer:
    """A verdict (also "refused" or "error"), its bracket and witness, and all that was printed."""

    verdict: str
    lower: float = -math.inf
    upper: float = math.inf
    witness: tuple[float, ...] | None = None
    text: str = ""
    proof: str | None = None
    checked: str = ""  # what `check` said of the proof, "" where there is none


def write(name: str, subject: Question | Property, folder: Path) -> None:
    """The files that a question needs beside its model."""
    if isinstance(subject, Property):
        (folder / "properties").mkdir(parents=True, exist_ok=True)
        (folder / "properties" / f"{name}.vnnlib").write_text(subject.text)
    else:
        (folder / "data").mkdir(parents=True, exist_ok=True)
        np.savez(folder / "data" / f"{name}.npz", images=np.stack(subject.images), labels=np.array(subject.labels))


def arguments(name: str, subject: Question | Property) -> list[str]:
    """What a user types behind `advverify`, in the folder of the files."""
    how = subject.how
    words = [] if not how.engines else ["--engines", ",".join(how.engines)]
    words += ["--threads", str(how.threads), "--timeout", f"{how.timeout:g}"]
    words += ["--float32"] if how.float32 else []
    words += ["--proofs", f"proofs/{name}"] if how.proofs else []
    if isinstance(subject, Property):
        return ["verify", f"models/{name}.onnx", f"properties/{name}.vnnlib", *words]
    command = "distance" if subject.command == "distance" else "certify"
    count, (low, high) = len(subject.images), subject.valid
    words += ["--norm", subject.norm, "--images", f"0:{count}", "--valid-range", repr(low), repr(high)]
    words += [] if command == "distance" and math.isinf(subject.eps) else ["--eps", repr(subject.eps)]
    words += ["--exact-margin"] if subject.exact_margin else []
    words += ["--margin", repr(subject.margin)] if subject.margin else []
    words += [] if subject.target is None else ["--target", str(subject.target)]
    return [command, f"models/{name}.onnx", "--data", f"npz:data/{name}.npz", *words]


def ask(name: str, subject: Question | Property) -> list[Answer]:
    """The answers to a question whose files lie in the current folder, one an image."""
    count = 1 if isinstance(subject, Property) else len(subject.images)
    through = subject.how.through
    if not isinstance(subject, Property) and subject.images[0].dtype == np.uint8:
        through = "cli"  # bytes are read from files only
    try:
        answers = (_by_command if through == "cli" else _by_library)(name, subject)
    except AdvverifyError as error:
        answers = [Answer("refused" if "\n" not in str(error) else "error", text=str(error))] * count
    except click.ClickException as error:
        answers = [Answer("refused", text=error.format_message())] * count
    except Exception:
        answers = [Answer("error", text=traceback.format_exc())] * count
    return [_check(answer, name) for answer in answers]


def _check(answer: Answer, name: str) -> Answer:
    """With the word of the `check` command, where there is a proof."""
    if answer.proof is None:
        return answer
    result = CliRunner().invoke(cli, ["check", answer.proof, f"models/{name}.onnx"])
    return replace(
        answer, checked="valid" if result.exit_code == 0 else f"not valid: {result.output}{result.exception!r}"
    )


def _from_outcome(outcome: Outcome) -> Answer:
    bracket = outcome.bracket
    witness = None if bracket.witness is None else tuple(float(v) for v in bracket.witness)
    notes = f"{outcome.reason} {json.dumps(outcome.labels, default=str)}"
    return Answer(outcome.verdict.value, bracket.lower, bracket.upper, witness, notes, outcome.proof)


def _settings(name: str, subject: Question | Property) -> Settings:
    how = subject.how
    folder = Path("proofs", name) if how.proofs else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    return Settings(timeout=how.timeout, threads=how.threads, proofs=folder)


def _by_library(name: str, subject: Question | Property) -> list[Answer]:
    how, model = subject.how, Path("models", f"{name}.onnx")
    common: dict[str, Any] = {"settings": _settings(name, subject), "engines": how.engines}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if isinstance(subject, Property):
            file = Path("properties", f"{name}.vnnlib")
            return [_from_outcome(verify(model, file, float32=how.float32, **common))]
        threat = Threat(
            subject.norm,
            subject.eps,
            target=subject.target,
            margin=subject.margin,
            valid_range=subject.valid,
            float32=how.float32,
        )
        image, label = subject.images[0], subject.labels[0]
        if subject.command == "distance":
            return [_from_outcome(distance(model, image, label, threat, **common))]
        if subject.command == "certify_all":
            found = dict(certify_all(model, subject.images, subject.labels, threat, **common))
            return [_from_outcome(found[k]) for k in range(len(subject.images))]
        exact = subject.exact_margin
        return [_from_outcome(certify(model, image, label, threat, exact_margin=exact, **common))]


def _by_command(name: str, subject: Question | Property) -> list[Answer]:
    words, out = arguments(name, subject), Path(f"{name}.out")
    out.unlink(missing_ok=True)
    words += ["--result" if isinstance(subject, Property) else "--out", str(out)]
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    if isinstance(subject, Property):
        return [_from_result(out.read_text(), result.output, Path("proofs", name))]
    outcomes = sorted(
        (Outcome.from_json(line) for line in out.read_text().splitlines()), key=lambda o: o.labels["index"]
    )
    return [replace(_from_outcome(outcome), text=result.output) for outcome in outcomes]


def _from_result(result: str, text: str, proofs: Path) -> Answer:
    word, _, rest = result.partition("\n")
    values = dict(re.findall(r"\(?(X_\d+) (\S+?)\)", rest))
    witness = tuple(float(values[f"X_{k}"]) for k in range(len(values))) or None
    found = sorted(proofs.glob("*")) if word == "unsat" and proofs.is_dir() else []
    return Answer(_WORDS[word], witness=witness, text=text, proof=str(found[0]) if found else None)


def command_line(name: str, subject: Question | Property) -> str:
    """For the list of failures."""
    return shlex.join(arguments(name, subject))


Ask = Callable[[str, Question | Property], list[Answer]]

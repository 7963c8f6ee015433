"""The content key: what it tells apart, and that no answer of another version is taken over."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from advverify.verifier import key
from advverify.verifier.key import content_key

IMAGE = np.array([0.5, 0.25])


def test_equal_questions_have_equal_keys() -> None:
    asked = {"norm": "inf", "eps": 0.1, "engines": ("crown", "milp")}
    backwards = {"engines": ["crown", "milp"], "eps": 0.1, "norm": "inf"}
    assert content_key(asked, IMAGE) == content_key(backwards, IMAGE.copy())
    assert content_key(asked, IMAGE.astype(np.float32)) == content_key(asked, IMAGE)  # numbers count, not their type


def test_other_questions_have_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"norm": "inf", "eps": 0.1}
    others = [
        content_key({**asked, "eps": float(np.nextafter(0.1, 1))}, IMAGE),
        content_key({**asked, "norm": "2"}, IMAGE),
        content_key({**asked, "eps": float("inf")}, IMAGE),
        content_key(asked, np.nextafter(IMAGE, 1)),
        content_key(asked, IMAGE[None]),
        content_key(asked, IMAGE[:1], IMAGE[1:]),
        content_key(asked),
    ]
    monkeypatch.setattr(key, "__version__", "another")
    others.append(content_key(asked, IMAGE))
    monkeypatch.undo()
    assert content_key(asked, IMAGE) not in others and len(set(others)) == len(others)


def test_what_has_no_content_is_refused() -> None:
    with pytest.raises(TypeError):
        content_key({"settings": object()})


def test_out_takes_no_answer_of_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "answers.jsonl"
    command = ("certify", "zoo:digits-mlp", "--eps", "0.01", "--images", "0:2", "--out", str(out))
    monkeypatch.setattr(key, "__version__", "another")
    assert run(*command).returncode == 0
    monkeypatch.undo()
    assert "are in" not in run(*command).stderr and len(out.read_text().splitlines()) == 4
    assert "2 of 2 images are in" in run(*command).stderr


def test_out_asks_again_what_more_time_may_settle(tmp_path: Path) -> None:
    """What is settled stays so under every time limit, and what is open was so within its own."""
    out = tmp_path / "answers.jsonl"
    command = ("certify", "zoo:digits-mlp", "--eps", "0.07", "--images", "0:6", "--engines", "crown", "--out", str(out))
    assert run(*command, "--timeout", "5").returncode == 0
    verdicts = [json.loads(line)["verdict"] for line in out.read_text().splitlines()]
    unknown = verdicts.count("unknown")
    assert 0 < unknown < 6
    assert "6 of 6 images are in" in run(*command, "--timeout", "4").stderr
    assert f"{6 - unknown} of 6 images are in" in run(*command, "--timeout", "6").stderr
    assert "6 of 6 images are in" in run(*command, "--timeout", "6").stderr
    assert len(out.read_text().splitlines()) == 6 + unknown

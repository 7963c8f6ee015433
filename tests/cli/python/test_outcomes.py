"""Outcomes show themselves, sum themselves up, and become tables, arrays and pictures."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import advverify
from advverify import Outcome, Outcomes, Verdict
from advverify.models.datasets import load_dataset
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Bracket, Trust

DIGITS = load_dataset("digits")
MARGIN = {"label": 3, "prediction": 3, "norm": "inf", "eps": 0.1, "objective": "feasibility"}
FAR = {**MARGIN, "objective": "min_distortion"}


def outcome(verdict: Verdict, lower: float, upper: float, labels: dict[str, Any], witness: bool = False) -> Outcome:
    bracket = Bracket(lower, upper, np.full(4, 0.25) if witness else None)
    return Outcome(verdict, bracket, Trust.SOLVER, "milp", 0.5, labels=labels, shape=(1, 2, 2))


def margins() -> Outcomes:
    made = [
        outcome(Verdict.ROBUST, 0.25, np.inf, MARGIN),
        outcome(Verdict.ADVERSARIAL, -np.inf, -0.5, MARGIN, witness=True),
        outcome(Verdict.MISCLASSIFIED, 0.0, 0.0, MARGIN, witness=True),
        replace(outcome(Verdict.UNKNOWN, -0.1, 0.3, MARGIN), reason="time <limit>"),
    ]
    return Outcomes(made, np.zeros((4, 1, 2, 2)))


def distances() -> Outcomes:
    made = [outcome(Verdict.ADVERSARIAL, low, low + 0.02, FAR, witness=True) for low in (0.1, 0.2, 0.6)]
    return Outcomes(made, np.zeros((3, 1, 2, 2)))


def test_one_shows_itself() -> None:
    robust, attacked, _, unknown = margins()
    assert repr(robust) == "<Outcome robust, 0.25 <= margin, solver (milp), 0.50 s>"
    assert repr(attacked) == "<Outcome adversarial, margin <= -0.5, solver (milp), 0.50 s>"
    assert repr(unknown).endswith("0.50 s, time <limit>>")
    assert repr(distances()[0]) == "<Outcome adversarial, 0.1 <= distance <= 0.12, solver (milp), 0.50 s>"
    assert (robust.lower, robust.upper, robust.gap) == (0.25, np.inf, np.inf)
    assert robust.adversarial is None and attacked.adversarial is not None and attacked.adversarial.shape == (1, 2, 2)
    page = unknown._repr_html_()
    assert "time &lt;limit&gt;" in page and page.count("<tr>") == 2 and ">proof<" not in page
    signed = replace(robust, bracket=Bracket(5e-324, np.inf))
    assert "&gt; 0<" in signed._repr_html_() and "e-324" not in signed._repr_html_()


def test_many_show_themselves() -> None:
    found = margins()
    assert repr(found) == "<Outcomes of 4 images: 1 robust, 1 adversarial, 1 misclassified, 1 unknown>"
    assert found.summary() == (
        "4 images: 1 robust, 1 adversarial, 1 misclassified, 1 unknown; clean accuracy 75.0 % (3 of 4), attacked accuracy "
        "50.0 % (2 of 4), certified accuracy 25.0 % (1 of 4); 2.0 s, median 0.50 s"
    )
    assert "mean distance 0.3 to 0.32, median distance 0.2 to 0.22" in distances().summary()
    assert "0 of 3 brackets closed to 0.01" in distances().summary(gap=0.01)
    assert isinstance(found[1:3], Outcomes) and found[1:3].verdicts == [Verdict.ADVERSARIAL, Verdict.MISCLASSIFIED]
    assert found[1:3].images.shape == (2, 1, 2, 2) and repr(found[:0]) == "<Outcomes of 0 images: none>"
    assert found[:0].summary() == "no images" and found[:0]._repr_html_()
    assert found._repr_html_().count("<tr>") == 5
    assert list(found.lower) == [0.25, -np.inf, 0.0, -0.1] and np.isnan(found.adversarial[0]).all()


def test_arrays(tmp_path: Path) -> None:
    found = margins()
    path = found.to_npz(tmp_path / "found.npz")
    with np.load(path) as kept:
        assert list(kept["verdict"]) == ["robust", "adversarial", "misclassified", "unknown"]
        assert kept["adversarial"].shape == kept["images"].shape == (4, 1, 2, 2)
        assert list(kept["label"]) == list(kept["prediction"]) == [3] * 4
        np.testing.assert_array_equal(kept["upper"], found.upper)
    with pytest.raises(InvalidInput, match="cannot be written"):
        found.to_npz(tmp_path / "no" / "found.npz")


def test_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    found = margins()
    rows = found.rows()
    assert [row["verdict"] for row in rows] == ["robust", "adversarial", "misclassified", "unknown"]
    assert rows[0]["image"] == 0 and rows[0]["eps"] == 0.1 and len({tuple(row) for row in rows}) == 1
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InvalidInput, match="to_pandas needs pandas, which is not installed"):
        found.to_pandas()
    stand_in = ModuleType("pandas")
    stand_in.DataFrame = lambda rows: ("a frame of", rows)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    assert found.to_pandas() == ("a frame of", rows)


def test_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    found = margins()
    kept = pyarrow.parquet.read_table(found.to_parquet(tmp_path / "found.parquet")).to_pylist()
    assert kept == found.rows()
    with pytest.raises(InvalidInput, match="cannot be written"):
        found.to_parquet(tmp_path / "no" / "found.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidInput, match="to_parquet needs pyarrow"):
        found.to_parquet(tmp_path / "found.parquet")


def test_figures(tmp_path: Path) -> None:
    curve, bars = distances().plot(tmp_path / "radii.png"), margins().plot(tmp_path / "verdicts.svg")
    assert curve._repr_png_().startswith(b"\x89PNG")  # what a notebook shows
    assert "norm inf" in curve.axes[0].get_xlabel() and "3 images" in curve.axes[0].get_ylabel()
    line = curve.axes[0].lines[0].get_ydata()
    assert line[0] == 100.0 and line[-1] == 0.0
    assert [bar.get_width() for bar in bars.axes[0].patches] == [1, 1, 1, 1]
    shown = margins().plot_images(tmp_path / "images.png")
    assert len(shown.axes) == 3  # one adversarial example; the misclassified image is none
    for name in ("radii.png", "verdicts.svg", "images.png"):
        assert (tmp_path / name).stat().st_size > 1000
    with pytest.raises(InvalidInput, match="no adversarial example is known"):
        margins()[:1].plot_images()
    with pytest.raises(InvalidInput, match="cannot be written"):
        distances().plot(tmp_path / "radii.xyz")
    flat = Outcomes([replace(distances()[0], shape=(4,))], np.zeros((1, 4)))
    with pytest.raises(InvalidInput, match=r"images of shape \[4\] are no pictures"):
        flat.plot_images()


def test_of_colours() -> None:
    witness = Bracket(0.1, 0.2, np.full(12, 0.5))
    for shape in ((3, 2, 2), (2, 2, 3)):
        found = Outcome(Verdict.ADVERSARIAL, witness, Trust.SOLVER, "milp", 0.5, labels=FAR, shape=shape)
        assert len(Outcomes([found], np.zeros((1, *shape))).plot_images().axes) == 3


def test_of_a_shipped_network() -> None:
    found = advverify.certify("zoo:digits-mlp", DIGITS.images[:8], DIGITS.labels[:8], eps=0.1, timeout=20)
    assert found.adversarial.shape == (8, 1, 8, 8) and "certified accuracy" in found.summary()
    for image, one in zip(DIGITS.images[:8], found, strict=True):
        if one.verdict is Verdict.ADVERSARIAL:
            assert one.adversarial is not None and np.abs(one.adversarial - image).max() <= 0.1

"""Distributions of critical radii respect their brackets: every range holds what any radii inside give."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

import advverify
from advverify import Outcome, Study, Verdict
from advverify.models.comparison.distributions import kolmogorov_smirnov, p_value, quantile_bracket
from advverify.models.datasets import load_dataset
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Bracket, Trust

DIGITS = load_dataset("digits")
WHOLE = st.integers(0, 6).map(float)
BRACKETS = st.lists(st.tuples(WHOLE, WHOLE, st.booleans()), min_size=1, max_size=6)


def sides(drawn: list[tuple[float, float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([min(a, b) for a, b, _ in drawn])
    return low, np.array([math.inf if endless else max(a, b) for a, b, endless in drawn])


def inside(brackets: tuple[np.ndarray, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Radii that the brackets allow, at their ends now and then."""
    low, high = brackets[0], np.minimum(brackets[1], 9.0)
    share = rng.choice([0.0, 0.25, 0.5, 1.0], len(low))
    radii: np.ndarray = low + share * (high - low)
    return radii


@settings(max_examples=200, deadline=None)
@given(BRACKETS, BRACKETS, st.integers(0, 2**32), st.sampled_from([0.05, 0.3, 0.5, 0.75, 1.0]))
def test_ranges_hold_what_radii_inside_give(first: Any, second: Any, seed: int, share: float) -> None:
    a, b, rng = sides(first), sides(second), np.random.default_rng(seed)
    test = kolmogorov_smirnov(a, b)
    for _ in range(5):
        x, y = inside(a, rng), inside(b, rng)
        exact = kolmogorov_smirnov((x, x), (y, y))
        assert (
            exact.statistic[0]
            == exact.statistic[1]
            == pytest.approx(max(abs(np.mean(x <= r) - np.mean(y <= r)) for r in (*x, *y)))
        )
        assert test.statistic[0] <= exact.statistic[0] <= test.statistic[1]
        assert test.p_value[0] <= exact.p_value[0] <= test.p_value[1]
        low, high = quantile_bracket(*a, share)
        assert low <= np.quantile(x, share, method="inverted_cdf") <= high
    top = max(
        kolmogorov_smirnov((x, x), (y, y)).statistic[0]
        for x, y in ((a[0], np.minimum(b[1], 1e9)), (np.minimum(a[1], 1e9), b[0]))
    )
    assert test.statistic[1] == top  # attained


@pytest.mark.parametrize(("n", "m"), [(1, 1), (3, 5), (10, 10), (31, 17), (120, 90)])
def test_p_values_are_exact(n: int, m: int) -> None:
    rng = np.random.default_rng(n)
    for shift in (0.0, 0.3, 1.0):
        x, y = rng.normal(size=n), rng.normal(size=m) + shift
        theirs = ks_2samp(x, y, method="exact")
        assert p_value(round(theirs.statistic * n * m), n, m) == pytest.approx(theirs.pvalue, rel=1e-9)


def distances(values: list[tuple[float, float]], wrong: int = 0, norm: str = "inf") -> list[Outcome]:
    labels = {"objective": "min_distortion", "norm": norm}
    made = [Outcome(Verdict.ADVERSARIAL, Bracket(*v), Trust.SOLVER, "crown", 0.1, labels=labels) for v in values]
    zero = Outcome(Verdict.MISCLASSIFIED, Bracket(0.0, 0.0), Trust.CHECKED, "executor", 0.0, labels=labels)
    return [*made, *[zero] * wrong]


def test_what_a_study_says(tmp_path: Path) -> None:
    study = Study(
        {"a": distances([(0.1, 0.2), (0.3, math.inf), (0.4, 0.4)], wrong=1), "b": distances([(1.0, 1.5)] * 3)}
    )
    row = study.rows()[0]
    assert (row["images"], row["misclassified"], row["without an example"]) == (4, 1, 1)
    assert row["50 %"] == (0.3, 0.4) and row["95 %"] == (0.4, math.inf) and row["mean"][1] == math.inf
    assert study.quantiles(0.5) == {"a": (0.3, 0.4), "b": (1.0, 1.5)}
    assert study.robust(0.25) == {"a": (0.5, 0.5), "b": (1.0, 1.0)} and study.robust(0.15)["a"] == (0.5, 0.75)
    (test,) = study.kolmogorov_smirnov()
    assert (
        test["statistic"] == (pytest.approx(2 / 3), 1.0)
        and test["p_value"][0] == pytest.approx(0.1)
        and test["decision"] == "not significant"
    )
    assert (
        repr(study) == "<Study in norm inf: median radii a 0.3 to 0.4, b 1 to 1.5>"
        and "&gt;= 0.4" in study._repr_html_()
    )
    assert json.loads(study.to_json())["brackets"]["a"][1] == [0.3, None]
    study.plot(tmp_path / "p.png")
    assert (tmp_path / "p.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("outcomes", "words"),
    [
        ({}, "at least one network"),
        ({"a": []}, "a: there are no outcomes"),
        ({"a": [Outcome(Verdict.ROBUST, Bracket(1, 2), Trust.SOLVER, "", 0.1)]}, "a: these are margins"),
        ({"a": distances([(1, 2)]), "b": distances([(1, 2)], norm="2")}, "norms inf, 2: study one norm"),
    ],
)
def test_what_is_no_study(outcomes: dict[str, list[Outcome]], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        Study(outcomes)
    with pytest.raises(InvalidInput, match="above 0 and at most 1"):
        Study({"a": distances([(1, 2)])}).quantiles(0)


def test_of_networks_outcomes_and_files(tmp_path: Path) -> None:
    x, y = DIGITS.images[:4], DIGITS.labels[:4].copy()
    y[3] = (y[3] + 1) % 10
    found = advverify.study({"mlp": "zoo:digits-mlp"}, x, y, gap=0.01, jobs=1, timeout=20, out=tmp_path / "s")
    (row,) = found.rows()
    assert (row["images"], row["misclassified"]) == (4, 1) and 0.07 < row["50 %"][0] <= row["50 %"][1] < 0.1
    assert json.loads((tmp_path / "s" / "distributions.json").read_text()) == json.loads(found.to_json())
    assert (tmp_path / "s" / "distributions.png").is_file()
    outcomes = advverify.distance("zoo:digits-mlp", x, y, gap=0.01, timeout=20)
    assert advverify.study({"mlp": outcomes}).rows()[0]["misclassified"] == 1 and advverify.study(outcomes).names == [
        "network"
    ]
    lines = tmp_path / "d.jsonl"
    assert run("distance", "zoo:digits-mlp", "--images", "0:3", "--out", str(lines)).returncode == 0
    assert Study.of_files({"kept": lines}).quantiles(0.5)["kept"][0] == pytest.approx(row["50 %"][0], rel=0.02)
    lines.write_text("{}")
    with pytest.raises(InvalidInput, match="not the lines of `advverify distance --out`"):
        Study.of_files({"kept": lines})
    with pytest.raises(InvalidInput, match="timeout must be"):
        advverify.study("zoo:digits-mlp", x, y, timeout=0)

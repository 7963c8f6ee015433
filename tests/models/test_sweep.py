"""Plans of sweeps, and what is said of their levels."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.models.comparison.statistics import t_interval
from advverify.models.sweep.effects import Measured, effects
from advverify.models.sweep.plan import Sweep, read_sweep, sweep_from
from advverify.verifier.errors import InvalidInput
from advverify.verifier.toml_text import read_toml

SWEEPS = Path(__file__).parents[2] / "examples" / "sweeps"
BASE: dict[str, Any] = {
    "base": {"architecture": {"name": "mlp", "inputs": 64, "hidden": [8], "outputs": 10}, "training": {"epochs": 2}},
    "factors": {"training.batch": [64, 16], "data": {"limit": [0, 100, 200]}},
}


def sweep(**changes: Any) -> Sweep:
    return sweep_from({**BASE, **changes})


def test_one_at_a_time_and_full() -> None:
    single, full = sweep(seeds=2), sweep(design="full", seeds=2)
    assert len(single.settings()) == 1 + 1 + 2 and len(full.settings()) == 2 * 3
    runs = list(single.runs())
    assert [run.seed for run in runs] == [0] * 4 + [1] * 4
    assert runs[0].setting == {"training.batch": "64", "data.limit": "0"}
    assert [(r.recipe.training.batch, r.recipe.data.limit) for r in runs[:4]] == [
        (64, 0),
        (16, 0),
        (64, 100),
        (64, 200),
    ]
    assert len({run.recipe.fingerprint for run in full.runs()}) == 12
    assert all(run.recipe.training.seed == run.seed and run.recipe.training.epochs == 2 for run in runs)


def test_levels_of_several_entries() -> None:
    text = """
[base.architecture]
name = "mlp"
inputs = 64
hidden = [8]
outputs = 10
[[factors.optimiser]]
label = "adam"
[[factors.optimiser]]
label = "sgd"
training.optimiser = "sgd"
"training.learning_rate" = 0.1
"""
    first, second = (run.recipe.training for run in sweep_from({**read_toml(text), "seeds": 1}).runs())
    assert (first.optimiser, second.optimiser, second.learning_rate) == ("adam", "sgd", 0.1)


@pytest.mark.parametrize("path", sorted(SWEEPS.glob("*.toml")), ids=lambda p: p.stem)
def test_shipped_sweeps_make_recipes(path: Path) -> None:
    plan = read_sweep(path)
    assert plan.name == path.stem and len(list(plan.runs())) == plan.seeds * len(plan.settings())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 3}, "no key 'seed': choose name, design"),
        ({"base": {}}, r"needs \[base\]"),
        ({"factors": {"training.batch": [64]}}, "at least two levels"),
        ({"factors": {"training.batch": [64, 64]}}, "the same level twice"),
        ({"factors": {"batch": [64, 16]}}, "'batch' names no entry of a recipe"),
        ({"factors": {"training.batch.x": [64, 16]}}, "batch must be of type int"),
        ({"factors": {"training.batches": [64, 16]}}, "with training.batches = 64: .* has no key 'batches'"),
        ({"factors": {"a": [{"training.batch": 3}, {"label": "b"}]}}, "needs a label"),
        ({"design": "magic"}, "design is one of"),
        ({"seeds": 0}, "seeds must be"),
        ({"measure": {"norms": "2"}}, "has no key 'norms'"),
        ({"measure": {"norm": "0"}}, "counts have no means"),
        ({"measure": {"timeout": "long"}}, "timeout must be of type float"),
    ],
)
def test_sweeps_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        list(sweep(**change).runs())


def run_of(a: str, b: str, seed: int, low: float, high: float) -> Measured:
    return Measured({"a": a, "b": b}, seed, 0.9, ((low, high), (low, high), (0.0, 0.0)))


def test_effects_are_differences_of_pairs() -> None:
    factors = {"a": ["1", "2"], "b": ["x", "y"]}
    runs = [run_of("1", "x", s, 0.1 + 0.1 * s, 0.1 + 0.1 * s) for s in range(4)]
    runs += [run_of("2", "x", s, 0.15 + 0.1 * s, 0.16 + 0.1 * s) for s in range(4)]
    runs += [run_of("1", "y", s, 0.05, math.inf) for s in range(3)]
    found = {(e.factor, e.level): e for e in effects(runs, factors, full=False)}
    moved = found["a", "2"]
    assert moved.difference == pytest.approx((0.05, 0.06)) and moved.pairs == 4 and moved.verdict == "larger"
    assert found["a", "1"].difference is None and found["a", "1"].runs == 4
    unknown = found["b", "y"]
    assert unknown.verdict == "undecided" and unknown.mean[1] == math.inf and unknown.pairs == 3
    assert found["a", "1"].interval[0] >= 0


def test_all_combinations_count_in_a_full_design() -> None:
    factors = {"a": ["1", "2"], "b": ["x", "y"]}
    runs = [run_of(a, b, s, *[0.1 * int(a) + 0.05 * (b == "y")] * 2) for a in "12" for b in "xy" for s in range(2)]
    found = {(e.factor, e.level): e for e in effects(runs, factors, full=True)}
    assert found["a", "2"].runs == 4 and found["a", "2"].difference == pytest.approx((0.1, 0.1))
    assert found["b", "y"].difference == pytest.approx((0.05, 0.05))


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(0, 0.5)), min_size=2, max_size=6), st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_intervals_hold_those_of_all_values_in_the_ranges(sides: list[tuple[float, float]], seed: int) -> None:
    ranges = [(low, low + width) for low, width in sides]
    low, high = t_interval(ranges)
    rng = np.random.default_rng(seed)
    for k in range(20):
        values = [rng.choice(r) if k % 2 else rng.uniform(*r) for r in ranges]
        inner = t_interval([(v, v) for v in values])
        assert low <= inner[0] + 1e-9 and inner[1] <= high + 1e-9

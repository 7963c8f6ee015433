"""What a specification says, against the plain meaning of the question: classes, polytopes, regions, VNN-LIB formulas."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.verifier.specification import Threat, robustness
from advverify.verifier.specification.specification import Polytope, stack_polytopes
from advverify.verifier.specification.vnnlib.compile import Facts, compile_vnnlib

SEEDS = st.integers(0, 10**6)


@settings(deadline=None, max_examples=60)
@given(SEEDS, st.integers(2, 5), st.sampled_from([0.0, 0.0, 0.25]), st.booleans())
def test_unsafe_means_that_another_class_wins(seed: int, outputs: int, margin: float, targeted: bool) -> None:
    rng = np.random.default_rng(seed)
    label = int(rng.integers(outputs))
    target = int((label + 1 + rng.integers(outputs - 1)) % outputs) if targeted else None
    image = rng.random(3)
    spec = robustness(image, label, Threat("inf", 0.1, target=target, margin=margin), outputs)
    for _ in range(20):
        y = rng.integers(-4, 5, outputs) / 4 if rng.random() < 0.5 else rng.normal(size=outputs)
        others = [k for k in range(outputs) if k != label and target in (None, k)]
        beaten = any(y[k] >= y[label] + margin if margin else y[k] > y[label] for k in others)
        assert spec.is_counterexample(image, y) == beaten
        lowest = min(polytope.violation(y) for polytope in spec.unsafe)
        assert lowest == pytest.approx(min(y[label] + margin - y[k] for k in others))
    assert {polytope.label for polytope in spec.unsafe} == {f"class {k}" for k in others}


@settings(deadline=None, max_examples=60)
@given(SEEDS)
def test_polytopes_hold_what_their_rows_say(seed: int) -> None:
    """Alone, and side by side with others of fewer or more rows."""
    rng = np.random.default_rng(seed)
    polytopes = []
    for _ in range(3):
        rows = int(rng.integers(1, 4))
        matrix, offset = rng.integers(-2, 3, (rows, 3)).astype(float), rng.integers(-2, 3, rows).astype(float)
        polytopes.append(Polytope(matrix, offset, rng.random(rows) < 0.5))
    matrix, offset = stack_polytopes(polytopes)
    for _ in range(30):
        y = rng.integers(-2, 3, 3).astype(float)
        for k, polytope in enumerate(polytopes):
            parts = zip(polytope.matrix, polytope.offset, polytope.strict, strict=True)
            assert polytope.contains(y) == all(a @ y < d if strict else a @ y <= d for a, d, strict in parts)
            assert polytope.violation(y) == max(polytope.matrix @ y - polytope.offset)
            assert (matrix[k] @ y + offset[k]).max() == polytope.violation(y)


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_balls_hold_their_points_at_every_radius(norm: str) -> None:
    rng = np.random.default_rng(0)
    order = {"0": 0, "1": 1, "2": 2, "inf": np.inf}[norm]
    inside = outside = 0
    for _ in range(40):
        image = rng.random(4)
        spec = robustness(image, 0, Threat(norm, 0.01), 3)
        for radius in (0.0, 0.3, 1.0, 2.0):
            region = spec.with_radius(radius).region
            low, high = region.bounding_box()
            for _ in range(10):
                x = np.clip(image + rng.normal(size=4) * rng.choice([0.0, 0.1, 0.5, 1.0], 4), 0, 1)
                length = np.linalg.norm(x - image, order)
                if abs(length - radius) > 1e-9 or norm == "0":
                    assert region.contains(x) == (length <= radius)
                    inside, outside = inside + int(length <= radius), outside + int(length > radius)
                assert region.distance(x) == pytest.approx(length)
                if length <= radius:
                    assert (low <= x).all() and (x <= high).all()
    assert inside > 100 and outside > 100


def comparison(rng: np.random.Generator, names: list[str]) -> tuple[str, object]:
    """A linear comparison as text, and a function of the variables' values."""

    def term() -> tuple[str, object]:
        name, factor = str(rng.choice(names)), float(rng.integers(-3, 4))
        kind = rng.integers(4)
        if kind == 0:
            return name, lambda v: v[name]
        if kind == 1:
            return f"(* {factor} {name})", lambda v: factor * v[name]
        if kind == 2:
            other = str(rng.choice(names))
            return f"(- {name} {other} {factor})", lambda v: v[name] - v[other] - factor
        return f"(+ {name} (- {factor}))", lambda v: v[name] - factor

    (left, a), (right, b) = (
        term(),
        term() if rng.random() < 0.5 else (lambda c: (str(c), lambda v: c))(float(rng.integers(-3, 4))),
    )
    sign = str(rng.choice(["<=", ">=", "<", ">", "=="]))
    test = {"<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater, "==": np.equal}[sign]
    return f"({sign} {left} {right})", lambda v: bool(test(a(v), b(v)))  # type: ignore[operator]


def formula(rng: np.random.Generator, names: list[str], depth: int) -> tuple[str, object]:
    if depth == 0 or rng.random() < 0.3:
        return comparison(rng, names)
    parts = [formula(rng, names, depth - 1) for _ in range(int(rng.integers(2, 4)))]
    head, joined = ("and", all) if rng.random() < 0.5 else ("or", any)
    return f"({head} {' '.join(text for text, _ in parts)})", lambda v: joined(f(v) for _, f in parts)  # type: ignore[operator]


@settings(deadline=None, max_examples=150)
@given(SEEDS)
def test_formulas_over_outputs_mean_what_they_say(seed: int) -> None:
    """Nested conjunctions and disjunctions of comparisons, several assertions; small whole numbers, so that ties occur."""
    rng = np.random.default_rng(seed)
    names = ["Y_0", "Y_1", "Y_2"]
    text = (
        "".join(f"(declare-const {name} Real)" for name in ("X_0", *names)) + "(assert (>= X_0 0))(assert (<= X_0 1))"
    )
    parts = [formula(rng, names, 2) for _ in range(int(rng.integers(1, 3)))]
    spec = compile_vnnlib(text + "".join(f"(assert {part})" for part, _ in parts), Facts(1, 3)).specification
    for y in itertools.product(range(-2, 3), repeat=3):
        values = dict(zip(names, y, strict=True))
        truth = all(f(values) for _, f in parts)  # type: ignore[operator]
        assert spec.is_counterexample(np.array([0.5]), np.array(y, dtype=float)) == truth, (text, y)


@settings(deadline=None, max_examples=80)
@given(SEEDS)
def test_boxes_of_disjuncts_belong_to_their_outputs(seed: int) -> None:
    """Disjuncts with boxes that share sides, and bounds that are given twice: the tighter one counts."""
    rng = np.random.default_rng(seed)
    disjuncts = []
    for _ in range(int(rng.integers(1, 5))):
        low, high = rng.integers(0, 2, 2).astype(float), rng.integers(2, 5, 2).astype(float)
        disjuncts.append((low, high, float(rng.integers(-2, 3)), rng.random() < 0.5))
    text = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
    words = []
    for low, high, level, below in disjuncts:
        sides = [
            f"(>= X_{k} {low[k]}) (<= X_{k} {high[k]}) (<= X_{k} {high[k] + 1}) (>= X_{k} {low[k] - 1})" for k in (0, 1)
        ]
        words.append(f"(and {' '.join(sides)} ({'<=' if below else '>='} Y_0 {level}))")
    spec = compile_vnnlib(f"{text}(assert (or {' '.join(words)}))", Facts(2, 1)).specification
    for x, y in itertools.product(itertools.product((-0.5, 0.5, 1.5, 2.5, 3.5, 4.5), repeat=2), (-3.0, 0.5, 3.0)):
        truth = any(
            (low <= x).all() and (x <= high).all() and (y <= level if below else y >= level)
            for low, high, level, below in disjuncts
        )
        assert spec.is_counterexample(np.array(x), np.array([y])) == truth

"""What a proof says: vacuous statements are refused, and a proof answers only questions that its statement contains."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_networks import linear
from proof_files import repack, unpack
from scipy.optimize import linprog

from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, distance, verify
from advverify.verifier.checker import Rejected, Statement, check, difference
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.check import part_values
from advverify.verifier.checker.network import Network
from advverify.verifier.checker.question import contains, region_difference
from advverify.verifier.checker.region import Region
from advverify.verifier.checker.statement import contradictory
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.proof import attach as attaching
from advverify.verifier.proof.question import statements
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Disjunct, Polytope, Specification, Threat, robustness
from advverify.verifier.specification import Region as Asked

QUICK = Settings(timeout=10, threads=1)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, np.ndarray]:
    """A linear network of 4 inputs and 3 classes, a proof for norm inf at 0.05, and its center."""
    folder = tmp_path_factory.mktemp("statements")
    weight = np.array([[3.0, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, -1]])
    path, image = linear(folder / "m.onnx", weight, np.zeros(3)), np.array([0.7, 0.3, 0.25, 0.5])
    outcome = certify(path, image, 0, Threat("inf", 0.05), settings=replace(QUICK, proofs=folder))
    assert outcome.trust is Trust.CHECKED and outcome.proof is not None
    return path, Path(outcome.proof), image


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_a_network_without_a_relu_has_proofs(norm: str, tmp_path: Path) -> None:
    """True radii are proved, in every norm, at all but the exact distance; radii beyond it are not."""
    proved = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        path, image = linear(tmp_path / "m.onnx", rng.normal(size=(3, 3)), rng.normal(size=3)), rng.random(3)
        label = Model(path).predict(image)
        exact = distance(path, image, label, Threat(norm), settings=replace(QUICK, proofs=tmp_path))
        if not 0 < exact.bracket.upper < 10:
            continue
        below = exact.bracket.upper - 1 if norm == "0" else 0.99 * exact.bracket.upper
        if below > 0:
            outcome = certify(path, image, label, Threat(norm, below), settings=replace(QUICK, proofs=tmp_path))
            assert outcome.verdict is Verdict.ROBUST and outcome.trust is Trust.CHECKED, outcome.statistics
            proved += 1
        if exact.proof is not None:
            words = "\n".join(check(exact.proof, path).lines())
            assert "lower side of a distance" in words
    assert proved >= (1 if norm == "0" else 3)


def test_sets_of_several_rows_without_a_relu(tmp_path: Path) -> None:
    """No single row excludes y_0 <= 0 and y_1 <= 0 where y = (x, 0.5 - x): parts of the box do."""
    path = linear(tmp_path / "m.onnx", np.array([[1.0], [-1.0]]), np.array([-0.25, 0.75 + 2**-6]))
    unsafe = Polytope(np.eye(2), np.array([0.2, 0.2]), np.zeros(2, dtype=bool))
    case = Disjunct(Asked(np.zeros(1), np.ones(1)), (unsafe,))
    outcome = verify(path, Specification((case,)), settings=replace(QUICK, proofs=tmp_path))
    assert outcome.verdict is Verdict.ROBUST and outcome.trust is Trust.CHECKED, outcome.statistics


@pytest.mark.parametrize(
    "error", [RuntimeError("torch\nfell over"), MemoryError(), OSError(28, "No space left"), KeyError(3)]
)
def test_an_error_while_proving_never_costs_the_verdict(
    error: Exception, subject: tuple[Path, Path, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise error

    monkeypatch.setattr(attaching, "prove", fails)
    path, _, image = subject
    outcome = certify(path, image, 0, Threat("inf", 0.05), settings=replace(QUICK, proofs=tmp_path))
    assert outcome.verdict is Verdict.ROBUST and outcome.trust is Trust.SOLVER and outcome.proof is None
    reason = str(outcome.statistics["no_proof"])
    assert type(error).__name__ in reason and "\n" not in reason
    monkeypatch.setattr(attaching, "prove", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        certify(path, image, 0, Threat("inf", 0.05), settings=replace(QUICK, proofs=tmp_path))


def header_change(**values: Any) -> Any:
    return lambda header, arrays: header["cases"][0].update(values)


def array_change(name: str, value: Any) -> Any:
    def change(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        arrays[name] = np.broadcast_to(np.asarray(value, dtype=np.float64), arrays[name].shape).copy()

    return change


VACUOUS = {
    "no unsafe set": (header_change(polytopes=0, steps=[]), "every network"),
    "no case": (lambda header, _: header.update(cases=[]), "no case"),
    "cases as a mapping": (lambda header, _: header.update(cases={"0": header["cases"][0]}), "no case"),
    "a set out of reach": (
        lambda _, a: a.update({"0.matrix.0": np.zeros((1, 3)), "0.offset.0": -np.ones(1)}),
        "is empty",
    ),
    "rows that contradict": (
        lambda _, a: a.update({"0.matrix.0": np.array([[1.0, 0, 0], [-1, 0, 0]]), "0.offset.0": np.array([-1.0, 0])}),
        "is empty",
    ),
    "three rows that contradict": (
        lambda _, a: a.update(
            {"0.matrix.0": np.array([[1.0, 1, 0], [-2, 0, 0], [0, -3, 0]]), "0.offset.0": -np.ones(3)}
        ),
        "is empty",
    ),
    "a set without rows": (
        lambda _, a: a.update({"0.matrix.0": np.zeros((0, 3)), "0.offset.0": np.zeros(0)}),
        "no rows",
    ),
    "an infinite limit": (array_change("0.offset.0", -np.inf), "not finite"),
    "an infinite row": (array_change("0.matrix.0", np.inf), "not finite"),
    "lower above upper": (array_change("0.lower", 2.0), "empty"),
    "an infinite box": (array_change("0.upper", np.inf), "not finite"),
    "NaN": (array_change("0.upper", np.nan), "NaN"),
    "a center outside": (array_change("0.center", 7.0), "not in the box"),
    "an infinite center": (array_change("0.center", np.inf), "not in the box"),
    "a negative radius": (header_change(radius=-0.01), "radius"),
    "radius NaN": (header_change(radius=float("nan")), "radius"),
    "an infinite radius": (header_change(radius=float("inf")), "radius"),
    "a radius in words": (header_change(radius="0.05"), "radius"),
    "a huge radius": (header_change(radius=10**400), "OverflowError"),
    "true as a radius": (header_change(radius=True), "radius"),
    "a radius without a norm": (header_change(norm=None), "no norm"),
    "another norm": (header_change(norm="3"), "no norm"),
    "tied channels in norm inf": (header_change(channels=2), "channels"),
    "channels that are no number": (header_change(channels=1.0), "channels"),
    "more sets than arrays": (header_change(polytopes=10**9), "cannot be read"),
    "a negative number of sets": (header_change(polytopes=-1), "polytopes"),
    "float32 in words": (header_change(float32="false"), "outputs"),
    "no claim": (header_change(claim="true"), "claims"),
    "an old version": (lambda header, _: header.update(version=2), "version 2, not 6: write it again"),
    "version true": (lambda header, _: header.update(version=True), "version"),
}


@pytest.mark.parametrize("name", VACUOUS)
def test_statements_that_say_nothing_are_refused(
    name: str, subject: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    model, proof, _ = subject
    change, reason = VACUOUS[name]
    header, arrays = unpack(proof)
    change(header, arrays)
    repack(tmp_path / "v.proof", header, arrays)
    with pytest.raises(Rejected, match=reason) as refused:
        check(tmp_path / "v.proof", model)
    assert "\n" not in str(refused.value)


def test_what_is_accepted_is_described_as_it_is(subject: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    model, proof, image = subject
    words = "\n".join(check(proof, model).lines())
    assert "norm inf, radius 0.05" in words and "class 0 stays on top of all 2 others by more than 0.0" in words
    assert "the box [0.0, 1.0] for every input" in words and "exact, on the stored weights" in words

    def described(change: Any) -> str:
        header, arrays = unpack(proof)
        change(header, arrays)
        repack(tmp_path / "d.proof", header, arrays)
        return "\n".join(check(tmp_path / "d.proof", model).lines())

    def pinned(_: Any, arrays: dict[str, np.ndarray]) -> None:
        arrays["0.lower"] = arrays["0.upper"] = arrays["0.center"]

    def one_rival(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        header["cases"][0]["polytopes"] = 1
        step = len(header["cases"][0]["steps"]) - 1
        for name, first in (("codes", 1), ("weights", 1), ("polytopes", 1), ("slopes", 1)):
            arrays[f"0.{step}.{name}"] = arrays[f"0.{step}.{name}"][:first]

    assert "a single point" in described(pinned)
    assert "the center alone" in described(header_change(radius=0.0))
    assert "the center alone" in described(header_change(radius=0.5, norm="0"))
    assert "class 1 alone (1 of 2 others)" in described(one_rival)
    assert "stays less than 0.1 below" in described(
        lambda _, a: [array_change(f"0.offset.{p}", -0.1)(_, a) for p in "01"]
    )
    assert "any execution of the file in float32" in described(header_change(float32=True))
    assert "farther than 0.05" in described(header_change(claim="distance"))
    rows = described(lambda _, a: a.update({"0.matrix.0": 2 * a["0.matrix.0"]}))
    assert "2.0 Y_0 - 2.0 Y_1 <= 0.0" in rows and "on top" not in rows
    assert repr(float(image[0])) in "\n".join(check(proof, model).lines(values=True))


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 3))
def test_contradictions_are_those_that_an_lp_finds(seed: int, rows: int, outputs: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(-2, 3, (rows, outputs)).astype(np.float64)
    offset = rng.integers(-3, 3, rows).astype(np.float64)
    found = linprog(np.zeros(outputs), matrix, offset, bounds=(None, None), method="highs")
    assert contradictory(matrix, offset) == (found.status == 2)


def test_rows_that_nearly_contradict_one_another_do_not() -> None:
    """They hold for some output, and a proof that leaves them out says less than was asked."""
    near, point = np.array([[1.0, 0.0], [-1.0, 1e-10]]), np.array([-1e-10, -1.0])
    assert (near @ point <= [-1e-10, 0.0]).all() and not contradictory(near, np.array([-1e-10, 0.0]))
    assert contradictory(np.array([[1.0], [-1.0]]), np.array([0.0, -1e-300]))
    found = [0, 0]
    for seed in range(300):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 4))
        rows = rng.integers(-4, 5, (count, count + 1)).astype(float)
        last, offset = -rng.integers(1, 4, count) @ rows, rng.integers(-4, 5, count).astype(float)
        weights = np.abs(np.linalg.lstsq(rows.T, -last, rcond=None)[0]).round()
        if not (weights @ rows + last == 0).all() or np.linalg.matrix_rank(rows) < count:
            continue
        gap = 2.0 ** -float(rng.integers(1, 40)) if seed % 2 else -(2.0 ** -float(rng.integers(0, 5)))
        sides = np.append(offset, -(weights @ offset) + gap)  # weighted, all rows together say 0 <= gap
        assert contradictory(np.vstack([rows, last]), sides) == (gap < 0), seed
        found[gap < 0] += 1
    assert min(found) >= 30, found


@pytest.mark.parametrize("text", ["\ud800", "\x1b[2K\rvalid", "a\nvalid: no input", "x" * 10_000])
def test_what_a_file_says_of_itself_is_no_line_of_the_answer(text: str, tmp_path: Path) -> None:
    reason = str(Rejected(f"there is no norm {text}"))
    assert reason.isprintable() and reason.isascii() and len(reason) < 600
    reason.encode()


# -- questions ----------------------------------------------------------------------------------------------------


def inside(statement: Statement, x: np.ndarray) -> bool:
    """By the definition of a region, in numbers that are exact here."""
    if (x < statement.lower).any() or (x > statement.upper).any():
        return False
    if statement.norm is None or statement.center is None:
        return True
    move = np.abs(x - statement.center)
    if statement.norm == "0":
        return bool((move.reshape(statement.channels, -1) > 0).any(0).sum() <= statement.radius)
    size = {"inf": move.max(), "1": move.sum(), "2": np.sqrt((move**2).sum())}[statement.norm]
    return bool(size <= statement.radius)


def random_statement(rng: np.random.Generator, like: Statement | None = None) -> Statement:
    """On a grid of quarters, so that regions meet at their sides; near another one, if it is given."""
    if like is not None:
        changes: dict[str, Any] = {}
        for name in rng.choice(["radius", "lower", "upper", "center", "norm", "channels", "unsafe", "float32"], 2):
            match name:
                case "radius":
                    changes["radius"] = like.radius + rng.choice([-0.25, 0.25, 0.0])
                case "lower" | "upper" | "center":
                    value = getattr(like, name)
                    if value is not None:
                        changes[name] = value + rng.choice([-0.25, 0.0, 0.25], len(value))
                case "norm" if like.norm is not None:
                    changes["norm"] = str(rng.choice(["0", "1", "2", "inf"]))
                case "channels":
                    changes["channels"] = int(rng.integers(1, 3))
                case "unsafe":
                    changes["unsafe"] = tuple((m, d + rng.choice([-0.25, 0, 0.25])) for m, d in like.unsafe)
                case "float32":
                    changes["float32"] = bool(rng.integers(2))
        return replace(like, **changes)
    n = 4
    center = rng.integers(0, 5, n) / 4
    lower, upper = center - rng.integers(0, 3, n) / 4, center + rng.integers(0, 3, n) / 4
    norm = [None, "0", "1", "2", "inf"][int(rng.integers(5))]
    unsafe = []
    for _ in range(int(rng.integers(1, 3))):
        k = int(rng.integers(1, 3))
        unsafe.append((rng.integers(-1, 2, (k, 2)).astype(np.float64), rng.integers(-2, 3, k) / 4))
    radius = np.inf if norm is None else float(rng.integers(0, 4)) / (1 if norm == "0" else 2)
    return Statement(lower, upper, norm, None if norm is None else center, radius, 1, tuple(unsafe))


def valid(statement: Statement) -> bool:
    try:
        statement.refuse_nothing()
    except Rejected:
        return False
    return True


def test_a_question_that_is_answered_is_contained() -> None:
    """Points of the grid: all of an answered question's inputs and unsafe outputs are in the proof's; none for another."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(*[np.arange(-4, 9) / 4] * 4, indexing="ij"), -1).reshape(-1, 4)
    outputs = np.stack(np.meshgrid(*[np.arange(-8, 9) / 8] * 2, indexing="ij"), -1).reshape(-1, 2)
    answered = refused = planted = 0
    while answered < 120 or planted < 120:
        proved = random_statement(rng)
        asked = random_statement(rng, proved) if rng.random() < 0.8 else random_statement(rng)
        if not (valid(proved) and valid(asked)):
            continue
        points = grid[rng.integers(0, len(grid), 200)]
        near = asked.lower + rng.integers(0, 3, (200, 4)) / 2 * (asked.upper - asked.lower)
        points = np.concatenate([points, near, asked.lower[None], asked.upper[None]])
        escapes = any(inside(asked, x) and not inside(proved, x) for x in points)
        unsafe = [
            np.stack([(outputs @ m.T <= d).all(1) for m, d in statement.unsafe]).any(0) for statement in (proved, asked)
        ]
        escapes |= bool((unsafe[1] & ~unsafe[0]).any()) or (asked.float32 and not proved.float32)
        words = difference([proved], [asked])
        if escapes:
            planted += 1
            assert words is not None and "\n" not in words
        answered += words is None
        refused += words is not None
    assert refused >= 120
    assert difference([proved], [proved]) is None


def test_nan_is_never_contained() -> None:
    rng = np.random.default_rng(1)
    statement = next(s for s in iter(lambda: random_statement(rng), None) if s.norm == "inf" and valid(s))
    broken = np.full(4, np.nan)
    for change in ({"lower": broken}, {"upper": broken}, {"center": broken}, {"radius": np.nan}):
        assert region_difference(statement, replace(statement, **change)) is not None
        assert region_difference(replace(statement, **change), statement) is not None
    rows = np.ones((1, 2))
    assert not contains((rows, np.array([np.nan])), (rows, np.zeros(1)))
    assert not contains((rows, np.zeros(1)), (rows, np.array([np.nan])))


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_questions_about_images(norm: str, subject: tuple[Path, Path, np.ndarray], tmp_path: Path) -> None:
    path, _, image = subject
    radius = 1.0 if norm == "0" else 0.06
    model, network = Model(path), Model(path).network

    def asked(label: int = 0, norm: str = norm, radius: float = radius, **options: Any) -> list[Statement]:
        threat = Threat(norm, radius, **{key: value for key, value in options.items() if key != "image"})
        specification = robustness(options.get("image", image), label, threat, 3)
        return statements(Query(network, specification, Objective.FEASIBILITY, path))

    ball: dict[str, Any] = {"valid_range": (0.2, 0.8), "margin": 0.0} if norm == "0" else {}
    outcome = certify(model, image, 0, Threat(norm, radius, **ball), settings=replace(QUICK, proofs=tmp_path))
    assert outcome.proof is not None, outcome.statistics
    proved = check(outcome.proof, path).cases
    smaller: list[dict[str, Any]] = [{}, {"target": 2}, {"margin": 0.25}, {"radius": radius / 2}]
    for answered in smaller:
        assert difference(proved, asked(**{**ball, **answered})) is None
    moved = image.copy()
    moved[2] = np.nextafter(moved[2], 1)
    others: dict[str, dict[str, Any]] = {
        "norm": {"norm": "2" if norm == "inf" else "inf"},
        "radius": {"radius": radius + 1 if norm == "0" else float(np.nextafter(radius, 1))},
        "class 1": {"label": 1},
        "another center": {"image": moved},
    }
    for reason, other in others.items():
        assert reason in str(difference(proved, asked(**{**ball, **other})))
    if norm == "0":
        assert "box" in str(difference(proved, asked(valid_range=(0.1, 0.8))))


# -- rounding -----------------------------------------------------------------------------------------------------


def test_underflow_is_counted(tmp_path: Path) -> None:
    """Weights and limits so small that every product is 0: nothing is proved that is false by less than that."""
    for size in (1e-200, 1e-310, 5e-324):
        path = linear(tmp_path / "m.onnx", np.array([[size], [-size]]), np.zeros(2), double=True)
        network = Network(onnx.load(str(path)))
        region = Region(np.full(1, -size), np.full(1, size))
        values, _ = part_values(network, region, (np.eye(2), np.zeros(2)))
        assert (values <= 0).all()  # -size * size is below 0
        values, _ = part_values(network, region, (np.eye(2), np.array([0.0, -1.0])))
        assert values[0] <= 0 < values[1]


def test_squares_that_underflow_do_not_shrink_a_ball() -> None:
    for norm in ("1", "2"):
        region = Region.of(np.full(4, -1.0), np.ones(4), norm, np.zeros(4), 0.5)
        for size in (1e-170, 1e-300, 1e200):
            bound = region.minimum(np.full((1, 4), size), np.zeros(1), np.zeros(1))
            exact = -0.5 * size * (2.0 if norm == "2" else 1.0)
            assert bound[0] <= exact and (size > 1 or bound[0] >= 1.001 * exact)


def test_what_overflows_proves_nothing(tmp_path: Path) -> None:
    """Weights near the largest number: bounds are refused or right, never NaN that is taken for a proof."""
    refused = 0
    for size in (1e150, 1e307, 1.7e308):
        path = linear(tmp_path / "m.onnx", np.array([[size, size], [size, -size]]), np.array([size, 0.0]), double=True)
        network = Network(onnx.load(str(path)))
        region = Region(np.full(2, -3.0), np.full(2, 3.0))
        with np.errstate(all="ignore"):
            try:
                values, _ = part_values(network, region, (np.eye(2), np.zeros(2)))
                assert (values <= 0).all()
            except Rejected:
                refused += 1
            bounds = Relaxation(network, region).intervals[-1]
            assert not (bounds[0] > -size).any()
    assert refused


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_compares(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    run("certify", "zoo:digits-mlp", "--eps", "0.03", "--images", "0", "--out", str(out), "--proofs", str(tmp_path))
    proof = json.loads(out.read_text())["proof"]
    valid = run("check", proof, "zoo:digits-mlp", "--image", "0", "--eps", "0.03", "--values")
    assert valid.returncode == 0 and "the proof answers it" in valid.stdout and "center: " in valid.stdout
    other = run("check", proof, "zoo:digits-mlp", "--image", "1", "--eps", "0.03")
    assert other.returncode == 1 and other.stdout.startswith("another question: ")
    assert len(other.stdout.strip().splitlines()) == 1
    half = run("check", proof, "zoo:digits-mlp", "--eps", "0.03")
    assert half.returncode == 2 and "--image and --eps" in half.stderr


def test_the_command_compares_with_properties(tmp_path: Path) -> None:
    names = [f"(declare-const X_{i} Real)" for i in range(64)] + [f"(declare-const Y_{i} Real)" for i in range(10)]

    def write(name: str, high: float, output: str) -> str:
        box = "".join(f"(assert (>= X_{i} 0))(assert (<= X_{i} {high}))" for i in range(64))
        (tmp_path / name).write_text("".join(names) + box + output)
        return str(tmp_path / name)

    asked, proof = write("a.vnnlib", 0.01, "(assert (>= Y_0 1000))"), str(tmp_path / "p.proof")
    assert run("verify", str(path_of("digits-mlp")), asked, "--proof", proof).returncode == 0
    check_ = ("check", proof, "zoo:digits-mlp", "--property")
    assert run(*check_, asked).returncode == 0
    assert run(*check_, write("b.vnnlib", 0.005, "(assert (>= Y_0 2000))")).returncode == 0
    for name, high, output in (("c", 0.02, "(assert (>= Y_0 1000))"), ("d", 0.01, "(assert (>= Y_0 999))")):
        other = run(*check_, write(name, high, output))
        assert other.returncode == 1 and other.stdout.startswith("another question: ")

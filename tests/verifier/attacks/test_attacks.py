"""Every attack against analytic cases, and none below what is proved."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import run

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.attacks import ATTACKS, make_attack
from advverify.verifier.attacks.adil import Adil, fooling_rate, laplace_codes, perturbed, relative_mse
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.measure import closest, within
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.attacks.universal import Universal
from advverify.verifier.bounds import InputSet
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.norms import get_norm

SIZE, CLASSES = 16, 3
QUICK = {"carlini-wagner-inf": {"steps": 60}, "carlini-wagner-0": {"steps": 40}, "one-pixel": {"generations": 5}}
FOREIGN = pytest.mark.filterwarnings("ignore")  # what other packages import may be deprecated
CASES = [
    pytest.param(name, norm, marks=[FOREIGN] if entry.package else [], id=f"{name}-{norm}")
    for name, entry in ATTACKS.items()
    for norm in entry.norms or ("inf",)
    if not entry.learned
]


def linear(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(CLASSES, SIZE, generator=generator, dtype=torch.float64)
    bias = torch.randn(CLASSES, generator=generator, dtype=torch.float64) * 0.1
    return weight, bias


def problem_of(norm: str, count: int = 6) -> tuple[ClassificationProblem, torch.Tensor]:
    """Images near the middle of the range, so that the box does not matter, and exact distances (count,)."""
    weight, bias = linear()
    generator = torch.Generator().manual_seed(1)
    x = 0.5 + 0.05 * torch.randn(count, SIZE, generator=generator, dtype=torch.float64)
    logits = x @ weight.T + bias
    y = logits.argmax(1)
    dual = {"inf": 1, "2": 2, "1": torch.inf}.get(norm, 2)
    exact = torch.full((count,), torch.inf, dtype=torch.float64)
    for k in range(CLASSES):
        gap = logits.gather(1, y.view(-1, 1)).squeeze(1) - logits[:, k]
        length = torch.linalg.vector_norm(weight[y] - weight[k], dual, dim=1)
        exact = torch.where(y == k, exact, torch.minimum(exact, gap / length.clamp(min=1e-12)))
    return ClassificationProblem.unbounded(lambda p: p @ weight.T + bias, x, y, get_norm(norm)), exact


@pytest.mark.parametrize(("name", "norm"), CASES)
def test_on_a_linear_classifier_nothing_is_below_the_exact_distance(name: str, norm: str) -> None:
    problem, exact = problem_of(norm)
    found = closest(name, make_attack(name, (1, 4, 4), **QUICK.get(name, {})), problem)
    assert bool((problem.violation(found.points)[found.success] < 0).all())
    assert bool((found.points >= 0).all() and (found.points <= 1).all())
    if norm in ("inf", "2", "1"):
        assert bool((found.distance(problem.images, get_norm(norm)) >= exact * (1 - 1e-9)).all())


@FOREIGN
@pytest.mark.parametrize(
    ("ours", "theirs", "norm"),
    [
        ("pgd", "foolbox-pgd", "inf"),
        ("pgd", "foolbox-pgd", "2"),
        ("pgd", "art-auto-pgd", "inf"),
        ("deepfool-2", "foolbox-deepfool", "2"),
        ("deepfool-inf", "foolbox-deepfool", "inf"),
        ("carlini-wagner-2", "foolbox-carlini-wagner", "2"),
        ("carlini-wagner-2", "foolbox-ddn", "2"),
    ],
)
def test_other_packages_find_nothing_much_closer(ours: str, theirs: str, norm: str) -> None:
    """The same images, both measured in the same way; and an adapter that does nothing would be far behind."""
    network, data = read_onnx(path_of("digits-mlp")), load_dataset("digits")
    images = torch.tensor(data.images[:10].reshape(10, -1), dtype=torch.float64)
    labels = torch.tensor(data.labels[:10])
    problem = ClassificationProblem.unbounded(lambda p: evaluate(network, p), images, labels, get_norm(norm))
    measured = [closest(name, make_attack(name), problem) for name in (ours, theirs)]
    own, other = (float(m.distance(images, get_norm(norm)).median()) for m in measured)
    assert own <= 1.05 * other and other <= 2 * own


@FOREIGN
def test_adapters_pursue_targets_and_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, _ = problem_of("2")
    aimed = problem.towards((problem.labels + 1) % CLASSES)
    for name in ("foolbox-ddn", "art-hop-skip-jump"):
        found = closest(name, make_attack(name), problem if name.startswith("art") else aimed)
        assert bool(found.success.all())
    for package, name in (("foolbox", "foolbox-ddn"), ("art.attacks", "art-auto-pgd")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InvalidInput, match=r"\[attacks\]"):
            closest(name, make_attack(name), problem)


@pytest.mark.parametrize(
    ("name", "norm", "factor"),
    [
        ("deepfool-2", "2", 1.001),
        ("deepfool-inf", "inf", 1.001),
        ("fgsm", "inf", 1.1),
        ("pgd", "inf", 1.01),
        ("pgd", "2", 1.01),
        ("bim", "2", 1.05),
        ("lbfgs", "2", 1.1),
        ("carlini-wagner-2", "2", 1.05),
        ("carlini-wagner-inf", "inf", 1.3),
    ],
)
def test_exact_on_a_linear_classifier_where_theory_says_so(name: str, norm: str, factor: float) -> None:
    problem, exact = problem_of(norm)
    found = closest(name, make_attack(name, (1, 4, 4)), problem)
    ratio = found.distance(problem.images, get_norm(norm)) / exact
    assert float(ratio.median()) <= factor


def test_targeted_attacks_reach_their_target() -> None:
    problem, _ = problem_of("2")
    targets = (problem.labels + 1) % CLASSES
    for name in ("deepfool-2", "pgd", "carlini-wagner-2", "lbfgs", "jsma"):
        found = closest(name, make_attack(name), problem.towards(targets))
        reached = problem.forward(found.points).argmax(1) == targets
        assert bool(reached[found.success].all()) and float(found.success.double().mean()) > 0.5, name


def test_one_pixel_agrees_with_exhaustive_search() -> None:
    data, network = load_dataset("digits"), read_onnx(path_of("digits-mlp"))
    x, y = torch.from_numpy(data.images[:8].reshape(8, -1)), torch.from_numpy(data.labels[:8])
    ends = torch.cat([x.repeat_interleave(64, 0), x.repeat_interleave(64, 0)])
    index = torch.arange(64).repeat(8)
    ends[torch.arange(512), index], ends[torch.arange(512, 1024), index] = 0.0, 1.0
    fooled = evaluate(network, ends).argmax(1) != y.repeat_interleave(64).repeat(2)
    possible = fooled.view(2, 8, 64).any(2).any(0)
    problem = ClassificationProblem.unbounded(lambda p: evaluate(network, p), x, y, get_norm("0"))
    found = within(make_attack("one-pixel", generations=40, population=20), problem)
    assert bool((get_norm("0").length(found.points - x) <= 1).all())
    assert int((found.success & ~possible).sum()) <= 1  # the ends need not be the worst values of a pixel
    assert int((possible & ~found.success).sum()) <= 1


def test_houdini_descends_with_the_margin() -> None:
    problem, exact = problem_of("inf")
    houdini = ClassificationProblem.unbounded(
        problem.forward, problem.images, problem.labels, get_norm("inf"), "houdini"
    )
    found = closest("pgd", make_attack("pgd"), houdini)
    assert float((found.distance(problem.images, get_norm("inf")) / exact).median()) < 1.05


def test_one_perturbation_for_all() -> None:
    data, network = load_dataset("digits"), read_onnx(path_of("digits-mlp"))
    x, y = torch.from_numpy(data.images[:60].reshape(60, -1)), torch.from_numpy(data.labels[:60])
    problem = ClassificationProblem.balls(lambda p: evaluate(network, p), x, y, get_norm("inf"), 0.25)
    generator = torch.Generator().manual_seed(0)
    rates = []
    for method in ("sgd", "deepfool"):
        delta = Universal(method).learn(problem, generator).delta
        assert float(delta.abs().max()) <= 0.25 + 1e-12
        rates.append(fooling_rate(problem.forward, x, (x + delta).clamp(0, 1)))
    noise = [0.25 * torch.randn(64, generator=generator, dtype=torch.float64).sign() for _ in range(10)]
    random = [fooling_rate(problem.forward, x, (x + delta).clamp(0, 1)) for delta in noise]
    assert min(rates) > float(np.mean(random)) + 0.1


@pytest.mark.parametrize("eps", [None, 0.3])
@pytest.mark.parametrize("norm", ["2", "inf"])
def test_dictionaries_descend_and_keep_their_constraints(eps: float | None, norm: str) -> None:
    problem, _ = problem_of("2", count=20)
    generator = torch.Generator().manual_seed(0)
    for batch in (0, 5):
        learner = Adil(atoms=4, steps=30, batch=batch, eps=eps, norm=norm, targeted=batch == 0)
        learned = learner.learn(problem.forward, problem.images, problem.labels, generator)
        if batch == 0:
            assert all(b <= a for a, b in zip(learned.objective, learned.objective[1:], strict=False))
            assert learned.objective[-1] < learned.objective[0]
        size = learned.atoms.abs().amax(0) if eps and norm == "inf" else learned.atoms.norm(dim=0)
        assert bool((size <= 1 + 1e-9).all())
        assert all(r >= 0 for r in learned.residual) and len(learned.residual) > 0
        codes = learner.code(problem.forward, problem.images, problem.labels, learned)
        drawn = laplace_codes(problem.forward, problem.images, learned, generator, trials=5)
        if eps is not None:
            for some in (learned.codes, codes, drawn):
                assert float(get_norm(norm).length(some @ learned.atoms.T).max()) <= eps * (1 + 1e-9)
        moved = perturbed(problem.images, codes, learned)
        assert (
            relative_mse(problem.images, moved) >= 0 and 0 <= fooling_rate(problem.forward, problem.images, moved) <= 1
        )


def test_dictionaries_become_stationary() -> None:
    problem, _ = problem_of("2", count=20)
    learner = Adil(atoms=3, steps=800)
    learned = learner.learn(problem.forward, problem.images, problem.labels, torch.Generator().manual_seed(0))
    assert learned.residual[-1] < 1e-3 * learned.residual[0]


def test_no_attack_is_below_the_proved_distance(tmp_path: Path) -> None:
    lines, table = tmp_path / "exact.jsonl", tmp_path / "attacks.jsonl"
    for norm in ("inf", "2"):
        done = run(
            "distance", "zoo:digits-mlp", "--norm", norm, "--images", "0:3", "--gap", "0.001", "--out", str(lines)
        )
        assert done.returncode == 0
    names = "fgsm,bim,pgd,deepfool-2,deepfool-inf,lbfgs,carlini-wagner-2,square"
    arguments = ["attack", "zoo:digits-mlp", "--attack", names, "--images", "0:3", "--exact", str(lines)]
    done = run(*arguments, "--out", str(table))
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in table.read_text().splitlines()]
    best = {norm: min(r["ratio"] for r in rows if r["norm"] == norm) for norm in ("inf", "2")}
    assert all(0.9999 <= ratio <= 1.05 for ratio in best.values()) and all(row["below"] == [] for row in rows)
    lied = lines.read_text().replace('"lower": 0.0', '"lower": 9.0')
    lines.write_text(lied)
    wrong = run(*arguments)
    assert wrong.returncode == 1 and "a bug in one of the two" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--attack", "magic"], "unknown attack 'magic'"),
        (["--attack", ", "], "names no attack"),
        (["--eps", "-1"], "--eps must be"),
        (["--attack", "jsma", "--norm", "2"], "none of these attacks knows"),
        (["--source", "zoo:mnist-resnet-cpl"], "other inputs or outputs"),
        (["--exact", "README.md"], "not the lines of"),
        (["--margin", "-1"], "--margin must be"),
        (["--attack", "foolbox-ddn", "--margin", "1"], "attacks of other packages know none"),
        (["--attack", "pgd", "--fit", "0:9"], "none of these attacks is learned"),
        (["--attack", "adil", "--fit", "1:9"], "have 1 images in common, the first is 1"),
        (["--attack", "adil", "--fit", "2:400"], "--fit 2:400"),
        (["--learned", "README.md"], "not a learned attack"),
    ],
)
def test_attack_refuses(arguments: list[str], message: str) -> None:
    done = run("attack", "zoo:digits-mlp", "--images", "0:2", *arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_transfer_from_another_network() -> None:
    done = run("attack", "zoo:digits-mlp", "--attack", "pgd", "--norm", "inf", "--eps", "0.2", "--images", "0:20")
    other = run(
        *["attack", "zoo:digits-mlp", "--attack", "pgd", "--norm", "inf", "--eps", "0.2", "--images", "0:20"],
        *["--source", "zoo:digits-resnet-cpl"],
    )
    assert done.returncode == other.returncode == 0

    def success(text: str) -> float:
        found = re.search(r" (\d+) % ", text)
        assert found is not None
        return float(found[1])

    assert success(other.stdout) <= success(done.stdout)


def test_images_without_a_shape() -> None:
    with pytest.raises(InvalidInput, match="channels, height, width"):
        make_attack("square", (64,))


def test_descents_without_hope_are_given_up() -> None:
    """After the trial steps, where all of the batch has kept most of its violation; one that falls keeps it going."""
    calls = 0

    class Slope:
        """Violation 1 + slope * x in [0, 1], where x begins at 0.5."""

        def __init__(self, slopes: list[float]) -> None:
            self.slopes = torch.tensor(slopes)
            self.inputs = InputSet(torch.zeros(len(slopes), 1), torch.ones(len(slopes), 1))

        def __len__(self) -> int:
            return len(self.slopes)

        def losses(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            nonlocal calls
            calls += 1
            value = 1 + self.slopes * (x[:, 0] - 0.5)
            return value, value

        def rows_of(self, index: torch.Tensor) -> "Slope":
            return Slope(self.slopes[index].tolist())

    attack = Pgd(steps=12, restarts=1, trial=3, hope=0.6)
    for slopes, expected in (([0.1, 0.2], 4), ([0.1, 1.5], 13)):
        calls = 0
        attack(Slope(slopes), torch.Generator())  # type: ignore[arg-type]
        assert calls == expected

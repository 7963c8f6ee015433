"""Does training against dictionaries defend against them? Four defences, several seeds, attackers that know the defence.

    python -m examples.dictionary_defences                              # digits, some ten minutes on two cores

Every defended network is attacked by a dictionary that was learned on itself, by the one of the undefended network of the same seed,
and by PGD, all at one radius and on test images. The seed is the unit: rates are compared by permutation tests.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch

from advverify.cli.report.figures import require_report
from advverify.models.build import build_once
from advverify.models.comparison.permutations import permutation_test
from advverify.models.comparison.statistics import decision, t_interval
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.defences.adversary import Adversary
from advverify.models.recipe import Recipe
from advverify.models.zoo import recipe_of
from advverify.verifier.attacks import make_attack
from advverify.verifier.attacks.measure import within
from advverify.verifier.network.evaluate import predict

from .dictionaries import Study, prepare
from .evaluation import keep, markdown

DEFENCES: dict[str, dict[str, Any]] = {
    "none": {},
    "adversarial training, dictionary": {"attack": "dictionary", "steps": 10},
    "noise injection": {"attack": "dictionary", "noise": True},
    "adversarial training, PGD": {"attack": "pgd", "steps": 5, "step": 0.35},
}
ATTACKS = ("own dictionary", "dictionary of the undefended", "PGD")


def defended(base: str, defence: str, eps: float, seed: int, atoms: int) -> Recipe:
    """The base recipe with a defence; half of each batch stays clean, as the talk has it."""
    chosen = recipe_of(base)
    options = DEFENCES[defence]
    adversary = Adversary(eps, norm="2", share=0.5, atoms=atoms, **options) if options else None
    training = replace(chosen.training, seed=seed)
    return replace(chosen, name=f"{base}, {defence}", training=training, adversary=adversary)


def measured(study: Study, name: str, plain: str, test: Dataset, atoms: int, seed: int) -> dict[str, Any]:
    """Accuracy and shares of unseen images that are fooled, as counts."""
    problem = study.problem(name, study.unseen)
    found = within(make_attack("pgd"), problem, seed)
    own = study.fooled(name, name, "adil", atoms, seed, False, 3)
    old = study.fooled(plain, name, "adil", atoms, seed, False, 0)
    x = torch.from_numpy(test.images.reshape(len(test), -1))
    right = float((predict(study.models[name].network, x).numpy() == test.labels).mean())
    rates = [own["fooled"] / own["of"], old["fooled"] / old["of"], float(found.success.double().mean())]
    return {"accuracy": right, "of": own["of"], "control": own["control"], **dict(zip(ATTACKS, rates, strict=True))}


@click.command()
@click.option("--base", default="digits-resnet-plain", show_default=True, help="A shipped recipe of digits.")
@click.option("--eps", default=0.6, show_default=True, help="Radius in norm 2, of training and attacks.")
@click.option("--atoms", default=10, show_default=True)
@click.option("--seeds", default=5, show_default=True)
@click.option("--images", default="0:360", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/dictionary-defences"), show_default=True)
def main(base: str, eps: float, atoms: int, seeds: int, images: str, work: Path) -> None:
    """Train what is not there yet, attack, keep the table."""
    require_report()
    torch.set_num_threads(1)
    training, test = load_dataset("digits", "train"), load_dataset("digits", "test")
    (work / "networks").mkdir(parents=True, exist_ok=True)
    paths: dict[tuple[str, int], str] = {}
    for seed in range(seeds):
        for defence in DEFENCES:
            recipe = defended(base, defence, eps, seed, atoms)
            path = work / "networks" / f"{recipe.fingerprint}.onnx"
            if build_once(recipe, training, test, path):
                print(f"trained {recipe.name}, seed {seed}", flush=True)
            paths[defence, seed] = str(path)
    study = prepare(",".join(paths.values()), "digits", "0:300", images, "2", eps, seeds, work)
    records: dict[str, list[dict[str, Any]]] = {defence: [] for defence in DEFENCES}
    for (defence, seed), name in paths.items():
        make = partial(measured, study, name, paths["none", seed], test, atoms, seed)
        key = study.key("defence", name, paths["none", seed], atoms, seed)
        records[defence].append(study.rows.get(key, make))
    rows = []
    for defence, found in records.items():
        cells = [defence, f"{100 * sum(f['accuracy'] for f in found) / len(found):.1f} %"]
        for attack in ATTACKS:
            rates = [(f[attack], f[attack]) for f in found]
            mean = sum(rate for rate, _ in rates) / len(rates)
            low, high = (min(max(side, 0.0), 1.0) for side in t_interval(rates))
            cell = f"{100 * mean:.1f} % [{100 * low:.0f}, {100 * high:.0f}]"
            if defence != "none" and len(rates) > 1:
                p = permutation_test(rates, [(f[attack], f[attack]) for f in records["none"]])
                cell += f", p {p[1]:.2g}" + ("" if decision(p) == "significant" else " (n.s.)")
            cells.append(cell)
        control = sum(f["control"] for f in found) / len(found)
        rows.append([*cells, f"{100 * control:.1f} %"])
    text = [f"# Training against dictionaries, {base}, norm 2, radius {eps:g}", ""]
    text += [
        f"{seeds} seeds, {atoms} atoms; {len(study.unseen[0])} test images, of which those count that a network classifies rightly; "
        "fooling rates as means over the seeds with Student's 95 % interval, and two-sided p values of permutations of the seeds against no "
        "defence (the least that five seeds a side can give is 0.008). A dictionary is adaptive where it was learned on the defended network "
        "itself. Control: the own dictionary's atoms with random signs. Made by `python -m examples.dictionary_defences`.",
        "",
        *markdown(["defence", "accuracy", *ATTACKS, "control"], rows),
    ]
    keep("dictionary-defences-digits", text, {d: found for d, found in records.items()})


if __name__ == "__main__":
    main()

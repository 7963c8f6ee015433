"""Attacks: searches for inputs that violate a specification. One file each, one line in `ATTACKS`.

An attack only proposes points. `base.run` re-evaluates every one of them, and no point counts as a counterexample
before the original ONNX file has agreed (`engines.falsify`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from ..errors import InvalidInput, no_such
from .base import Attack, AttackProblem, AttackResult, Problem, run

__all__ = ["ATTACKS", "OWN", "Attack", "AttackProblem", "AttackResult", "Entry", "Problem", "make_attack", "run"]


@dataclass(frozen=True)
class Entry:
    """An attack's place in the typology.

    Attributes:
        place: "file:Class" in this folder.
        norms: in which it can be asked for a perturbation.
        kind: "ball" fills a ball of given radius, "minimal" looks for a small perturbation, "universal" for one that
            fools many images (or one a target class), "learned" for a network or a dictionary that makes perturbations of any
            image, "spatial" moves pixels and knows no norm.
        knowledge: "white" (gradients) or "black" box.
        paper: where it comes from.
        options: of the class.
        image: whether the class needs the images' shape.
        package: that it needs, from the extra `[attacks]`; empty for our own attacks.
    """

    place: str
    norms: tuple[str, ...]
    kind: str
    knowledge: str
    paper: str
    options: dict[str, Any] = field(default_factory=dict)
    image: bool = False
    package: str = ""

    @property
    def learned(self) -> bool:
        """Whether it is learned on some images and measured on others (`learned.fit` and `learned.measure`)."""
        return self.kind in ("universal", "learned")


_BALLS = ("inf", "2", "1")
_BIM = {"steps": 20, "restarts": 1, "first_step": 0.125, "last_step": 0.125, "momentum": 0.0}
_FOOLBOX_PGD = {
    "classes": {
        "inf": "LinfProjectedGradientDescentAttack",
        "2": "L2ProjectedGradientDescentAttack",
        "1": "L1ProjectedGradientDescentAttack",
    },
    "ball": True,
}
ATTACKS = {
    "noise": Entry("noise:Noise", _BALLS, "ball", "black", "-"),
    "evasion": Entry("evasion:Evasion", _BALLS, "ball", "white", "Biggio 2013"),
    "fgsm": Entry("fgsm:Fgsm", _BALLS, "ball", "white", "Goodfellow 2015"),
    "bim": Entry("pgd:Pgd", _BALLS, "ball", "white", "Kurakin 2017", _BIM),
    "least-likely": Entry("least_likely:LeastLikely", _BALLS, "ball", "white", "Kurakin 2017"),
    "pgd": Entry("pgd:Pgd", _BALLS, "ball", "white", "Madry 2018", {"steps": 40, "restarts": 4}),
    "lbfgs": Entry("lbfgs:Lbfgs", ("2",), "minimal", "white", "Szegedy 2014"),
    "carlini-wagner-2": Entry("carlini_wagner:CarliniWagner", ("2",), "minimal", "white", "Carlini 2017"),
    "carlini-wagner-inf": Entry(
        "carlini_wagner:CarliniWagner", ("inf",), "minimal", "white", "Carlini 2017", {"norm": "inf", "rounds": 4}
    ),
    "carlini-wagner-0": Entry(
        "carlini_wagner:CarliniWagner", ("0",), "minimal", "white", "Carlini 2017", {"norm": "0", "rounds": 3}
    ),
    "deepfool-2": Entry("deepfool:DeepFool", ("2",), "minimal", "white", "Moosavi-Dezfooli 2016"),
    "deepfool-inf": Entry("deepfool:DeepFool", ("inf",), "minimal", "white", "Moosavi-Dezfooli 2016", {"norm": "inf"}),
    "jsma": Entry("jsma:Jsma", ("0",), "minimal", "white", "Papernot 2016"),
    "greedy-l0": Entry("greedy_l0:GreedyL0", ("0",), "minimal", "black", "-"),
    "one-pixel": Entry("one_pixel:OnePixel", ("0",), "minimal", "black", "Su 2019"),
    "square": Entry("square:Square", ("inf",), "ball", "black", "Andriushchenko 2020", {}, True),
    "universal-deepfool": Entry(
        "universal:Universal", ("inf", "2"), "universal", "white", "Moosavi-Dezfooli 2017", {"method": "deepfool"}
    ),
    "universal-sgd": Entry("universal:Universal", ("inf", "2"), "universal", "white", "Shafahi 2020"),
    "upset": Entry("upset:Upset", ("inf", "2"), "universal", "white", "Sarkar 2017"),
    "angri": Entry("generator:Angri", ("inf", "2"), "learned", "white", "Sarkar 2017"),
    "atn": Entry("atn:Atn", ("inf", "2"), "learned", "white", "Baluja 2018"),
    "adil": Entry("dictionary:DictionaryAttack", ("inf", "2"), "learned", "white", "Frecon 2021"),
    "sadil": Entry(
        "dictionary:DictionaryAttack", ("inf", "2"), "learned", "white", "Frecon 2021", {"batch": 32, "steps": 20}
    ),
    "flow": Entry("spatial:Flow", (), "spatial", "white", "Xiao 2018", {}, True),
    "rotation": Entry("spatial:Rotation", (), "spatial", "black", "Engstrom 2019", {}, True),
    "foolbox-pgd": Entry(
        "from_foolbox:Foolbox", _BALLS, "ball", "white", "Madry 2018", _FOOLBOX_PGD, package="foolbox"
    ),
    "foolbox-deepfool": Entry(
        *("from_foolbox:Foolbox", ("2", "inf"), "minimal", "white", "Moosavi-Dezfooli 2016"),
        {"classes": {"2": "L2DeepFoolAttack", "inf": "LinfDeepFoolAttack"}},
        package="foolbox",
    ),
    "foolbox-carlini-wagner": Entry(
        *("from_foolbox:Foolbox", ("2",), "minimal", "white", "Carlini 2017"),
        {"classes": {"2": "L2CarliniWagnerAttack"}, "arguments": {"steps": 300}},
        package="foolbox",
    ),
    "foolbox-ddn": Entry(
        *("from_foolbox:Foolbox", ("2",), "minimal", "white", "Rony 2019", {"classes": {"2": "DDNAttack"}}),
        package="foolbox",
    ),
    "foolbox-ead": Entry(
        *("from_foolbox:Foolbox", ("1",), "minimal", "white", "Chen 2018"),
        {"classes": {"1": "EADAttack"}, "arguments": {"steps": 300}},
        package="foolbox",
    ),
    "art-auto-pgd": Entry(
        *("from_art:Art", _BALLS, "ball", "white", "Croce 2020"),
        {"name": "AutoProjectedGradientDescent", "arguments": {"nb_random_init": 2, "max_iter": 40}, "ball": True},
        package="art",
    ),
    "art-hop-skip-jump": Entry(
        *("from_art:Art", ("2", "inf"), "minimal", "black", "Chen 2020"),
        {"name": "HopSkipJump", "arguments": {"max_iter": 20}},
        package="art",
    ),
}
OWN = tuple(name for name, entry in ATTACKS.items() if not entry.package)


def make_attack(name: str, image: tuple[int, ...] = (), **options: Any) -> Any:
    """An attack by name, with its usual options; `image` is the shape of one image, which some need.

    An `Attack`, or a `learned.Learner` where its entry is `learned`.

    Raises:
        InvalidInput: no such attack, or images that are not (channels, height, width).
    """
    if name not in ATTACKS:
        raise no_such("attack", name, ATTACKS)
    entry = ATTACKS[name]
    if entry.image:
        if len(image) != 3:
            raise InvalidInput(f"the attack {name} needs images of shape (channels, height, width), got {list(image)}")
        options = {"image": image, **options}
    file, cls = entry.place.split(":")
    return getattr(import_module(f".{file}", __package__), cls)(**{**entry.options, **options})

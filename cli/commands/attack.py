"""`advverify attack`: what each attack finds, how far away, and how far that is from the exact minimum."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.outcome import finite

from ..attacking import brackets_from, learn, save, source_from, try_attack, try_learned
from ..completion import MODEL, Names
from ..help import Command
from ..learned import keep, lesson_from, loaded
from ..options import DATA, SEED, data_for, images_from, model_path, norm_option, note, output_options, several_outputs
from ..places import is_page, writable_file, writable_folder, write_text
from ..progress import Progress
from ..saving import Gallery
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from advverify.verifier.attacks import Entry

    from ..report.attack_page import Tried

# Columns that a narrow screen does without, in this order; what an attack is and where it is from stands in its file.
_SPARE = {"paper": 1, "box": 2, "kind": 3, "rMSE": 4, "s": 5, "95 %": 6}
_ATTACKS = Names(
    "noise evasion fgsm bim least-likely pgd lbfgs carlini-wagner-2 carlini-wagner-inf carlini-wagner-0 deepfool-2 deepfool-inf "
    "jsma greedy-l0 one-pixel square universal-deepfool universal-sgd upset angri atn adil sadil flow rotation foolbox-pgd "
    "foolbox-deepfool foolbox-carlini-wagner foolbox-ddn foolbox-ead art-auto-pgd art-hop-skip-jump",
    "all",
)


@click.command("attack", cls=Command)
@click.argument("model", type=MODEL)
@click.option(
    "--attack",
    "names",
    default=None,
    type=_ATTACKS,
    metavar="NAME,...",
    help=f"Attacks, separated by commas, of {_ATTACKS}; or all that are our own.  [default: all]",
)
@norm_option(None, "Only this norm [default: all].")
@click.option("--eps", type=float, default=None, help="Radius [default: the closest adversarial example is sought].")
@click.option("--data", default=None, type=DATA, help="Data set [default: the model's own].")
@click.option(
    "--images", default="0:100", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option("--target", type=int, default=None, help="The class that must win [default: any but the label].")
@click.option(
    "--loss",
    type=click.Choice(["margin", "cross-entropy", "houdini"]),
    default="margin",
    show_default=True,
    help="What attacks by gradients descend.",
)
@click.option(
    "--margin",
    type=float,
    default=0.0,
    show_default=True,
    help="By how much the adversarial class must win, in logits (confidence, alpha).",
)
@click.option(
    "--source", default=None, metavar="MODEL", help="Attack this network instead and try what it finds (transfer)."
)
@click.option(
    "--fit",
    default=None,
    metavar="RANGE",
    help="Images that universal perturbations, generators and dictionaries are learned on, none of --images: 0:300 of the "
    "test set, train:0:300 of the training part.  [default: its first 300]",
)
@click.option(
    "--controls", type=click.IntRange(0, 1000), default=10, show_default=True, help="Draws of random signs beside them."
)
@click.option("--atoms", type=click.IntRange(1, 1000), default=10, show_default=True, help="Of dictionaries.")
@click.option(
    "--keep", "kept", type=click.Path(path_type=Path), default=None, help="Folder for what is learned: files, pictures."
)
@click.option(
    "--learned",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of --keep: tried as it is, here or on another network.",
)
@click.option(
    "--exact",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Lines of `distance --out`: brackets.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of attacks.")
@click.option(
    "-o",
    "--out",
    "outs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FILE.html",
    help="Write one JSON line an attack; or, to a name that ends in .html, a page. Both: give it twice.",
)
@output_options(save=True, rows="an attack")
def command(
    names: str | None,
    outs: tuple[Path, ...],
    kept: Path | None,
    learned: tuple[Path, ...],
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Run attacks on images that MODEL (a path or zoo:NAME) classifies rightly.

    Every point is evaluated afresh and checked by onnxruntime; distances are those of successes. With --exact the table
    shows the median ratio to the exact distance, and an attack below a proved lower side is an error (exit status 1).
    Attacks that are learned are never measured on images that they have seen; "control" is the success of the same
    perturbations with random signs.
    """
    import torch

    from advverify.verifier.api import Model
    from advverify.verifier.attacks import ATTACKS

    chosen = _chosen(names, learned, options)
    for out in outs:
        writable_file(out, "--out")
    if kept is not None or any(is_page(out) for out in outs):
        from ..report.figures import require_report

        require_report()
    if kept is not None:
        writable_folder(kept, "--keep")
    model = Model(model_path(options["model"]))
    several_outputs(model, options["model"], "attack")
    target, classes = options["target"], model.network.output_size
    if target is not None and not 0 <= target < classes:
        raise InvalidInput(f"--target {target}: the network has {classes} classes, 0 to {classes - 1}")
    say = partial(note, quiet=quiet)
    data = data_for(model, options["data"], say=say)
    asked = images_from(options["images"], len(data))
    data.check_range(asked)
    indices = [i for i in asked if model.predict(data.images[i]) == data.labels[i]]
    if target is not None:
        indices = [i for i in indices if data.labels[i] != target]
    if not indices:
        raise InvalidInput("no image of these is classified rightly, so there is nothing to attack")
    known = {} if options["exact"] is None else brackets_from(options["exact"], model.network.sha256, options["margin"])
    x = torch.from_numpy(data.images[indices].reshape(len(indices), -1))
    y = torch.from_numpy(data.labels[indices])
    shape = tuple(data.images.shape[1:])
    source = None if options["source"] is None else source_from(options["source"], model.network)
    files = [loaded(path, model) for path in learned]
    runs = [
        (name, norm)
        for name in chosen
        for norm in ATTACKS[name].norms or ("inf",)
        if options["norm"] in (None, norm) and not (ATTACKS[name].kind == "spatial" and options["norm"])
    ]
    if not runs and not files:
        raise InvalidInput(f"none of these attacks knows the norm {options['norm']}")
    silent = [name for name in chosen if name not in dict(runs)]
    if silent and names not in (None, "all"):
        say(f"left out, since they do not know the norm {options['norm']}: {', '.join(silent)}")
    lesson = None
    if any(ATTACKS[name].learned for name in chosen):
        lesson = lesson_from(options["fit"], model, source or model.network, data, options["data"], asked, say)
    title = f"{options['model']}, {len(indices)} of {len(asked)} images of {data.name}"
    about = {
        "command": "attack",
        "model": options["model"],
        "model_sha256": model.network.sha256,
        "eps": options["eps"],
    }
    gallery = None if options["save"] is None else Gallery(options["save"], f"attack {title}", about)
    tried = []
    interrupted: KeyboardInterrupt | None = None
    with Progress(len(runs) + len(files), "attacks", quiet=quiet) as progress:
        try:
            for name, norm in runs:
                progress.doing(f"{name}, norm {norm}" if ATTACKS[name].norms else name)
                if ATTACKS[name].learned:
                    assert lesson is not None
                    fitted = learn(lesson, name, norm, options)
                    if kept is not None:
                        keep(fitted, shape, kept)
                    tried.append(try_learned(model, fitted, x, y, indices, known, source, options))
                else:
                    tried.append(try_attack(model, name, norm, x, y, indices, known, shape, source, options))
                progress.settle((name, norm))
            for path, fitted in zip(learned, files, strict=True):
                progress.doing(path.name)
                tried.append(try_learned(model, fitted, x, y, indices, known, source, options))
                progress.settle(path)
        except KeyboardInterrupt as stop:
            if not tried:
                raise
            stop.add_note(f"shown and written are the {len(tried)} of {len(runs) + len(files)} attacks that were done")
            interrupted = stop
    rows = [each.row for each in tried]
    lines = [json.dumps(finite({"schema": 1, "model": options["model"], **row})) for row in rows]
    for out in outs:
        if is_page(out):
            write_text(out, _page(tried, data.name, indices, x, y, shape, known, options), "--out")
        else:
            write_text(out, "".join(f"{line}\n" for line in lines), "--out")
    if gallery is not None:
        save(gallery, model, tried, data)
        gallery.close()
    if as_json:
        click.echo("\n".join(lines))
    elif not quiet:
        _show(rows, ATTACKS, title, bool(known))
    if gallery is not None and not quiet:
        click.echo(str(gallery), err=as_json)
    wrong = [row for row in rows if row["below"]]
    for row in wrong:
        click.echo(
            f"advverify: {row['attack']}, norm {row['norm']}: images {row['below']} are attacked below their proved distance: "
            "a bug in one of the two, please report it",
            err=True,
        )
    if interrupted is not None:
        raise interrupted
    return 1 if wrong else 0


def _chosen(names: str | None, learned: tuple[Path, ...], options: dict[str, Any]) -> list[str]:
    """The attacks to run, and options that make no sense refused.

    Raises:
        InvalidInput: an unknown attack, or a value that cannot be.
    """
    from advverify.verifier.attacks import ATTACKS, OWN

    if names is None and learned:
        names = ""
    elif names is None:
        names = "all"
    chosen = list(OWN) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    if not chosen and not learned:
        raise InvalidInput(f"'{names}' names no attack: choose all, {', '.join(ATTACKS)}")
    for name in chosen:
        if name not in ATTACKS:
            raise no_such("attack", name, ("all", *ATTACKS))
        if ATTACKS[name].package and options["margin"]:
            raise InvalidInput(f"--margin: attacks of other packages know none, and {name} is one; use our own")
    if not 0 <= options["margin"] < math.inf:
        raise InvalidInput(f"--margin must be a finite number of at least 0, got {options['margin']:g}")
    if options["eps"] is not None and (math.isnan(options["eps"]) or options["eps"] <= 0):
        raise InvalidInput(f"--eps must be a number above 0, got {options['eps']:g}")
    if options["fit"] is not None and not any(ATTACKS[name].learned for name in chosen):
        raise InvalidInput(
            "--fit: none of these attacks is learned; choose " + ", ".join(n for n, e in ATTACKS.items() if e.learned)
        )
    return chosen


def _page(
    tried: list[Tried],
    data: str,
    indices: list[int],
    x: Any,
    y: Any,
    shape: tuple[int, ...],
    known: dict[tuple[int, str], tuple[float, float]],
    options: dict[str, Any],
) -> str:
    """The page as text."""
    import tempfile

    from ..report.attack_page import Attacked, page

    asked = {"images": f"{options['images']} of {data}, those classified rightly", "loss": options["loss"]}
    asked |= {"target": "any other class" if options["target"] is None else f"class {options['target']}"}
    asked |= {"found on": options["model"] if options["source"] is None else options["source"]}
    asked |= {"seed": str(options["seed"])}
    attacked = Attacked(options["model"], data, indices, x.numpy(), y.numpy(), shape, known, options["eps"])
    with tempfile.TemporaryDirectory() as folder:
        return page(attacked, tried, Path(folder), asked)


def _show(rows: list[dict[str, Any]], attacks: dict[str, Entry], title: str, exact: bool) -> None:
    names = ["attack", "norm", "kind", "box", "paper", "success", "l0", "l1", "l2", "linf", "rMSE", "s"]
    learned = any(row.get("control") for row in rows)
    names += ["to exact"] if exact else []
    names[6:6] = ["95 %", *(["control"] if learned else [])]
    lines = []
    for row in rows:
        entry, median = attacks[row["attack"]], row["median"]
        cells = [row["attack"], row["norm"] if entry.norms else "-", entry.kind, entry.knowledge, entry.paper]
        cells += [f"{100 * row['success']:.0f} %", _interval(row["interval"])]
        cells += [_control(row)] if learned else []
        cells += [*(number(median[n], 3) for n in ("0", "1", "2", "inf"))]
        cells += [number(row["rmse"], 3), f"{row['seconds']:.1f}"]
        lines.append([*cells, *([number(row["ratio"], 3)] if exact else [])])
    words = ("attack", "kind", "box", "paper")
    screen = console()
    show(screen, [Column(name, name in words, spare=_SPARE.get(name, 0)) for name in names], lines, title)
    for spec, count in dict.fromkeys((r["learned"]["fit"], r["learned"]["images"]) for r in rows if "learned" in r):
        screen.print(f"learned on {count} images ({spec}), none of them measured on", markup=False)
    if learned:
        screen.print(
            "control: success of the same perturbations with random signs, mean and largest of the draws", markup=False
        )


def _interval(sides: tuple[float, float]) -> str:
    return f"{100 * sides[0]:.0f}-{100 * sides[1]:.0f}"


def _control(row: dict[str, Any]) -> str:
    control = row.get("control")
    return "-" if not control else f"{100 * control['mean']:.0f}, {100 * control['largest']:.0f} %"

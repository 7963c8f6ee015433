"""What may be said of a question: answers are held against exact arithmetic (proved sides) and onnxruntime (witnesses).

`robust`, `unsat` and every lower side speak of all real points of the closed region, so exact arithmetic on the stored
weights has the last word. Witnesses and upper sides are points: they have to lie in the region, exactly, and onnxruntime
has to find them unsafe. Where an interval holds no float32 number, its neighbours stand for it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnxruntime

from .ask import Answer
from .exact import Network
from .optimum import length, reachable, unsafe_parts
from .polytope import Point
from .properties import Property, Region
from .questions import Question, point


class Runtime:
    """onnxruntime on the file, one float32 input at a time."""

    def __init__(self, path: Path, shape: Sequence[int]) -> None:
        """Open a session."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._shape = (1, *shape)

    def __call__(self, x: Sequence[float] | np.ndarray) -> np.ndarray:
        """The output, flat."""
        row = np.asarray(x, dtype=np.float32).reshape(self._shape)
        return np.asarray(self._session.run(None, {"input": row})[0].ravel())


@dataclass(frozen=True)
class Judgement:
    """`status` is settled, open, refused or wrong; a wrong one says why, and how its printed form is known."""

    status: str
    fault: str = ""
    kind: str = ""
    expect: str = "."
    never: str = "Traceback"


def wrong(kind: str, fault: str, expect: str = ".", never: str = "Traceback") -> Judgement:
    """An answer that must not be given."""
    return Judgement("wrong", fault, kind, expect, never)


def judge(subject: Question | Property, network: Network, answers: Sequence[Answer], run: Runtime) -> list[Judgement]:
    """One judgement an answer."""
    found = []
    for k, answer in enumerate(answers):
        if answer.verdict == "error":
            found.append(wrong("traceback", answer.text.strip().splitlines()[-1]))
        elif answer.verdict == "refused":
            found.append(Judgement("refused", answer.text))
        elif answer.checked.startswith("not"):
            found.append(wrong("proof", f"a proof is {answer.checked}"))
        elif isinstance(subject, Property):
            found.append(_property(subject, network, answer, run))
        else:
            found.append(_image(subject, k, network, answer, run))
    return found


def float32(x: Sequence[float]) -> Point:
    """What the runtime makes of a point."""
    return tuple(Fraction(float(v)) for v in np.asarray(x, dtype=np.float32))


def neighbours(value: Fraction) -> tuple[Fraction, Fraction]:
    """The largest float32 number that is not above a value, and the smallest that is not below it."""
    near = np.float32(float(value))
    low = near if Fraction(float(near)) <= value else np.nextafter(near, np.float32(-np.inf))
    high = near if Fraction(float(near)) >= value else np.nextafter(near, np.float32(np.inf))
    return Fraction(float(low)), Fraction(float(high))


# ---- images ----


def _image(q: Question, k: int, network: Network, answer: Answer, run: Runtime) -> Judgement:
    image, label = q.images[k], q.labels[k]
    scaled = q.images[k].dtype == np.uint8
    row = rf"^\W*{k}\W+{label}\W+"
    prediction = int(np.argmax(run(image)))
    if answer.verdict == "misclassified":
        if prediction == label:
            return wrong("misclassified", "onnxruntime gives the label", ".", row + "misclassified")
        return Judgement("settled")
    if scaled and "bytes divided by 255" in " ".join(answer.text.split()):
        return Judgement("refused", "bytes: another question was answered, and that was said")
    if answer.verdict == "robust":
        if reachable(q.parts(k, network), q.ball(k)):
            return wrong("robust", f"a real point within {q.eps!r} is unsafe", "adversarial|unknown", row + "robust")
        if q.command != "distance" and not q.exact_margin:
            return Judgement("settled")
    if answer.verdict == "adversarial" or answer.witness is not None:
        fault = _witness(q, k, answer, run)
        if fault and (answer.verdict == "adversarial" and not q.exact_margin or q.command == "distance"):
            return wrong("witness", fault, "robust|unknown", row + "adversarial")
    sides = _distance(q, k, network, answer) if q.command == "distance" else _margins(q, k, network, answer, run)
    if sides is not None:
        return sides
    return Judgement("open" if answer.verdict == "unknown" else "settled", answer.text)


def _differences(q: Question, k: int, witness: Sequence[float]) -> list[Point]:
    """Witness minus image, exactly, and with the nearest float32 number of an image's value in place of that value."""
    place, center = float32(witness), point(q.images[k])
    near = float32(q.images[k].ravel().astype(float).tolist())
    plain = tuple(p - c for p, c in zip(place, center, strict=True))
    kept = tuple(Fraction(0) if p == r else d for p, r, d in zip(place, near, plain, strict=True))
    return [plain, kept]


def _within(q: Question, k: int, witness: Sequence[float]) -> str:
    low, high = (Fraction(side) for side in q.valid)
    if not all(low <= v <= high for v in float32(witness)):
        return f"the witness {list(witness)} leaves the valid range"
    if q.radius is None:
        return ""
    bound = q.radius**2 if q.norm == "2" else q.radius
    lengths = [length(d, q.norm) for d in _differences(q, k, witness)]
    if min(lengths) > bound:
        return f"the witness {list(witness)} is not within {q.eps!r}: the excess is {float(min(lengths) - bound):.3g}"
    return ""


def _margin(q: Question, k: int, y: np.ndarray) -> Fraction:
    """Least margin of the label over the others, plus the confidence, of an output of onnxruntime."""
    out = [Fraction(float(v)) for v in y]
    others = [j for j in range(len(out)) if j != q.labels[k] and q.target in (None, j)]
    return min(out[q.labels[k]] - out[j] for j in others) + Fraction(q.margin)


def _witness(q: Question, k: int, answer: Answer, run: Runtime) -> str:
    if answer.witness is None:
        return "adversarial without a witness"
    if outside := _within(q, k, answer.witness):
        return outside
    margin = _margin(q, k, run(answer.witness))
    if margin > 0 or (margin == 0 and q.margin == 0):
        return f"onnxruntime does not find {list(answer.witness)} adversarial: its margin is {float(margin):.3g}"
    return ""


def _distance(q: Question, k: int, network: Network, answer: Answer) -> Judgement | None:
    power = 2 if q.norm == "2" else 1
    if answer.lower > 0 and answer.verdict != "robust":
        ball = q.ball(k)
        below = None if math.isinf(answer.lower) else Fraction(answer.lower)
        if q.radius is not None and (below is None or below > q.radius):
            below = q.radius  # no more was asked
        star = q.least(k, network)
        if star is not None and (below is None or star < below**power) and reachable(q.parts(k, network), ball):
            root = float(star) ** (1 / power)
            excess = math.inf if below is None else float(below) / root - 1 if root else math.inf
            return wrong("lower", f"lower {answer.lower!r} > {root!r} by {excess:.2g}", ".", _shown(k, q, answer.lower))
    if answer.witness is not None:
        lengths = [length(d, q.norm) for d in _differences(q, k, answer.witness)]
        claims = [abs(Fraction(answer.upper) ** power - exact) <= exact * Fraction(4, 10**9) for exact in lengths]
        if not any(claims):
            return wrong("upper", f"upper {answer.upper!r} is not the witness's {float(lengths[0]) ** (1 / power)!r}")
    return None


def _shown(k: int, q: Question, value: float) -> str:
    return rf"^\W*{k}\W+{q.labels[k]}\W+\w+\W+{value:.6g}".replace(".", r"\.")


def _margins(q: Question, k: int, network: Network, answer: Answer, run: Runtime) -> Judgement | None:
    """Both sides of the worst margin, which `certify` gives for every query."""
    squashed = network.ending in ("Softmax", "Sigmoid")
    if answer.lower > answer.upper:
        return wrong("crossed", f"lower {answer.lower!r} > upper {answer.upper!r}")
    if math.isfinite(answer.lower) and not squashed:
        level = Fraction(answer.lower)
        if reachable(q.parts(k, network, level), q.ball(k)):
            return wrong("lower", f"a real point has a margin below {answer.lower!r}", ".", _shown(k, q, answer.lower))
    if q.exact_margin and answer.witness is not None:
        if outside := _within(q, k, answer.witness):
            return wrong("witness", outside)
        y = np.array([float(v) for v in network.run(float32(answer.witness))])  # in an execution more may be lost
        attained, size = float(_margin(q, k, y)), float(np.abs(y).max())
        if abs(attained - answer.upper) > 1e-5 * (size + abs(attained)) and not squashed:
            return wrong("upper", f"upper {answer.upper!r}, but its witness has {attained!r}")
    if q.exact_margin and answer.upper - answer.lower > 1e-3 * abs(answer.upper) + 1e-9:
        return Judgement("open", answer.text)
    return None


# ---- properties ----


def _property(p: Property, network: Network, answer: Answer, run: Runtime) -> Judgement:
    if answer.verdict == "adversarial":
        fault = _point(p, network, answer.witness, run)
        return wrong("witness", fault, "^unsat|^unknown|^timeout", "^sat") if fault else Judgement("settled")
    if answer.verdict == "robust":
        for region in p.regions:
            if _exactly(network, region):
                if unsafe_parts(region.cells, region.complete(network)):
                    return wrong("robust", "a real point of the region is unsafe", "^sat|^unknown|^timeout", "^unsat")
            elif (found := _sample(network, region, run)) is not None:
                fault = f"onnxruntime finds {found} unsafe"
                return wrong("robust", fault, "^sat|^unknown|^timeout|^advverify", "^unsat")
        return Judgement("settled")
    return Judgement("open", answer.text)


def _exactly(network: Network, region: Region) -> bool:
    """Whether the rows say the same of logits as of what the file returns."""
    rows = [row for disjunct in region.disjuncts for row in disjunct]
    differences = all(sum(row.outputs) == 0 for row in rows)
    if network.ending == "LogSoftmax":
        return differences
    return not network.ending or (differences and all(row.bound == 0 and not any(row.inputs) for row in rows))


def _point(p: Property, network: Network, witness: Sequence[float] | None, run: Runtime) -> str:
    if witness is None or len(witness) != network.inputs:
        return "sat without a witness"
    x, y = float32(witness), tuple(Fraction(float(v)) for v in run(witness))
    inside = [region for region in p.regions if _inside(region, x)]
    if not inside:
        return f"the witness {list(witness)} lies in no region"
    if not any(all(row.holds(x, y) for row in disjunct) for region in inside for disjunct in region.disjuncts):
        return f"by onnxruntime the witness {list(witness)} with {[float(v) for v in y]} is not unsafe"
    return ""


def _inside(region: Region, x: Point) -> bool:
    """Whether every value meets its sides, or is next to an interval in which there is no float32 number."""
    for k, value in enumerate(x):
        low, high = region.limits(k)
        least, most, open_ = Fraction(low.text), Fraction(high.text), low.strict or high.strict
        if least > most or (least == most and open_):
            return False
        above = value > least or (value == least and not low.strict)
        below = value < most or (value == most and not high.strict)
        if above and below:
            continue
        first = neighbours(least)[1]
        if first == least and low.strict:
            first = neighbours(least + Fraction(1, 2**200))[1]
        none = first > most or (first == most and high.strict)
        if not (none and value in (*neighbours(least), *neighbours(most), first)):
            return False
    return True


def _sample(network: Network, region: Region, run: Runtime) -> list[float] | None:
    """A point of a region that onnxruntime finds unsafe with room, where probabilities are no piecewise-linear function."""
    rng = random.Random(0)
    sides = [tuple(float(Fraction(side.text)) for side in region.limits(k)) for k in range(network.inputs)]
    if any(low > high for low, high in sides):
        return None
    corners = [v for cell in region.cells for v in (*cell.polytope.vertices, cell.polytope.middle())]
    tries = [[float(v) for v in corner] for corner in corners]
    tries += [[rng.uniform(low, high) for low, high in sides] for _ in range(300)]
    room = Fraction(1, 10**5)
    for place in tries:
        x = float32(place)
        if not _inside(region, x):
            continue
        y = tuple(Fraction(float(v)) - 0 for v in run(place))
        for disjunct in region.disjuncts:
            slack = [
                row.bound - sum(a * b for a, b in zip((*row.outputs, *row.inputs), (*y, *x), strict=True))
                for row in disjunct
            ]
            if all(value > room for value in slack):
                return place
    return None

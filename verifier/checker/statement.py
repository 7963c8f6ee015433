"""What a proof claims: regions of inputs and unsafe sets of outputs, read from the file and refused where it says nothing.

A statement about an empty region, or about an unsafe set that no output is in, holds for every network. Such statements
are no certificates, and no proof of one is accepted. What is left is put into words that say no more than was proved.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .network import Rejected
from .operators import Array
from .region import Region

Polytope = tuple[Array, Array]  # (matrix, offset): the outputs y with matrix y <= offset, every row
CLAIMS = ("safe", "distance")
_ZERO = 1e-9  # least-squares residual below which rows may contradict one another
_MOST_ROWS = 32  # of those, decided in rational arithmetic
_SHOWN = 6  # rows of a set, and sets, that are shown unless all are asked for


class Source(Protocol):
    """Where arrays come from."""

    def get(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """An array of a type and shape (None: any length)."""


@dataclass(frozen=True, eq=False)
class Statement:
    """No input of the box, within `radius` of `center`, has an output in any of the unsafe sets.

    Attributes:
        lower: sides of the box (n,), as the file gives them.
        upper: theirs.
        norm: "0", "1", "2", "inf", or None where there is no ball.
        center: of the ball.
        radius: of the ball; infinite where there is none.
        channels: entries that norm 0 counts as one pixel.
        unsafe: polytopes of outputs.
        float32: whether outputs are those of any execution in the file's own precision, or exact.
        distance: whether it was written as the lower side of a distance.
        precision: name of the file's own precision.
    """

    lower: Array
    upper: Array
    norm: str | None
    center: Array | None
    radius: float
    channels: int
    unsafe: tuple[Polytope, ...]
    float32: bool = False
    distance: bool = False
    precision: str = "float32"

    @classmethod
    def read(cls, arrays: Source, name: str, entry: dict[str, Any], inputs: int, outputs: int) -> Statement:
        """From the arrays of a case and its entry in the header.

        Raises:
            Rejected: it is malformed, or says nothing.
        """
        lower, upper = (arrays.get(f"{name}.{side}", np.float64, (inputs,)) for side in ("lower", "upper"))
        norm, center, radius, channels = entry["norm"], None, np.inf, whole(entry["channels"], "channels")
        if norm is not None:
            if norm not in ("0", "1", "2", "inf"):
                raise Rejected(f"there is no norm {norm}")
            if type(entry["radius"]) not in (int, float):
                raise Rejected("the radius is not a number")
            center, radius = arrays.get(f"{name}.center", np.float64, (inputs,)), float(entry["radius"])
        elif entry["radius"] is not None:
            raise Rejected("there is a radius but no norm")
        count = whole(entry["polytopes"], "polytopes")
        unsafe = []
        for p in range(count):
            matrix = arrays.get(f"{name}.matrix.{p}", np.float64, (None, outputs))
            unsafe.append((matrix, arrays.get(f"{name}.offset.{p}", np.float64, (len(matrix),))))
        float32, claim = entry["float32"], entry["claim"]
        if type(float32) is not bool or claim not in CLAIMS:
            raise Rejected(f"case {name} does not say which outputs it is about, or what it claims")
        statement = cls(lower, upper, norm, center, radius, channels, tuple(unsafe), float32, claim == "distance")
        statement.refuse_nothing()
        return statement

    def refuse_nothing(self) -> None:
        """Refuse what holds for every network, or is about values that are not finite.

        Raises:
            Rejected: one line that says why.
        """
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all() and (self.lower <= self.upper).all()):
            raise Rejected("the input box is empty or not finite")
        if self.norm is not None:
            if not (self.radius >= 0 and np.isfinite(self.radius)):
                raise Rejected("the radius is not a finite number >= 0")
            if self.center is None or not ((self.lower <= self.center) & (self.center <= self.upper)).all():
                raise Rejected("the center of the ball is not in the box")
        if self.channels < 1 or len(self.lower) % self.channels or (self.channels > 1 and self.norm != "0"):
            raise Rejected(f"{len(self.lower)} inputs are no pixels of {self.channels} channels for this norm")
        if not self.unsafe:
            raise Rejected("there is no unsafe set: the statement holds for every network")
        for p, (matrix, offset) in enumerate(self.unsafe):
            if not len(offset) or not (np.isfinite(matrix).all() and np.isfinite(offset).all()):
                raise Rejected(f"unsafe set {p} has no rows, or values that are not finite")
            if contradictory(matrix, offset):
                raise Rejected(f"unsafe set {p} is empty: its rows hold for no output, whatever the network")

    def region(self) -> Region:
        """The region that bounds are computed on."""
        return Region.of(self.lower, self.upper, self.norm or "inf", self.center, self.radius, self.channels)

    @property
    def sentence(self) -> str:
        """The statement in one line."""
        tied = f" ({self.channels} channels a pixel)" if self.channels > 1 else ""
        ball = "" if self.norm is None else f" within {self.norm}-norm {self.radius!r}{tied} of the center"
        float32 = " in any execution" if self.float32 else ""
        return f"no input of the box{ball} reaches any of {len(self.unsafe)} unsafe sets{float32}"

    def lines(self, values: bool = False) -> list[str]:
        """Region, claim and arithmetic in words; with the values of the center or box, and every row, if asked to."""
        lines = [f"region: {self._region_words()}"]
        if values:
            named = {"lower": self.lower, "upper": self.upper} | (
                {} if self.center is None else {"center": self.center}
            )
            lines += [f"{name}: {' '.join(repr(float(v)) for v in array)}" for name, array in named.items()]
        classes = classes_of(self.unsafe)
        if classes is not None:
            lines.append(f"claim: {class_words(*classes, self.unsafe[0][0].shape[1])}")
        else:
            shown = self.unsafe if values else self.unsafe[:_SHOWN]
            lines.append(f"claim: no output is in any of {len(self.unsafe)} unsafe sets")
            lines += [f"  unsafe: {polytope_words(polytope, values)}" for polytope in shown]
            if len(shown) < len(self.unsafe):
                lines.append(
                    f"  and {len(self.unsafe) - len(shown)} more sets, sha256 of all {digest(*_flat(self.unsafe))}"
                )
        if self.distance:
            lines.append(f"distance: {self._distance_words()}")
        arithmetic = (
            f"any execution of the file in {self.precision}" if self.float32 else "exact, on the stored weights"
        )
        return [*lines, f"arithmetic: {arithmetic}"]

    def _region_words(self) -> str:
        n = len(self.lower)
        box = self._box_words()
        if self.norm is None or self.center is None:
            return f"{box} of {n} inputs"
        around = f"a center of {n} inputs ({_range(self.center)}, sha256 {digest(self.center)})"
        if self.norm == "0":
            what = (
                f"{n} inputs" if self.channels == 1 else f"{n // self.channels} pixels of {self.channels} tied channels"
            )
            ball = f"norm 0, at most {int(self.radius)} of {what} changed"
        else:
            ball = f"norm {self.norm}, radius {self.radius!r}"
        alone = ", which is the center alone" if self.radius < (1 if self.norm == "0" else 5e-324) else ""
        return f"{ball}, around {around}{alone}, inside {box}"

    def _box_words(self) -> str:
        low, high = self.lower, self.upper
        fixed = int((low == high).sum())
        if fixed == len(low):
            return f"a single point, sha256 {digest(low, high)}"
        if (low == low[0]).all() and (high == high[0]).all():
            return f"the box [{float(low[0])!r}, {float(high[0])!r}] for every input"
        held = f"{fixed} inputs fixed, " if fixed else ""
        sides = f"lower sides {_range(low)}, upper sides {_range(high)}, widths {_range(high - low)}"
        return f"a box with {held}{sides}, sha256 {digest(low, high)}"

    def _distance_words(self) -> str:
        if self.norm is None:
            return "there is no unsafe input at any distance inside the box"
        if self.norm == "0":
            return f"the lower side of a distance: at least {int(self.radius) + 1} must change"
        return f"the lower side of a distance: every unsafe input is farther than {self.radius!r} from the center"


def whole(value: Any, name: str) -> int:
    """A JSON integer >= 0.

    Raises:
        Rejected: it is something else.
    """
    if type(value) is not int or value < 0:
        raise Rejected(f"{name} is not a whole number >= 0")
    return value


def contradictory(matrix: Array, offset: Array) -> bool:
    """Whether no output at all satisfies matrix y <= offset.

    By Farkas' lemma that is so if multipliers >= 0 of the rows give 0 <= -1; least squares says which rows have them (Lawson &
    Hanson, Solving Least Squares Problems, chapter 23), and rational arithmetic whether they do: rows that nearly
    contradict one another hold for some output. Where that takes more than `_MOST_ROWS` of them, with three outputs or more, the
    answer is no.
    """
    size = np.abs(matrix).max(-1, initial=0.0)
    if ((size == 0) & (offset < 0)).any():
        return True
    kept = size > 0
    if kept.sum() < 2:
        return False
    system = np.vstack([(matrix[kept] / size[kept, None]).T, offset[kept] / size[kept]])
    scale = np.abs(system[-1]).max()
    if not scale > 0:  # all rows hold at 0
        return False
    system[-1] /= scale
    if not np.isfinite(system).all():
        return False
    goal = np.zeros(len(system))
    goal[-1] = -1.0
    multipliers, residual = _nearest(system, goal)
    chosen = np.flatnonzero(kept)[multipliers > 0]
    # Rational arithmetic on many rows takes minutes, but for rows that compare two outputs, which elimination keeps short.
    if len(chosen) > _MOST_ROWS and np.count_nonzero(matrix[chosen], axis=1).max() > 2:
        return False
    return residual < _ZERO and _is_farkas(matrix[chosen], offset[chosen])


def _is_farkas(matrix: Array, offset: Array) -> bool:
    """Whether multipliers >= 0 take all y out of a sum of these rows and leave a negative offset; there may be one choice but for its size."""
    count, free, pivots = len(offset), list[int](), list[int]()
    equations = [[Fraction(float(v)) for v in column] for column in matrix.T if column.any()]
    for k in range(count):  # Gauss-Jordan elimination
        done = len(pivots)
        lead = next((e for e in range(done, len(equations)) if equations[e][k]), None)
        if lead is None:
            free.append(k)
            continue
        row = [v / equations[lead][k] for v in equations[lead]]
        equations[lead] = equations[done]
        equations[done] = row
        for e, other in enumerate(equations):
            if e != done and other[k]:
                equations[e] = [v - other[k] * w for v, w in zip(other, row, strict=True)]
        pivots.append(k)
    if len(free) != 1:
        return False
    multipliers = dict.fromkeys(free, Fraction(1)) | {
        k: -row[free[0]] for k, row in zip(pivots, equations, strict=False)
    }
    total = sum((multipliers[k] * Fraction(float(offset[k])) for k in range(count)), Fraction(0))
    return min(multipliers.values()) >= 0 and total < 0


def _nearest(system: Array, goal: Array) -> tuple[Array, float]:
    """The x >= 0 with the least |system x - goal|, and how much that is."""
    columns = system.shape[1]
    x, active = np.zeros(columns), np.zeros(columns, dtype=np.bool_)
    for _ in range(3 * columns + 10):
        gradient = system.T @ (goal - system @ x)
        gradient[active] = -np.inf
        best = int(gradient.argmax())
        if not gradient[best] > 1e-14:
            break
        active[best] = True
        while active.any():
            trial = np.zeros(columns)
            trial[active] = np.linalg.lstsq(system[:, active], goal, rcond=None)[0]
            if (trial[active] > 0).all():
                x = trial
                break
            falling = active & (trial <= 0)
            step = float(np.min(x[falling] / np.maximum(x[falling] - trial[falling], 1e-300)))
            x = x + step * (trial - x)
            active &= x > 1e-15
            x[~active] = 0.0
    return x, float(np.linalg.norm(goal - system @ x))


def classes_of(unsafe: tuple[Polytope, ...]) -> tuple[int, list[int], float] | None:
    """The class c, its rivals k and d where the sets are those of y_c - y_k <= d, one for each k; else None."""
    label, rivals, offset = -1, list[int](), 0.0
    for matrix, limits in unsafe:
        if len(limits) != 1 or np.count_nonzero(matrix) != 2 or sorted(matrix[0, matrix[0] != 0].tolist()) != [-1, 1]:
            return None
        own, rival = int(matrix[0].argmax()), int(matrix[0].argmin())
        if rivals and (own != label or float(limits[0]) != offset):
            return None
        label, offset = own, float(limits[0])
        rivals.append(rival)
    return label, sorted(set(rivals)), offset


def class_words(label: int, rivals: list[int], offset: float, outputs: int) -> str:
    """A class and its rivals in words: y_label - y_rival > offset for all of them."""
    everyone = len(rivals) == outputs - 1
    if everyone:
        others = "the only other" if outputs == 2 else f"all {outputs - 1} others"
    else:
        listed = ", ".join(map(str, rivals[:20])) + (", ..." if len(rivals) > 20 else "")
        others = f"class{'es' if len(rivals) > 1 else ''} {listed} alone ({len(rivals)} of {outputs - 1} others)"
    if offset < 0:
        return f"class {label} stays less than {-offset!r} below {others}"
    return f"class {label} stays on top of {others} by more than {offset + 0.0!r}"


def polytope_words(polytope: Polytope, every: bool = False) -> str:
    """The rows of an unsafe set."""
    matrix, offset = polytope
    shown = len(offset) if every else min(len(offset), _SHOWN)
    rows = [_row_words(row, float(d)) for row, d in zip(matrix[:shown], offset[:shown], strict=True)]
    more = f" and {len(offset) - shown} more rows, sha256 {digest(matrix, offset)}" if shown < len(offset) else ""
    return " and ".join(rows) + more


def _row_words(row: Array, offset: float) -> str:
    terms = []
    for k in np.flatnonzero(row):
        factor = float(row[k])
        size = "" if abs(factor) == 1 else f"{abs(factor)!r} "
        terms.append(f"{'-' if factor < 0 else '+'} {size}Y_{k}")
    total = " ".join(terms).removeprefix("+ ") or "0"
    return f"{total} <= {offset + 0.0!r}"


def digest(*arrays: Array) -> str:
    """SHA-256 of float64 values in order."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(a + 0.0, dtype="<f8").tobytes() for a in arrays)).hexdigest()


def _flat(unsafe: tuple[Polytope, ...]) -> list[Array]:
    return [array for polytope in unsafe for array in polytope]


def _range(values: Array) -> str:
    return f"from {float(values.min())!r} to {float(values.max())!r}"

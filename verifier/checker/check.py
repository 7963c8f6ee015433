"""Whether a proof file proves its statement for a model: steps through the file, says "valid" or what fails first.

A proof is a zip archive of numpy arrays and a JSON header:

    format, version    "advverify-proof", 6
    model_sha256       of the ONNX file
    about              words for people (image, label, data set); nothing is concluded from it
    cases              a list; for each case c

        norm, radius       of the ball (its center in the box), or null; arrays c.lower, c.upper (the box), c.center
        channels           entries that norm 0 counts as one pixel, plane after plane
        polytopes          their number; arrays c.matrix.p, c.offset.p: unsafe is matrix y <= offset, every row
        float32           whether y is what any execution in the file's own precision gives (see `execution`), or exact
        claim              "safe", or "distance": the same, written as the lower side of a distance
        steps              in order:
            {"kind": "crown"}                       CROWN bounds of every open neuron, computed here
            {"kind": "lemmas", "relu": k, ...}      bounds on neurons that ReLU number k reads
            {"kind": "goals", ...}                  the rows of a polytope cannot all hold, wherever the tree leads
            {"kind": "boxes", "polytope": p, ...}   the same by parts of the input region

Lemmas and goals are trees over ReLU phases in preorder, step s of case c in arrays c.s.*:

    codes     one entry a node: the neuron (counted over all ReLUs) whose sign is split, active child first, or -1: leaf
    columns   neurons whose lower slopes are given; slopes (leaves, columns), in 1/65535
    betas     one multiplier for each split on the way to each leaf, leaf by leaf, root first
    neurons, sides     lemmas, one a tree: -1 bounds from above, +1 from below
    polytopes          goals, one a tree; weights: for each leaf a multiplier >= 0 of every row, whose sum is positive there
    refine    in the header: CROWN once more in every leaf
    passed    in the header, true: in place of slopes and betas an array passed (leaves, columns) has the coefficients that
              go on from these neurons

Boxes: one entry a node in preorder. Dimensions >= 0 are halved at a threshold, the lower half first; -1 is a leaf; -2 - p
decides whether pixel p of an l0 ball changes, the part where it does first.

The statement is proved when every case has a goal (or boxes) for every polytope. Every tree covers all inputs by its
form; multipliers are clipped to where they are valid; so whatever the arrays hold, what is accepted is true. Statements
that hold for every network (an empty region, an unsafe set without outputs) are refused, see `statement`.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Relaxation
from .execution import execution_error
from .model_file import open_model
from .network import Network, Rejected
from .operators import Array
from .region import SAFE, TINY, Region, gamma
from .statement import Source, Statement, whole
from .trees import Trees

FORMAT, VERSION = "advverify-proof", 6
_LARGEST = 1 << 32  # bytes of a file when unpacked
_HEADER = 1 << 24
_CASES = 5  # that are described unless all values are asked for


@dataclass
class Report:
    """What was proved, and how much work it was.

    Attributes:
        statement: in one line.
        leaves: of all trees.
        lemmas: bounds on neurons.
        model_sha256: of the ONNX file.
        cases: what was proved, each as the checker understood it.
    """

    statement: str
    leaves: int
    lemmas: int
    model_sha256: str
    cases: list[Statement]

    def lines(self, values: bool = False) -> list[str]:
        """What was proved, in words, line by line; `values` as in `Statement.lines`."""
        lines = [f"model: sha256 {self.model_sha256}"]
        for c, case in enumerate(self.cases):
            if c == _CASES and not values:
                return [*lines, f"and {len(self.cases) - c} more cases"]
            lines += [f"case {c + 1} of {len(self.cases)}"] if len(self.cases) > 1 else []
            lines += case.lines(values)
        return lines


class Arrays:
    """The arrays of a file, read one by one; nothing in it is trusted."""

    def __init__(self, path: Path) -> None:
        try:
            archive = zipfile.ZipFile(path)
            if sum(info.file_size for info in archive.infolist()) > _LARGEST:
                raise Rejected("the file unpacks to more than 4 GiB")
            with archive.open("header.json") as stream:
                self.header = json.loads(stream.read(_HEADER))
        except Rejected:
            raise
        except Exception as error:  # zip, zlib and json fail in a dozen ways on what is not a proof
            raise Rejected(f"not a proof file ({_line(error)})") from error
        self.archive = archive

    def get(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """An array of a type and shape (None: any length)."""
        try:
            with self.archive.open(f"{name}.npy") as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
        except Exception as error:  # as above, and npy headers
            raise Rejected(f"array {name} cannot be read ({_line(error)})") from error
        right = array.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, array.shape, strict=True))
        if array.dtype != np.dtype(dtype) or not right:
            raise Rejected(f"array {name} has type {array.dtype} and shape {array.shape}")
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise Rejected(f"array {name} holds NaN")
        return array


@np.errstate(all="ignore")  # what overflows is not finite, and nothing follows from it
def check(proof: str | Path, model: str | Path) -> Report:
    """Check a proof.

    Raises:
        Rejected: the first thing that fails.
    """
    if np.nextafter(np.zeros(1), 1.0)[0] * np.ones(1)[0] == 0.0:  # bounds here count on gradual underflow
        raise Rejected("this process takes the smallest numbers for 0 (flush to zero): check in another one")
    arrays = Arrays(Path(proof))
    header = arrays.header
    try:
        if header["format"] != FORMAT:
            raise Rejected(f"the file is not of format {FORMAT}")
        if type(header["version"]) is not int or header["version"] != VERSION:
            raise Rejected(f"the proof is of format version {header['version']!s:.20}, not {VERSION}: write it again")
        opened, sha256 = open_model(model)
        if sha256 != header["model_sha256"]:
            raise Rejected("the proof is about another model: the SHA-256 of the ONNX file differs")
        network = Network(opened)
        if not isinstance(header["cases"], list) or not header["cases"]:
            raise Rejected("the proof holds no case: it says nothing")
        cases = [Case(network, arrays, f"{c}", entry) for c, entry in enumerate(header["cases"])]
        for case in cases:
            case.run()
    except Rejected:
        raise
    except Exception as error:  # out of memory, or any of the ways in which what is not as it should be fails
        raise Rejected(f"the file is malformed ({_line(error)})") from error
    proved = [case.statement for case in cases]
    return Report(
        "; ".join(statement.sentence for statement in proved),
        sum(case.leaves for case in cases),
        sum(case.lemmas for case in cases),
        header["model_sha256"],
        proved,
    )


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


class Case:
    """One region and its unsafe polytopes."""

    def __init__(self, network: Network, arrays: Source, name: str, entry: dict[str, Any]) -> None:
        self.network, self.arrays, self.name, self.entry = network, arrays, name, entry
        self.statement = Statement.read(arrays, name, entry, network.nodes[0].size, network.nodes[-1].size)
        self.region, self.unsafe = self.statement.region(), list(self.statement.unsafe)
        self.sizes = [network.nodes[i].size for i in network.relus]
        self.leaves = self.lemmas = self.done = 0
        self.excluded: set[int] = set()
        self.relaxation = Relaxation(network, self.region)
        self.bounds = self.relaxation.start()
        self.statement = replace(self.statement, precision="float64" if network.double else "float32")
        if self.statement.float32:
            self.bounds = self.relaxation.crown(self.bounds)
            self.unsafe = [
                (matrix, widened(offset, execution_error(self.relaxation, self.bounds, matrix)))
                for matrix, offset in self.unsafe
            ]

    def run(self) -> None:
        """All steps; then every polytope must be excluded."""
        while self.done < len(self.entry["steps"]):
            self.step()
        missing = sorted(set(range(len(self.unsafe))) - self.excluded)
        if missing:
            raise Rejected(f"case {self.name}: nothing excludes unsafe set {missing[0]}")

    @np.errstate(all="ignore")
    def step(self) -> None:
        """The next step."""
        step, name = self.entry["steps"][self.done], f"{self.name}.{self.done}"
        self.done += 1
        match step["kind"]:
            case "crown":
                self.bounds = self.relaxation.crown(self.bounds)
            case "lemmas":
                self._lemmas(name, step)
            case "goals":
                self.excluded |= self._goals(name, step)
            case "boxes":
                self.excluded.add(self._boxes(name, step))
            case kind:
                raise Rejected(f"step {name}: there is no kind of step {kind}")

    def _trees(self, name: str, step: dict[str, Any]) -> Trees:
        by_passed = step.get("passed") is True
        trees = Trees(self.arrays, name, self.relaxation, self.bounds, bool(step["refine"]), by_passed)
        self.leaves += len(trees.tree)
        return trees

    def _lemmas(self, name: str, step: dict[str, Any]) -> None:
        k = whole(step["relu"], "relu")
        if k >= len(self.sizes):
            raise Rejected(f"step {name}: there is no ReLU {k}")
        trees = self._trees(name, step)
        neurons = self.arrays.get(f"{name}.neurons", np.int32, (trees.count,))
        sides = self.arrays.get(f"{name}.sides", np.int8, (trees.count,))
        if ((neurons < 0) | (neurons >= self.sizes[k])).any() or (np.abs(sides) != 1).any():
            raise Rejected(f"step {name}: a lemma is about no neuron or side")
        read = self.network.nodes[self.network.relus[k]].relu

        def start(leaves: NDArray[np.int64]) -> tuple[int, Array, Array]:
            rows = np.zeros((len(leaves), self.sizes[k]))
            tree = trees.tree[leaves]
            rows[np.arange(len(leaves)), neurons[tree]] = sides[tree]
            return read, rows, np.zeros(len(leaves))

        values = trees.values(start)
        lower, upper = self.bounds.lower[k].copy(), self.bounds.upper[k].copy()
        below = sides > 0
        np.maximum.at(lower[0], neurons[below], values[below])
        np.minimum.at(upper[0], neurons[~below], -values[~below])
        self.bounds.lower[k], self.bounds.upper[k] = np.minimum(lower, upper), np.maximum(lower, upper)
        self.lemmas += trees.count

    def _goals(self, name: str, step: dict[str, Any]) -> set[int]:
        trees = self._trees(name, step)
        polytopes = self.arrays.get(f"{name}.polytopes", np.int32, (trees.count,))
        if ((polytopes < 0) | (polytopes >= len(self.unsafe))).any():
            raise Rejected(f"step {name}: a goal is about no unsafe set")
        counts = [len(self.unsafe[polytopes[tree]][1]) for tree in trees.tree]
        weights = self.arrays.get(f"{name}.weights", np.float32, (sum(counts),))
        if not np.isfinite(weights).all():
            raise Rejected(f"step {name}: a weight is not finite")
        by_leaf = np.split(np.maximum(weights, 0).astype(np.float64), np.cumsum(counts)[:-1])
        largest = np.maximum(*(np.abs(side) for side in self.relaxation.intervals[-1]))

        def start(leaves: NDArray[np.int64]) -> tuple[int, Array, Array]:
            rows = [combined(self.unsafe[polytopes[trees.tree[leaf]]], by_leaf[leaf], largest) for leaf in leaves]
            coefficients, constants = zip(*rows, strict=True)
            return len(self.network.nodes) - 1, np.stack(coefficients), np.array(constants)

        values = trees.values(start)
        failed = np.flatnonzero(~(values > 0))
        if len(failed):
            tree = int(failed[0])
            raise Rejected(f"step {name}: unsafe set {polytopes[tree]} is not excluded (bound {values[tree]:.6g})")
        return set(polytopes.tolist())

    def _boxes(self, name: str, step: dict[str, Any]) -> int:
        polytope = whole(step["polytope"], "polytope")
        if polytope >= len(self.unsafe):
            raise Rejected(f"step {name}: boxes are about no unsafe set")
        dimensions = self.arrays.get(f"{name}.dimensions", np.int32, (None,))
        thresholds = self.arrays.get(f"{name}.thresholds", np.float64, (len(dimensions),))
        open_ = [self.region]
        for dimension, threshold in zip(dimensions.tolist(), thresholds.tolist(), strict=True):
            if not open_:
                raise Rejected(f"step {name}: the tree goes on after its end")
            region = open_.pop()
            if dimension == -1:
                if not part_bound(self.network, region, self.unsafe[polytope])[0] > 0:
                    raise Rejected(f"step {name}: unsafe set {polytope} is not excluded on a box")
                self.leaves += 1
            elif dimension < -1:
                open_ += [region.decided(-2 - dimension, False), region.decided(-2 - dimension, True)]
            elif dimension < len(region.lower):
                open_ += [region.half(dimension, threshold, True), region.half(dimension, threshold, False)]
            else:
                raise Rejected(f"step {name}: there is no input {dimension}")
        if open_:
            raise Rejected(f"step {name}: the tree ends before its boxes do")
        return polytope


def widened(offset: Array, error: Array) -> Array:
    """Offsets of unsafe sets that hold all outputs within an error of the unsafe ones."""
    return np.asarray(np.nextafter(offset + error, np.inf))


def combined(polytope: tuple[Array, Array], weights: Array, largest: Array) -> tuple[Array, float]:
    """A linear function of the outputs that is positive only where some row of a polytope is not met.

    It is the sum of the rows, C y - d, each times its weight; the constant is lowered by what rounding may have added.

    Args:
        polytope: matrix C (rows, outputs) and offset d (rows,).
        weights: (rows,), none of them negative.
        largest: magnitudes that outputs cannot exceed, (outputs,).

    Returns:
        Coefficients (outputs,) and the constant.
    """
    matrix, offset = polytope
    coefficients, constant = weights @ matrix, -float(weights @ offset)
    if np.count_nonzero(weights) <= 1 and weights.max(initial=0.0) in (0.0, 1.0):
        return coefficients, constant  # nothing was rounded
    spread = (weights @ np.abs(matrix)) @ largest + weights @ np.abs(offset)
    lost = gamma(2 * len(weights) + len(largest) + 8) * spread
    lost += 8 * len(weights) * TINY * (1 + float(largest.sum()))
    return coefficients, float(np.nextafter(constant - lost * SAFE, -np.inf))


def part_bound(network: Network, region: Region, polytope: tuple[Array, Array]) -> tuple[float, Array]:
    """Best lower bound over a polytope's rows of matrix y - offset on a region, by CROWN with default slopes.

    Also returns the linear bounds' coefficients (rows, inputs), the best row first.
    """
    if (region.lower > region.upper).any():
        return np.inf, np.zeros((1, len(region.lower)))
    value, lines = part_values(network, region, polytope)
    return float(value.max()), lines[np.argsort(-value)]


def part_values(network: Network, region: Region, polytope: tuple[Array, Array]) -> tuple[Array, Array]:
    """Lower bounds (rows,) of matrix y - offset on a region, and the coefficients (rows, inputs) of their linear bounds."""
    relaxation, (matrix, offset) = Relaxation(network, region), polytope
    bounds = relaxation.crown(relaxation.start())
    owner = np.zeros(len(matrix), dtype=np.int64)
    lines = relaxation.lower_lines({len(network.nodes) - 1: matrix}, -offset, bounds, owner)
    value = region.minimum(*lines)
    if not np.isfinite(value).all():
        raise Rejected("a bound is not a finite number")
    return value, lines[0]

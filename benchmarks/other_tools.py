"""Other open tools on the same queries in the same run: OMLT + HiGHS, PySCIPOpt-ML + SCIP, Marabou (extra `[bench]`).

The question is the same for all: is there an input within linf eps of an image, inside [0, 1], that some other class
wins? Every tool gets a fresh process and the same time limit, start-up included; all but Marabou answer it with one
MILP a target, in order, and stop at the first counterexample, as their users would. Seconds are those of the whole process,
and those from when its packages were imported: a batch pays for imports once.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import numpy as np

from advverify.verifier.specification import Threat

from .measure import table

THREADS = 2


def advverify(
    model: str, lower: np.ndarray, upper: np.ndarray, label: int, limit: float, engines: tuple[str, ...] = ()
) -> str:
    """This project, on the box as a property."""
    from advverify.verifier.api import Model, verify
    from advverify.verifier.engines import Settings
    from advverify.verifier.specification import Disjunct, Region, Specification, robustness

    network = Model(model)
    middle = (lower + upper) / 2
    unsafe = robustness(middle, label, Threat("inf", 1.0), network.network.output_size).disjuncts[0].unsafe
    specification = Specification((Disjunct(Region(lower, upper), unsafe),))
    outcome = verify(network, specification, settings=Settings(timeout=limit, threads=THREADS), engines=engines)
    return outcome.verdict.value


def advverify_mip(model: str, lower: np.ndarray, upper: np.ndarray, label: int, limit: float) -> str:
    """Its MIP path alone."""
    return advverify(model, lower, upper, label, limit, ("mip",))


def omlt_highs(model: str, lower: np.ndarray, upper: np.ndarray, label: int, limit: float) -> str:
    """OMLT's big-M formulation, solved by HiGHS through Pyomo."""
    import logging

    import onnx
    import pyomo.environ as pyo
    from omlt import OmltBlock
    from omlt.io.onnx import load_onnx_neural_network
    from omlt.neuralnet import ReluBigMFormulation

    logging.getLogger("pyomo").setLevel(logging.ERROR)
    definition = load_onnx_neural_network(
        onnx.load(model), input_bounds={(0, k): (float(a), float(b)) for k, (a, b) in enumerate(_pairs(lower, upper))}
    )
    program = pyo.ConcreteModel()
    program.net = OmltBlock()
    program.net.build_formulation(ReluBigMFormulation(definition))
    solver = pyo.SolverFactory("highs")
    began = time.perf_counter()
    outputs = program.net.outputs
    for target in (k for k in outputs if _last(k) != label):
        left = limit - (time.perf_counter() - began)
        if left <= 0:
            return "timeout"
        ours = (0, label) if isinstance(target, tuple) else label
        program.goal = pyo.Objective(expr=outputs[ours] - outputs[target])
        options = {"time_limit": left, "threads": THREADS, "parallel": "on"}
        result = solver.solve(program, load_solutions=False, options=options)
        if str(result.solver.termination_condition) != "optimal":
            return "timeout"
        if float(result.problem.upper_bound if result.problem.upper_bound is not None else np.inf) < 0:
            return "adversarial"
        program.del_component("goal")
    return "robust"


def scip_ml(model: str, lower: np.ndarray, upper: np.ndarray, label: int, limit: float) -> str:
    """PySCIPOpt-ML's formulation, solved by SCIP."""
    import onnx
    from pyscipopt import Model
    from pyscipopt_ml.add_predictor import add_predictor_constr

    network = onnx.load(model)
    began = time.perf_counter()
    classes = int(network.graph.output[0].type.tensor_type.shape.dim[-1].dim_value)
    for target in (k for k in range(classes) if k != label):
        left = limit - (time.perf_counter() - began)
        if left <= 0:
            return "timeout"
        program = Model()
        program.hideOutput()
        x = np.array([[program.addVar(lb=float(a), ub=float(b)) for a, b in _pairs(lower, upper)]], dtype=object)
        y = np.array([[program.addVar(lb=None) for _ in range(classes)]], dtype=object)
        add_predictor_constr(program, network, x, y, unique_naming_prefix="net_")
        program.setObjective(y[0, label] - y[0, target])
        program.setParam("limits/time", left)
        program.optimize()
        if program.getStatus() != "optimal":
            return "timeout"
        if program.getObjVal() < 0:
            return "adversarial"
    return "robust"


def marabou(model: str, lower: np.ndarray, upper: np.ndarray, label: int, limit: float) -> str:
    """Marabou 2, one query a target."""
    from maraboupy import Marabou, MarabouCore, MarabouUtils

    began = time.perf_counter()
    network = Marabou.read_onnx(model)
    inputs, outputs = network.inputVars[0].flatten(), network.outputVars[0].flatten()
    for target in (k for k in range(len(outputs)) if k != label):
        left = limit - (time.perf_counter() - began)
        if left <= 0:
            return "timeout"
        network = Marabou.read_onnx(model)
        for variable, (a, b) in zip(inputs, _pairs(lower, upper), strict=True):
            network.setLowerBound(variable, float(a))
            network.setUpperBound(variable, float(b))
        row = MarabouUtils.Equation(MarabouCore.Equation.GE)
        row.addAddend(1.0, outputs[target])
        row.addAddend(-1.0, outputs[label])
        row.setScalar(0.0)
        network.addEquation(row)
        options = Marabou.createOptions(verbosity=0, timeoutInSeconds=max(1, int(left)), numWorkers=THREADS)
        word = network.solve(verbose=False, options=options)[0]
        if word == "sat":
            return "adversarial"
        if word != "unsat":
            return "timeout"
    return "robust"


def plain(model: Path, folder: Path) -> Path:
    """The same network as Gemm and Relu alone on a flat input, which is all that some of the tools read."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from advverify.verifier.network.nodes import Affine, Relu
    from advverify.verifier.network.onnx_reader import read_onnx

    network = read_onnx(model)
    nodes, weights, last = [], [], "x"
    for i, node in enumerate(network.nodes[1:], start=1):
        name = f"h{i}"
        if isinstance(node, Affine) and node.inputs == (i - 1,):
            matrix = node.operators[0].to_sparse().toarray().astype(np.float32)
            weights.append(numpy_helper.from_array(matrix, f"w{i}"))
            weights.append(numpy_helper.from_array(node.bias.numpy().astype(np.float32), f"b{i}"))
            nodes.append(
                helper.make_node(
                    "Gemm", [last, f"w{i}", f"b{i}"], [name], name=name, alpha=1.0, beta=1.0, transA=0, transB=1
                )
            )
        elif isinstance(node, Relu) and node.input == i - 1:
            nodes.append(helper.make_node("Relu", [last], [name], name=name))
        else:
            raise click.ClickException(f"{model.name} is not a chain of dense layers and ReLUs")
        last = name
    graph = helper.make_graph(
        nodes,
        model.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, network.input_size])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, network.output_size])],
        weights,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.stem}-plain.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


TOOLS: dict[str, Callable[[str, np.ndarray, np.ndarray, int, float], str]] = {
    "advverify": advverify,
    "advverify mip": advverify_mip,
    "omlt + highs": omlt_highs,
    "pyscipopt-ml + scip": scip_ml,
    "marabou": marabou,
}
_OWN = (
    "onnxruntime",
    "advverify.verifier.api",
    "advverify.verifier.engines.falsify",
    "advverify.verifier.engines.propagate",
)
IMPORTS = {
    "advverify": (*_OWN, "advverify.verifier.engines.branch_and_bound.relu.engine"),
    "advverify mip": (*_OWN, "advverify.verifier.engines.milp.engine"),
    "omlt + highs": ("onnx", "pyomo.environ", "omlt", "omlt.io.onnx", "omlt.neuralnet", "highspy"),
    "pyscipopt-ml + scip": ("onnx", "pyscipopt", "pyscipopt_ml.add_predictor"),
    "marabou": ("maraboupy.Marabou", "maraboupy.MarabouUtils"),
}


@dataclass(frozen=True)
class Answer:
    """A tool's word, the seconds of its process, and those after its imports."""

    word: str
    seconds: float
    solving: float

    @property
    def settled(self) -> bool:
        """Whether the tool knows."""
        return self.word in ("robust", "adversarial")


def _pairs(lower: np.ndarray, upper: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(lower.tolist(), upper.tolist(), strict=True))


def _last(index: Any) -> int:
    return int(index[-1] if isinstance(index, tuple) else index)


def _child(pipe: Connection, name: str, arguments: tuple[str, np.ndarray, np.ndarray, int, float]) -> None:
    for module in IMPORTS[name]:
        import_module(module)
    began = time.perf_counter()
    pipe.send((TOOLS[name](*arguments), time.perf_counter() - began))


def timed(name: str, arguments: tuple[str, np.ndarray, np.ndarray, int, float]) -> Answer:
    """Answer and seconds of a tool in a process of its own, killed at the limit."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(send, name, arguments), daemon=True)
    began = time.perf_counter()
    process.start()
    send.close()
    word, solving = "timeout", arguments[-1]
    try:
        if receive.poll(arguments[-1] + 5):
            word, solving = receive.recv()
    except EOFError:
        word = "error"
    seconds = time.perf_counter() - began
    process.kill()
    process.join()
    return Answer(word, seconds, solving)


@click.command("other_tools")
@click.option("--model", default="digits-mlp", show_default=True, help="A network of the zoo, or a path.")
@click.option("--data", default="digits", show_default=True)
@click.option("--take", default=10, show_default=True, help="First test images.")
@click.option("--eps", default=0.1, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--tools", default=",".join(TOOLS), show_default=True)
@click.option(
    "--beside",
    type=click.Choice(list(TOOLS)),
    default="advverify",
    show_default=True,
    help="The tool that ratios are to, e.g. 'advverify mip', the MIP path alone.",
)
def command(model: str, data: str, take: int, eps: float, timeout: float, tools: str, beside: str) -> None:
    """The same robustness queries to every tool; ratios are over the queries that both settle."""
    from advverify.models.datasets import load_dataset
    from advverify.models.zoo import path_of

    path = str(plain(Path(model) if Path(model).exists() else path_of(model), Path("build/other_tools")))
    images = load_dataset(data)
    names = [name.strip() for name in tools.split(",")]
    unknown = [name for name in names if name not in TOOLS]
    if unknown:
        raise click.ClickException(f"there is no tool '{unknown[0]}': choose {', '.join(TOOLS)}")
    if beside not in names:
        raise click.ClickException(f"--beside {beside}: --tools has to name it")
    answers: dict[str, list[Answer]] = {name: [] for name in names}
    for index in range(take):
        image = images.images[index].ravel().astype(np.float64)
        box = np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1)
        for name in names:
            answer = timed(name, (path, *box, int(images.labels[index]), timeout))
            answers[name].append(answer)
            click.echo(f"image {index} {name}: {answer.word} {answer.seconds:.1f} s ({answer.solving:.2f} s)", err=True)
    click.echo(_table(answers, beside))


def _table(answers: dict[str, list[Answer]], beside: str) -> str:
    """What each tool settles, and in which time; all by one to which the others are compared."""
    ours, rows = answers[beside], []
    for name, own in answers.items():
        settled = [answer for answer in own if answer.settled]
        both = [(one, other) for one, other in zip(own, ours, strict=True) if one.settled and other.settled]
        words = [sum(answer.word == word for answer in own) for word in ("robust", "adversarial")]
        times = [
            _seconds([answer.seconds for answer in settled]),
            _ratio([(one.seconds, other.seconds) for one, other in both]),
            _seconds([answer.solving for answer in settled]),
            *(f(tuple((one.solving, other.solving) for one, other in both)) for f in (_ratio, _ratio_of_medians)),
        ]
        alone = len(settled) - len(both)
        differ = sum(one.word != other.word for one, other in both)
        rows.append([name, f"{len(settled)}/{len(own)}", *words, *times, alone, differ])
    header = ["tool", "settled", "robust", "adversarial", "median s", "median ratio", "after imports s", "median ratio"]
    title = f'Ratios are to {beside}; "alone" counts what a tool settles and {beside} does not.\n\n'
    return title + table([*header, "ratio of medians", "alone", "contradicts"], rows)


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f}" if values else "-"


def _ratio(pairs: Sequence[tuple[float, float]]) -> str:
    """Median of the ratios."""
    return f"{statistics.median(one / other for one, other in pairs):.3g}" if pairs else "-"


def _ratio_of_medians(pairs: Sequence[tuple[float, float]]) -> str:
    if not pairs:
        return "-"
    one, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    return f"{one / other:.3g}"

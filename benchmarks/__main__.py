"""`python -m benchmarks NAME`: one benchmark a file, one line here."""

from __future__ import annotations

import os

from advverify.cli.lazy import LazyGroup

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as the command line does

BENCHMARKS = {
    "encodings": "what each part of the MILP encoding buys",
    "ablation": "formulations x solvers on one question an image, inside the attack's ball",
    "testset": "a whole test set certified at one radius, beside published verdicts",
    "wk17a": "the MNIST network of Wong & Kolter: certify at linf 0.1, or minimal distortions",
    "distances": "minimal distortions of any network: brackets, by radius and by unstable ReLUs",
    "profile": "where a query's time goes: start-up, reading, and every engine, set by set",
    "batching": "images certified one by one, and in batches",
    "batch_cost": "the same images through `certify` and through `batch`: what workers and the store cost",
    "digits": "minimal distortions on the shipped digits networks",
    "l0_tree": "exact distances for norm 0: the tree over supports against MILPs",
    "vnncomp": "VNN-COMP folders in one process: verdicts, times and nodes",
    "branching": "scores of ReLU splits against each other",
    "relu_stability": "what training for verification (L1, ReLU stability) buys in seconds",
    "l2_activation_balls": "l2 balls around the values of nodes: what they certify on Lipschitz networks",
    "scaling": "time against images, ReLUs and eps, as a table and a plot",
    "proofs": "how many robust verdicts carry an accepted proof, and what it costs",
    "float32": "what the promise to hold under float32 rounding costs",
    "overruns": "do time limits hold, also while other processes keep the processor busy?",
    "busy_machine": "the same queries alone and beside busy processes: what those cost",
    "claims": "what a MILP solver claims, what our own tree proves of it, and what is attained",
    "fuzz": "broken input for every reader: nothing but clear refusals may come out",
    "soundness": "an independent oracle in rational arithmetic against everything a user can call",
    "mutants": "faults put one at a time into bounds, encoding, proofs and their like: the tests must notice",
    "hidden_counterexamples": "counterexamples hidden by training or by construction: no engine may say robust",
    "convergence": "the picture of both sides of brackets over time, from kept answers",
    "large_store": "time and memory of status, report and export on a store of a million queries",
    "many_queries": "a hundred thousand real queries in one store: throughput, memory, size",
    "chaos": "batches under kills, full disks and missing files: every query is answered once, as in a quiet run",
    "gap_report": "time and memory of `advverify gap` on a store of 100,000 answers",
    "other_tools": "other open verifiers and modelling tools on the same queries, in the same run",
}

main = LazyGroup(
    {name: (f"benchmarks.{name}", text) for name, text in BENCHMARKS.items()},
    heading="Benchmarks",
    help="Measure advverify; every benchmark prints one Markdown table.",
)

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")

"""Records of MIPs survive JSON, infinities included, and outcomes carry them."""

import json
import math
from dataclasses import replace

import numpy as np

from advverify.verifier.mip_record import MipRecord
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict

RECORD = MipRecord(
    "class 3",
    "asymmetric",
    "highs",
    "1.15.1",
    rows=10,
    columns=7,
    binaries=3,
    nonzeros=40,
    largest_m=2.5,
    began=0.25,
    seconds=1.5,
    status="solved to optimality within tolerance",
    primal=0.3,
    dual=0.29,
    nodes=12,
    iterations=340,
    root={"lp": 0.1, "cuts": 0.2},
    trace=((0.1, math.inf, -math.inf), (1.0, 0.3, 0.1)),
)


def test_an_outcome_keeps_its_records() -> None:
    outcome = Outcome(Verdict.UNKNOWN, Bracket(0.1, 0.3, np.zeros(2)), Trust.SOLVER, "milp", 2.0, mips=(RECORD,))
    line = outcome.to_json()
    assert Outcome.from_json(line).mips == (RECORD,)
    old = json.loads(line)
    del old["mips"]  # as lines were written before there were records
    assert Outcome.from_json(json.dumps(old)).mips == ()


def test_what_says_nothing_is_null() -> None:
    record = replace(RECORD, largest_m=math.inf, primal=math.inf, dual=-math.inf, nodes=None, iterations=None)
    outcome = Outcome(Verdict.UNKNOWN, Bracket(0.1, 0.3), Trust.SOLVER, "milp", 2.0, mips=(record,))
    written = json.loads(outcome.to_json())["mips"][0]
    assert written["primal"] is None and written["dual"] is None and written["trace"][0][1:] == [None, None]
    assert Outcome.from_json(outcome.to_json()).mips == (record,)

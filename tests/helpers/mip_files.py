"""What other programs read from our .lp and .mps files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import highspy
import numpy as np
import scipy.sparse as sp


@dataclass
class Read:
    """A linear program as HiGHS read it, columns and rows by name."""

    columns: dict[str, tuple[float, float, float, bool]]  # cost, sides, integer
    rows: dict[str, tuple[dict[str, float], float, float]]
    offset: float


def read_by_highs(path: Path) -> Read:
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    lp = solver.getLp()
    shape = (lp.num_row_, lp.num_col_)
    entries = (lp.a_matrix_.value_, lp.a_matrix_.index_, lp.a_matrix_.start_)
    by_column = lp.a_matrix_.format_ == highspy.MatrixFormat.kColwise
    matrix = sp.csr_matrix(sp.csc_matrix(entries, shape=shape) if by_column else sp.csr_matrix(entries, shape=shape))
    names = [solver.getColName(j)[1] for j in range(lp.num_col_)]
    whole = [kind == highspy.HighsVarType.kInteger for kind in lp.integrality_] or [False] * lp.num_col_
    columns = dict(zip(names, zip(lp.col_cost_, lp.col_lower_, lp.col_upper_, whole, strict=True), strict=True))
    rows = {}
    for i in range(lp.num_row_):
        row = matrix[[i]].tocoo()
        terms = {names[j]: float(v) for j, v in zip(row.col, row.data, strict=True)}
        rows[solver.getRowName(i)[1]] = (terms, lp.row_lower_[i], lp.row_upper_[i])
    return Read(columns, rows, lp.offset_)


def solve_by_highs(path: Path) -> float:
    """The optimum, inf where there is no point."""
    solver = highspy.Highs()
    for option, value in (("output_flag", False), ("mip_feasibility_tolerance", 1e-9), ("mip_rel_gap", 1e-9)):
        solver.setOptionValue(option, value)
    assert solver.readModel(str(path)) == highspy.HighsStatus.kOk
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return math.inf
    assert status == highspy.HighsModelStatus.kOptimal, status
    return float(solver.getInfo().objective_function_value)


def solve_by_scip(path: Path) -> float:
    """The optimum, inf where there is no point."""
    import pyscipopt

    model = pyscipopt.Model()
    model.hideOutput()
    model.readProblem(str(path))
    model.setParam("limits/time", 60)
    model.optimize()
    if model.getStatus() == "infeasible":
        return math.inf
    assert model.getStatus() == "optimal", model.getStatus()
    return float(model.getObjVal())


def same_numbers(read: float, written: float) -> bool:
    """HiGHS says inf for no side."""
    return bool(np.isclose(read, written, rtol=0, atol=0) or read == written)

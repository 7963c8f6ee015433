"""Values over columns: what underflows in a coefficient counts by the column that it belongs to."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

from advverify.verifier.encoding.program import ColumnMap, ProgramBuilder
from advverify.verifier.encoding.values import ComposedValues
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.operators import Dense
from advverify.verifier.solvers.safe_dual import SafeDual


@pytest.mark.parametrize("width", [1.0, 1e60, 1e150, 1e250])
def test_losses_cover_coefficients_that_underflow(width: float) -> None:
    """Two layers of 1e-165 have coefficients of 1e-330, which are 0, over columns that may be large."""
    rng, lost = np.random.default_rng(0), 0
    for _ in range(20):
        first, second = (rng.normal(size=(3, 3)) * 10.0 ** -rng.integers(140, 170, (3, 3)) for _ in range(2))
        network = NetworkBuilder((3,))
        inner = network.affine([0], [Dense(tensor(first))], np.zeros(3))
        outer = network.affine([inner], [Dense(tensor(second))], np.zeros(3))
        builder = ProgramBuilder()
        columns = builder.columns(np.full(3, -width), np.full(3, width))
        values = ComposedValues(network.plain(outer), builder)
        values.put(0, columns)
        for found in (values.take(outer, np.arange(3)), values.combine(inner, second)):
            given = found.matrix.toarray()
            for row in range(3):
                off = Fraction(0)
                for k in range(3):
                    exact = sum(
                        (Fraction(float(second[row, j])) * Fraction(float(first[j, k])) for j in range(3)), Fraction(0)
                    )
                    off += abs(exact - Fraction(float(given[row, k]))) * Fraction(width)
                assert off <= Fraction(float(found.loss[row]))
                lost += off > 0
    assert lost > 0


@pytest.mark.parametrize("high", [1e300, np.inf])
def test_products_of_multipliers_that_underflow_prove_nothing(high: float) -> None:
    """1e-200 x >= 1 with the multiplier 1e-200: the reduced cost is not 0, it is too small for a number."""
    builder = ProgramBuilder()
    column = builder.columns(np.zeros(1), np.full(1, high))
    builder.rows(sp.csr_matrix(np.array([[1e-200]])), np.ones(1), np.full(1, np.inf))
    program = builder.finish({}, ColumnMap(column))
    found = SafeDual(program).bound(np.full(1, 1e-200), np.zeros(1), program.col_lower, program.col_upper)
    assert found <= 0

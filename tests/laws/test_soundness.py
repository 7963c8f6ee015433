"""A fixed sample of the benchmark `soundness`: nothing wrong, and a floor on what is settled."""

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

from benchmarks.soundness.run import Counts, run

CASES = 60


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_wrong_and_most_is_settled(tmp_path: Path) -> None:
    counts, faults = Counts(), []
    for number in range(CASES):
        record = run(number, 20, tmp_path)
        counts.add(record)
        if "wrong" in record.statuses:
            faults.append((record.number, record.network, record.question, record.faults, record.line))
    assert not faults, faults
    asked = counts.all["plain"] - counts.all["plain refused"]
    assert asked >= CASES // 2, "the sample has become too small"
    assert counts.all["plain settled"] >= 0.9 * asked, counts.rows("question")

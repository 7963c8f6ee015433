"""Long trajectories come back from their file as they were, and leave memory alone."""

import gc
import tracemalloc
import warnings

import numpy as np

from advverify.verifier.convergence.spool import Spool
from advverify.verifier.convergence.trajectory import Trajectory


def trajectory(rng: np.random.Generator, steps: int) -> Trajectory:
    times = np.sort(rng.random(steps))
    return Trajectory(times, np.sort(rng.random(steps)) - 1, 1 - np.sort(rng.random(steps)))


def test_what_is_kept_comes_back() -> None:
    rng, spool = np.random.default_rng(0), Spool()
    given = [trajectory(rng, int(steps)) for steps in rng.integers(1, 400, 200)]
    kept = [spool.keep(each) for each in given]
    assert {each.here is None for each in kept} == {True, False}
    for k in rng.permutation(len(given)):
        again = kept[k].load()
        assert kept[k].end == again.end
        for name in ("times", "lower", "upper"):
            assert np.array_equal(getattr(again, name), getattr(given[k], name)), name


def test_memory_does_not_grow_with_the_steps() -> None:
    rng, spool = np.random.default_rng(0), Spool()
    spool.keep(trajectory(rng, 100))
    tracemalloc.start()
    kept = [spool.keep(trajectory(rng, 20_000)) for _ in range(50)]  # 24 MB
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1e6 and len(kept[7].load().times) == 20_000


def test_the_file_goes_with_the_last_of_them() -> None:
    spool = Spool()
    kept = spool.keep(trajectory(np.random.default_rng(0), 100))
    file = spool._file
    assert file is not None and not file.closed
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del spool
        assert len(kept.load().times) == 100
        del kept
        gc.collect()
    assert file.closed

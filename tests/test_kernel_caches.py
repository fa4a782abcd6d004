"""The CPU library keeps few kernels, however many different numbers of prompts there are."""

from __future__ import annotations

import os
import subprocess
import sys

from segscope.kernel_caches import VARIABLES

CLICKS = """
import numpy as np, psutil
import segscope as ss
from segscope.prompts import Point
rng = np.random.default_rng(0)
image = rng.integers(0, 255, (192, 192)).astype(np.uint8)
with ss.Interaction(ss.Stack.from_array(image), ss.load("mini", device="cpu")) as work:
    for number in range(140):
        if number == 20:
            before = psutil.Process().memory_info().rss
        work.add(ss.Point(*rng.uniform(1, 191, 2).tolist()))
print((psutil.Process().memory_info().rss - before) / 2**20)
"""


def run(code: str, **variables: str) -> list[str]:
    """What a fresh process prints."""
    inherited = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**inherited, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        check=True,
        text=True,
        timeout=120,
    )
    return done.stdout.split()


def test_the_users_own_capacity_counts() -> None:
    show = f"import os, segscope; print(*[os.environ[name] for name in {VARIABLES}])"
    assert run(show) == ["64", "64"]
    assert run(show, LRU_CACHE_CAPACITY="7") == ["64", "7"]


def test_clicks_with_ever_more_points_keep_no_kernels() -> None:
    assert float(run(CLICKS)[0]) < 60  # 256 MiB with the library's own capacity

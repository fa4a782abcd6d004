"""A server in a process of its own, and the volume that tests send to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

TOKEN = "let-me-in"


@contextmanager
def running_server(project: Path) -> Iterator[str]:
    """The URL of a server that runs until the block ends."""
    argv = [
        sys.executable, "-m", "segscope", "serve", "--project", str(project), "--port", "0",
        "--token", TOKEN, "--device", "cpu", "--compat", "none", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True
    )
    assert process.stdout is not None
    output = ""
    while not output.endswith("}\n"):
        line = process.stdout.readline()
        assert line, "the server ended"
        output += line
    yield json.loads(output)["url"]
    process.terminate()
    process.wait(30)
    process.stdout.close()


def two_blocks() -> np.ndarray:
    """Two blocks in noise, asymmetric along all axes (7, 60, 80)."""
    voxels = np.random.default_rng(0).integers(-60, 60, (7, 60, 80)).astype(np.int16)
    voxels[1:6, 20:40, 20:40] += 300
    voxels[:, 10:25, 55:70] += 200
    return voxels

"""A running server for the plug-ins, whose code is found where it lies: they are no part of the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segscope.client import Client

ROOT = Path(__file__).parents[2] / "integrations"
sys.path[:0] = [str(ROOT / "napari" / "src"), str(ROOT / "slicer" / "Segscope")]
TOKEN = "let-me-in"


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    argv = [
        sys.executable, "-m", "segscope", "serve", "--project", str(tmp_path_factory.mktemp("served") / "project"),
        "--port", "0", "--token", TOKEN, "--device", "cpu", "--compat", "none", "--json",
    ]  # fmt: skip
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True
    )
    assert process.stdout is not None
    said = ""
    while not said.endswith("}\n"):
        line = process.stdout.readline()
        assert line, "the server ended"
        said += line
    yield json.loads(said)["url"]
    process.terminate()
    process.wait(30)
    process.stdout.close()


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN, timeout_s=120) as found:
        yield found


@pytest.fixture(scope="session")
def volume() -> np.ndarray:
    """Two blocks in noise, asymmetric along all axes."""
    voxels = np.random.default_rng(0).integers(-60, 60, (7, 60, 80)).astype(np.int16)
    voxels[1:6, 20:40, 20:40] += 300
    voxels[:, 10:25, 55:70] += 200
    return voxels

"""A running server for the plug-ins, whose code is added to the path here."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.server_process import TOKEN, running_server, two_blocks

from segscope.client import Client

ROOT = Path(__file__).parents[2] / "integrations"
sys.path[:0] = [str(ROOT / "napari" / "src"), str(ROOT / "slicer" / "Segscope")]


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("fastapi", reason="the extra serve is not installed")
    with running_server(tmp_path_factory.mktemp("served") / "project") as base:
        yield base


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url, TOKEN, timeout_s=120) as connected:
        yield connected


@pytest.fixture(scope="session")
def volume() -> np.ndarray:
    return two_blocks()

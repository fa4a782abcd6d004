"""A running server, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from support.server_process import TOKEN, running_server, two_blocks

from segscope.client import Client


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

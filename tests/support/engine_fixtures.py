"""Fixtures of prediction and sessions: every engine in turn, and a generated clip."""

from __future__ import annotations

import numpy as np
import pytest

from segscope.models.engine import Engine
from segscope.stack import Stack
from support.engines import FAMILIES, make_engine


@pytest.fixture(scope="session", params=FAMILIES)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Every family in turn."""
    return make_engine(request.param)


@pytest.fixture(scope="session")
def sam2() -> Engine:
    return make_engine("sam2")


@pytest.fixture(scope="session")
def clip() -> Stack:
    """Eight grey frames (60, 80): a bright disc that moves right and a smaller one that stays."""
    y, x = np.mgrid[:60, :80]
    frames = np.full((8, 60, 80), 40, np.uint8)
    for index, frame in enumerate(frames):
        frame[(x - 20 - 4 * index) ** 2 + (y - 30) ** 2 < 100] = 200
        frame[(x - 65) ** 2 + (y - 12) ** 2 < 36] = 150
    return Stack.from_array(frames, times_s=np.arange(8) / 10)

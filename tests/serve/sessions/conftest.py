"""An open session on a small image, without a server around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from segscope.models.engine import Engine
from segscope.serve.sessions.device_queue import DeviceQueue
from segscope.serve.sessions.open_session import OpenSession
from segscope.session import Interaction
from segscope.stack import Stack


@pytest.fixture
def session(tmp_path: Path, engine: Engine) -> Iterator[OpenSession]:
    """Three frames (40, 50) with a bright block that moves right."""
    frames = np.random.default_rng(0).integers(0, 40, (3, 40, 50), dtype=np.uint8)
    for number, frame in enumerate(frames):
        frame[10:30, 10 + 5 * number : 30 + 5 * number] += 180
    stack = Stack.from_array(frames, times_s=np.arange(3))
    with Interaction(stack, engine, log=tmp_path / "log.jsonl") as work:
        yield OpenSession(work, DeviceQueue(), tmp_path)

"""Fixtures that several tests of this folder use."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.video_files import make


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("plain") / "plain.mp4", "libx264", b_frames=2)

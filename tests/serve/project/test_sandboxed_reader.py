"""A worker that hangs, or needs too much, is ended and replaced."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from segscope.errors import ReadError
from segscope.serve.project import sandboxed_reader
from segscope.serve.settings import MIB, Limits


def test_a_decoder_that_hangs_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (16, 16)).save(path)
    with pytest.raises(ReadError, match="within the bounds"):
        sandboxed_reader.read_sandboxed(path, {}, Limits(decoder_s=0.01))
    with pytest.raises(ReadError, match=r"bounds|memory"):
        sandboxed_reader.read_sandboxed(path, {}, Limits(decoder_bytes=40 * MIB))
    frames = sandboxed_reader.SandboxedFrames(path, {}, Limits())
    assert frames.worker is not None
    frames.worker.process.kill()
    assert frames[0].shape == (16, 16)  # another worker replaced it
    frames.close()

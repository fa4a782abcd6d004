"""A worker that hangs, or needs too much, is ended and replaced."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
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


@pytest.mark.parametrize("code", [0, 1])
def test_a_stack_states_whether_its_place_is_known(code: int, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    image.set_qform(np.diag([2.0, 2, 3, 1]), code)
    nibabel.save(image, tmp_path / "a.nii")
    stack = sandboxed_reader.read_sandboxed(tmp_path / "a.nii", {}, Limits())
    assert stack.geometry is not None
    assert stack.geometry.has_place == bool(code)
    stack.source.close()

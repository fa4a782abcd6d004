"""Display matrices of videos."""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.video_files import SIZE_HW, set_display_matrix

from segscope import io
from segscope.errors import ReadError

MATRICES = {
    "as stored": (1, 0, 0, 1),
    "mirrored left to right": (-1, 0, 0, 1),
    "turned by 180 degrees": (-1, 0, 0, -1),
    "mirrored top to bottom": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "turned clockwise": (0, 1, -1, 0),
    "transposed across": (0, -1, -1, 0),
    "turned anticlockwise": (0, -1, 1, 0),
}


def show(frame: np.ndarray, matrix: tuple[float, float, float, float]) -> np.ndarray:
    """A frame as the matrix says, pixel by pixel: (x, y) goes to (a x + c y, b x + d y)."""
    a, b, c, d = map(int, matrix)
    rows, columns = frame.shape[:2]
    y, x = np.mgrid[:rows, :columns]
    shown_x = a * x + c * y
    shown_y = b * x + d * y
    shown_x -= shown_x.min()
    shown_y -= shown_y.min()
    shown = np.empty((shown_y.max() + 1, shown_x.max() + 1, 3), np.uint8)
    shown[shown_y, shown_x] = frame
    return shown


@pytest.fixture
def turned(plain: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(plain, tmp_path / "turned.mp4"))


@pytest.mark.parametrize("name", MATRICES)
def test_all_eight_orientations_are_applied(name: str, plain: Path, turned: Path) -> None:
    set_display_matrix(turned, MATRICES[name])
    stack = io.read(turned)
    stored = io.read(plain)
    expected = show(stored[21], MATRICES[name])
    np.testing.assert_array_equal(stack[21], expected)
    assert stack.size_hw == expected.shape[:2]
    assert ("rotation_deg" in stack.meta) == name.startswith("turned")


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("name", MATRICES)
def test_frames_are_those_that_ffmpeg_shows(name: str, turned: Path) -> None:
    set_display_matrix(turned, MATRICES[name])
    command = ["ffmpeg", "-v", "error", "-i", str(turned), "-frames:v", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    frame = io.read(turned)[0]
    shown = np.frombuffer(raw, np.uint8).reshape(frame.shape)
    assert np.abs(frame.astype(int) - shown).mean() < 4


def test_an_empty_matrix_is_no_matrix(turned: Path) -> None:
    set_display_matrix(turned, (0, 0, 0, 0))
    assert io.read(turned).size_hw == SIZE_HW


def test_half_a_degree_is_a_quarter_turn(turned: Path) -> None:
    turn = math.radians(90.5)
    cosine, sine = math.cos(turn), math.sin(turn)
    set_display_matrix(turned, (cosine, sine, -sine, cosine))
    assert io.read(turned).size_hw == SIZE_HW[::-1]


@pytest.mark.parametrize("matrix", [(0.7, 0.7, -0.7, 0.7), (1, 0.5, 0, 1), (1, 0, 1, 0)])
def test_other_matrices_are_refused(
    matrix: tuple[float, float, float, float], turned: Path
) -> None:
    set_display_matrix(turned, matrix)
    with pytest.raises(ReadError, match=r"turned or sheared by the display matrix.*upright"):
        io.read(turned)

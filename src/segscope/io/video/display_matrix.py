"""How the stored frames of a video are shown: its display matrix as one of eight orientations.

The matrix maps a pixel (x, y) to (a x + c y, b x + d y) on the screen. Phones turn with it, selfie
cameras and endoscopes with a mirror also mirror.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segscope.errors import ReadError
from segscope.io.orientation import SIDEWAYS

if TYPE_CHECKING:
    from av import VideoFrame

_TOLERANCE = 0.02  # of the longer entry of a row; 1 degree is 0.017
_ORIENTATIONS = {
    (1, 0, 0, 1): 1,
    (-1, 0, 0, 1): 2,
    (-1, 0, 0, -1): 3,
    (1, 0, 0, -1): 4,
    (0, 1, 1, 0): 5,
    (0, 1, -1, 0): 6,
    (0, -1, -1, 0): 7,
    (0, -1, 1, 0): 8,
}
"""EXIF orientations by (a, b, c, d)."""


def read_orientation(path: Path, frame: VideoFrame) -> int:
    """The EXIF orientation, 1 to 8, that the display matrix of a frame stands for.

    Args:
        path: of the video, named in the message.
        frame: a decoded frame.

    Raises:
        ReadError: the matrix turns by another angle, or shears.
    """
    from av.sidedata.sidedata import Type

    matrix = frame.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    if matrix is None:
        return 1
    numbers = np.frombuffer(bytes(matrix), np.int32)[:9].reshape(3, 3)[:2, :2].astype(np.float64)
    if not numbers.any():  # some writers leave it empty
        return 1
    longest = np.maximum(np.abs(numbers).max(axis=1, keepdims=True), 1)
    signs = np.sign(np.where(np.abs(numbers) > _TOLERANCE * longest, numbers, 0)).astype(int)
    a, b, c, d = map(int, signs.ravel())
    orientation = _ORIENTATIONS.get((a, b, c, d))
    if orientation is None:
        rows = (numbers / 2**16).round(3).tolist()
        raise ReadError(
            f"{path} is shown turned or sheared by the display matrix {rows}; expected quarter "
            "turns and mirrors. Encode it upright first (ffmpeg does so by default)."
        )
    return orientation


def upright_size(frame: VideoFrame, orientation: int) -> tuple[int, int]:
    """Rows and columns of a decoded frame as it is shown."""
    if orientation in SIDEWAYS:
        return (frame.width, frame.height)
    return (frame.height, frame.width)

"""Places in the patient and voxels.

RAS is millimetres to the right, front and head; IJK is column, row, slice. Slicer's arrays are
(k, j, i), which is the server's (frame, row, column). Slicer puts the centre of a voxel on a whole
number, the server on a half, so i and j differ by 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_OUTSIDE = "this place lies outside of the volume; place prompts inside it"


def to_ijk(ijk_to_ras: ArrayLike, ras: ArrayLike) -> NDArray[np.float64]:
    """Continuous voxel indices of places, (3,) or (n, 3)."""
    matrix = np.linalg.inv(np.asarray(ijk_to_ras, np.float64))
    return np.asarray(ras, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def to_ras(ijk_to_ras: ArrayLike, ijk: ArrayLike) -> NDArray[np.float64]:
    """Places of continuous voxel indices, (3,) or (n, 3)."""
    matrix = np.asarray(ijk_to_ras, np.float64)
    return np.asarray(ijk, np.float64) @ matrix[:3, :3].T + matrix[:3, 3]


def frame_of(k: float, frames: int) -> int:
    """The slice that contains a continuous index.

    Raises:
        ValueError: outside of the volume.
    """
    frame = int(np.floor(k + 0.5))
    if not 0 <= frame < frames:
        raise ValueError(_OUTSIDE)
    return frame


def point_on_slice(
    ijk_to_ras: ArrayLike, ras: Sequence[float], shape_kji: Sequence[int]
) -> tuple[int, tuple[float, float]]:
    """Slice, and (x, y) as the server counts them, of a place.

    Raises:
        ValueError: outside of the volume.
    """
    i, j, k = to_ijk(ijk_to_ras, ras)
    frames, rows, columns = shape_kji
    if not (-0.5 <= i < columns - 0.5 and -0.5 <= j < rows - 0.5):
        raise ValueError(_OUTSIDE)
    return frame_of(k, frames), (float(i + 0.5), float(j + 0.5))


def box_on_slice(
    ijk_to_ras: ArrayLike,
    corners_ras: ArrayLike,
    shape_kji: Sequence[int],
    frame: int | None = None,
) -> tuple[int, tuple[float, float, float, float]]:
    """Slice and box (x0, y0, x1, y1) of a region, cut off at the edges of the volume.

    Args:
        ijk_to_ras: (4, 4) of the volume.
        corners_ras: (n, 3), two or more, in any order.
        shape_kji: of the volume.
        frame: the slice in view; the middle of the region by default.

    Raises:
        ValueError: the region lies outside of the volume or of the slice.
    """
    ijk = np.add(to_ijk(ijk_to_ras, corners_ras), (0.5, 0.5, 0.0))
    frames, rows, columns = shape_kji
    x0, y0, low = ijk.min(axis=0)
    x1, y1, high = ijk.max(axis=0)
    chosen = frame
    if chosen is None:
        chosen = frame_of((low + high) / 2, frames)
    if not low - 0.5 <= chosen <= high + 0.5:
        raise ValueError("the region does not reach the slice in view; move the region or the view")
    x0, x1 = np.clip((x0, x1), 0, columns)
    y0, y1 = np.clip((y0, y1), 0, rows)
    if x1 - x0 < 1 or y1 - y0 < 1:
        raise ValueError(
            "less than a voxel of the region lies inside the volume; place it around the object"
        )
    return chosen, (float(x0), float(y0), float(x1), float(y1))

"""Masks on small DICOM scans, and their validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segscope import io
from segscope.masks import Masks
from segscope.stack import Stack
from support.dicom_files import (
    AXIAL,
    COLUMNS,
    ROWS,
    along,
    normal_of,
    write_series,
)

COUNT = 6


BOTH = pytest.mark.parametrize("suffix", [".dcm", ".rtstruct.dcm"])


def labels() -> np.ndarray:
    """Two objects with a hole, single voxels and an empty slice; asymmetric along all axes."""
    found = np.zeros((COUNT, ROWS, COLUMNS), np.uint16)
    found[1:4, 1:5, 1:6] = 4
    found[2, 2:4, 3] = 0
    found[3, 0, 8] = found[5, 5, 0] = 9
    return found


def masks_of(stack: Stack, names: dict[int, str] | None = None) -> Masks:
    return Masks.from_labels(
        labels(), names=names or {4: "Liver", 9: "needle"}, geometry=stack.geometry
    )


def series(folder: Path, orientation: tuple[float, ...] = AXIAL, **tags: Any) -> Stack:
    return io.read(
        write_series(folder, along(normal_of(orientation) * 2.5, COUNT), orientation, **tags)
    )


def places_of(masks: Masks, object_id: int) -> np.ndarray:
    """Millimetres of all voxels of one object, in a fixed order."""
    assert masks.geometry is not None
    frame, row, column = np.nonzero(masks.of(object_id))
    world = np.stack([column, row, frame, np.ones_like(row)], axis=1) @ masks.geometry.affine.T
    return world[np.lexsort(world.round(3).T)][:, :3]

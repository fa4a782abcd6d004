"""Volumes of nnInteractive's clients: the axis of their slices, and their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segscope.arrays import PixelType
from segscope.errors import UsageError
from segscope.serve.compat.nninteractive.packed_arrays import ClientArray

_ANISOTROPIC = 1.2


def slice_axis(spacing: Sequence[float]) -> int:
    """The axis with clearly the largest spacing, along which slices were acquired, or the first."""
    largest = max(spacing)
    if largest > _ANISOTROPIC * sorted(spacing)[1]:
        return int(np.argmax(spacing))
    return 0


def write_volume(path: Path, volume: ClientArray, spacing: Sequence[float]) -> None:
    """Write an array (a, b, c) whose last axis becomes x, as everywhere in segscope.

    Raises:
        UsageError: the volume does not hold numbers.
    """
    import nibabel

    dtype = _storage_dtype(volume)
    header = nibabel.Nifti1Header(endianness="<")  # type: ignore[no-untyped-call]
    header.set_data_shape(volume.shape[::-1])
    header.set_data_dtype(dtype)
    affine = np.diag([*spacing[::-1], 1.0])
    header.set_sform(affine, code=2)
    header.set_qform(affine, code=2)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    with path.open("wb") as file:
        file.write(header.binaryblock + bytes(4))
        for plane in volume:  # one at a time, so that there is no second copy
            file.write(np.ascontiguousarray(plane, dtype).tobytes())


def _storage_dtype(volume: ClientArray) -> PixelType:
    """The smallest type of NIfTI that holds a volume's numbers.

    Raises:
        UsageError: the volume does not hold numbers.
    """
    kind = volume.dtype.kind
    if kind not in "buif":
        raise UsageError(f"an image must hold numbers, got {volume.dtype}")
    if kind == "b":
        return np.dtype(np.uint8)
    if kind == "f":
        return np.dtype("<f4")
    if volume.min(initial=0) >= -(2**15) and volume.max(initial=0) < 2**15:
        return np.dtype("<i2")
    return np.dtype("<f4")

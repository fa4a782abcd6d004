"""Small NIfTI files."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

AFFINE = np.array(
    [[-0.7, 0.1, 0.2, 12.0], [0.05, 0.8, -0.3, -30.0], [0.1, 0.2, 2.5, 7.0], [0, 0, 0, 1]]
)


DATA = np.random.default_rng(0).integers(0, 1000, (7, 6, 5)).astype(np.int16)


def make(
    path: Path,
    data: np.ndarray = DATA,
    affine: Any = AFFINE,
    kind: Any = nibabel.Nifti1Image,
    **fields: Any,
) -> Path:
    image = kind(data, affine)
    for name, value in fields.items():
        image.header[name] = value
    image.to_filename(path)
    return path


def edited(path: Path, **fields: Any) -> Path:
    """The file with header fields set as they are, without what nibabel would make of them."""
    raw = path.read_bytes()
    packed = raw[:2] == b"\x1f\x8b"
    raw = gzip.decompress(raw) if packed else raw
    header = nibabel.Nifti1Header(raw[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    raw = header.binaryblock + raw[348:]
    path.write_bytes(gzip.compress(raw) if packed else raw)
    return path

"""Small NRRD files."""

from __future__ import annotations

from pathlib import Path

import nrrd
import numpy as np

RAS = np.array(
    [[-0.7, 0.1, 0.2, 12.0], [0.05, 0.8, -0.3, -30.0], [0.1, 0.2, 2.5, 7.0], [0, 0, 0, 1]]
)


DATA = np.random.default_rng(0).integers(-900, 900, (7, 6, 5)).astype(np.int16)


def make(
    path: Path, data: np.ndarray = DATA, affine: np.ndarray | None = None, **header: object
) -> Path:
    """A file by pynrrd; `affine` in the space that the header names."""
    if affine is not None:
        directions = affine[:3, :3].T
        extra = data.ndim - 3
        nan = np.full((extra, 3), np.nan)
        first = extra and header.get("kinds", ["domain"])[0] != "domain"
        header["space directions"] = np.vstack([nan, directions] if first else [directions, nan])
        header["space origin"] = affine[:3, 3]
    nrrd.write(str(path), data, header)
    return path

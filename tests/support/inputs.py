"""Small things that several tests make."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydicom.data import get_testdata_file

from segscope.prompts import Box, MaskPrompt, Point, Scribble

# --- anything that is a prompt or a mask, for hypothesis -----------------------------------------

masks_2d = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
coordinates = st.floats(-1e6, 1e6, allow_nan=False)
ids, frames = st.integers(1, 65535), st.integers(0, 10_000)
points = st.builds(Point, coordinates, coordinates, frames, ids, st.booleans())
boxes = st.tuples(
    coordinates, coordinates, st.floats(0.1, 1e5), st.floats(0.1, 1e5), frames, ids
).map(lambda v: Box((v[0], v[1], v[0] + v[2], v[1] + v[3]), v[4], v[5]))
scribbles = st.builds(
    Scribble,
    st.lists(st.tuples(coordinates, coordinates), min_size=1, max_size=5).map(tuple),
    frames,
    ids,
    st.booleans(),
    st.floats(0.1, 100),
)
mask_prompts = st.builds(
    MaskPrompt, masks_2d, frames, ids, st.booleans(), st.one_of(st.just(1.0), st.floats(0, 1))
)
any_prompt = st.one_of(points, boxes, scribbles, mask_prompts)


# --- files ---------------------------------------------------------------------------------------


def ct_slice() -> str:
    """Path of the CT slice that comes with pydicom."""
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    return path


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape, np.uint8)


def write_nifti(path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(noise(20, 30, 8).astype(np.int16), np.eye(4)), path)


def empty_folder(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


class Trap:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str, str], int], tuple[str, str]]:
        return (_spring, ("trap", "w"))


def _spring(name: str, mode: str) -> int:
    raise AssertionError("a pickle of the user's was executed")

"""What can be wrong with the image of a case, and what duplicates are recognised by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import SegscopeError
from segscope.io import read
from segscope.io.base import reading
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.faults import ANISOTROPIC, MOST_MM, DatasetFault
from segscope.stack import Stack

ImageHash = NDArray[np.uint64]
"""Perceptual hash: four 64-bit words."""

_HASH_SIDE = 16
_MIN_CONTRAST = 0.02  # of the standard deviation, from one cell to the next
_MIN_BITS = 32  # images that are empty but for a few spots would all look alike


@dataclass(frozen=True)
class Fingerprint:
    """What an image is compared by.

    Attributes:
        digest: of all pixels that were read; empty where they cannot be compared (constant).
        image_hash: of the middle frame; None where there is none.
    """

    digest: bytes = b""
    image_hash: ImageHash | None = None


def check_intensities(
    name: str,
    file: Path,
    stack: Stack,
    faults: list[DatasetFault],
    *,
    fast: bool,
) -> Fingerprint:
    """Fingerprint of an image, one frame in memory at a time; its faults are added to `faults`."""
    count = len(stack)
    middle = count // 2
    indices = set(range(count))
    if fast:
        indices = {0, middle, count - 1}
    digest = hashlib.blake2b(digest_size=16)
    image_hash = None
    low = np.inf
    high = -np.inf
    non_finite = 0
    for index in sorted(indices):
        with reading(file, "an image"):
            frame = np.ascontiguousarray(_collapse_grey(stack[index]))
        digest.update(repr(frame.shape).encode())
        digest.update(frame.data)
        finite = frame
        if frame.dtype.kind == "f":
            finite = frame[np.isfinite(frame)]
        non_finite += frame.size - finite.size
        if finite.size:
            low = min(low, float(finite.min()))
            high = max(high, float(finite.max()))
        if index == middle:
            image_hash = _hash_frame(frame)
    if non_finite:
        what = f"{non_finite:,} values are NaN or infinite"
        faults.append(DatasetFault.of("non-finite", name, file, what))
    if low < high:
        return Fingerprint(digest.digest(), image_hash)
    what = "no pixel is finite"
    if high == low:
        what = f"every pixel is {low:g}"
    faults.append(DatasetFault.of("constant", name, file, what))
    return Fingerprint()


def _collapse_grey(frame: Pixels) -> Pixels:
    """One channel where all are equal, so that grey saved as colour is the same image."""
    if frame.ndim == 3 and (frame == frame[..., :1]).all():
        return frame[..., 0]
    return frame


def _hash_frame(frame: Pixels) -> ImageHash | None:
    """Where a coarse grid clearly grows brighter to the right: 256 bits that survive scaling and
    compression.
    """
    from PIL import Image

    frame = np.nan_to_num(frame.astype(np.float32), posinf=0, neginf=0)
    if frame.ndim == 3:
        frame = frame.mean(axis=-1)
    if min(frame.shape) <= _HASH_SIDE:
        return None
    grid = (_HASH_SIDE + 1, _HASH_SIDE)
    cells = np.asarray(Image.fromarray(frame).resize(grid, Image.Resampling.BOX))
    brighter = cells[:, 1:] > cells[:, :-1] + _MIN_CONTRAST * cells.std()
    if brighter.sum() < _MIN_BITS:
        return None
    return np.packbits(brighter).view(np.uint64)


def check_spacing(name: str, case: Case, stack: Stack) -> Iterator[DatasetFault]:
    """Faults of the spacing of a volume."""
    if stack.kind != "volume":
        return
    spacing = stack.spacing_zyx_mm
    if stack.geometry is None or spacing is None:
        yield DatasetFault.of("spacing", name, case.image, "a volume that states no spacing")
        return
    text = " x ".join(f"{length:.4g}" for length in spacing)
    what = f"voxels of {text} mm (frame x row x column)"
    if max(spacing) > MOST_MM:
        yield DatasetFault.of("spacing", name, case.image, what)
    elif np.array_equal(np.abs(stack.geometry.affine), np.eye(4)):
        what = "voxels of exactly 1 mm from the origin on, the default of writers without a spacing"
        yield DatasetFault.of("spacing", name, case.image, what)
    elif spacing[0] > ANISOTROPIC * max(spacing[1:]):
        yield DatasetFault.of("anisotropic", name, case.image, what)


def check_channels(name: str, case: Case, stack: Stack, *, fast: bool) -> Iterator[DatasetFault]:
    """Faults of the further files of a scan."""
    for file in case.channels:
        faults: list[DatasetFault] = []
        try:
            channel = read(file)
            check_intensities(name, file, channel, faults, fast=fast)
        except SegscopeError as error:
            faults.append(DatasetFault.of("unreadable", name, file, str(error)))
        else:
            if channel.shape_zyx != stack.shape_zyx or not _is_same_place(channel, stack):
                what = (
                    f"a channel of {describe_size(channel)}, not on the grid of the first, "
                    f"{case.image}, of {describe_size(stack)}"
                )
                faults.append(DatasetFault.of("grid", name, file, what))
        yield from faults


def _is_same_place(first: Stack, second: Stack) -> bool:
    if first.geometry is None or second.geometry is None:
        return True
    return first.geometry.same_grid(second.geometry)


def describe_size(stack: Stack) -> str:
    """Size and spacing of a stack in words."""
    spacing = ""
    if stack.spacing_zyx_mm is not None:
        spacing = " of {:.4g} x {:.4g} x {:.4g} mm".format(*stack.spacing_zyx_mm)
    return f"{' x '.join(map(str, stack.shape_zyx))} pixels{spacing} (frame x row x column)"

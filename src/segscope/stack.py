"""Stack: an image, a volume or a video as frames with geometry and times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels, PixelType
from segscope.errors import UsageError
from segscope.geometry import Geometry

Kind = Literal["image", "volume", "video"]


@runtime_checkable
class FrameSource(Protocol):
    """Frames by number, read on demand.

    For 0 <= i < len(source), `source[i]` is the raw frame i as an array (row, column[, channel]) of
    `dtype`, the same each time. `shape` is (frame, row, column[, channel]) and needs no decoding.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> PixelType: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True, eq=False)
class Stack:
    """Frames of one image, volume or video.

    Attributes:
        source: the frames; a numpy array (frame, row, column[, channel]) is a source.
        kind: "image" (one frame), "volume" (slices) or "video" (frames with times).
        modality: "CT", "MR", "PT", "US", "XA", "microscopy", "endoscopy", "photo" ... or None if
            unknown.
        geometry: where the voxels lie, or None (images and videos without a scale). The frames of
            a video share one place.
        times_s: time of each frame in seconds for videos, or None.
        path: the file or folder it was read from, or None.
        axis: axis of the stored array (z, y, x) that the frames run along; 0 unless `along` was
            used.
        meta: facts from the reader that writers or windows may need (for instance "window",
            "dicom_files").
    """

    source: FrameSource
    kind: Kind
    modality: str | None = None
    geometry: Geometry | None = None
    times_s: NDArray[np.float64] | None = None
    path: Path | None = None
    axis: int = 0
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if len(self.source.shape) not in (3, 4) or 0 in self.source.shape:
            raise UsageError(
                "a stack must be (frame, row, column[, channel]) without an empty axis, got shape "
                f"{tuple(self.source.shape)}"
            )
        if self.times_s is not None and len(self.times_s) != len(self.source):
            raise UsageError(
                f"{len(self.source)} frames need as many times, got {len(self.times_s)}"
            )
        if self.geometry is not None and self.kind == "video":
            object.__setattr__(self, "geometry", replace(self.geometry, shares_place=True))

    @classmethod
    def from_array(
        cls,
        array: Pixels,
        *,
        spacing_zyx_mm: tuple[float, float, float] | None = None,
        affine: NDArray[np.float64] | None = None,
        times_s: Sequence[float] | NDArray[np.float64] | None = None,
        modality: str | None = None,
        channels: bool | None = None,
    ) -> Stack:
        """Stack from memory.

        Args:
            array: (row, column), (frame, row, column), (row, column, channel) or (frame, row,
                column, channel).
            spacing_zyx_mm: distances of voxel centres in millimetres.
            affine: (4, 4) voxel index (x, y, frame) to RAS+ millimetres; excludes `spacing_zyx_mm`.
            times_s: time of each frame; makes it a video.
            modality: see `Stack`.
            channels: whether the last axis holds channels. Default: yes for four axes, and for
                three axes of uint8 whose last axis is 3 or 4 long; say False for a volume that is 3
                or 4 voxels wide.

        Raises:
            UsageError: the array has no such layout, is empty, or is not numeric.
        """
        array = np.asarray(array)
        if array.dtype.kind not in "buif":
            raise UsageError(f"a stack must hold numbers, got dtype {array.dtype}")
        if channels is None:
            channels = _has_channels(array)
        if array.ndim == 2 + channels:
            array = array[None]
        if array.ndim != 3 + channels:
            raise UsageError(
                "expected (row, column), (frame, row, column) or these with channels, got "
                f"{array.shape}"
            )
        geometry = _geometry(affine, spacing_zyx_mm)
        if times_s is not None:
            times = np.asarray(times_s, dtype=np.float64)
            return cls(array, "video", modality, geometry, times)
        if len(array) == 1:
            return cls(array, "image", modality, geometry)
        return cls(array, "volume", modality, geometry)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Pixels:
        """Raw frame `index` as (row, column[, channel])."""
        if not 0 <= index < len(self):
            raise IndexError(f"frame {index} of a stack with frames 0 to {len(self) - 1}")
        return self.source[index]

    @property
    def size_hw(self) -> tuple[int, int]:
        """Rows and columns of a frame."""
        return (self.source.shape[1], self.source.shape[2])

    @property
    def channels(self) -> int:
        """Channels of a frame; 1 for frames (row, column)."""
        return math.prod(self.source.shape[3:])

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return (len(self), *self.size_hw)

    @property
    def spacing_zyx_mm(self) -> tuple[float, float, float] | None:
        if self.geometry is None:
            return None
        return self.geometry.spacing_zyx_mm

    def along(self, axis: int) -> Stack:
        """The same voxels as frames along `axis` of (z, y, x): 1 gives frames (z, x), 2 gives
        frames (z, y).

        `Masks.on_stored_grid` puts masks of such a stack back on the stored grid.
        """
        if axis not in (0, 1, 2):
            raise UsageError(f"axis must be 0, 1 or 2, got {axis}")
        if axis == 0:
            return self
        if self.kind != "volume":
            raise UsageError(f"only a volume can be cut along axis {axis}; this is a {self.kind}")
        whole = np.stack([self.source[i] for i in range(len(self))])
        geometry = None
        if self.geometry is not None:
            geometry = self.geometry.transposed(axis)
        return replace(self, source=np.moveaxis(whole, axis, 0), geometry=geometry, axis=axis)


def _has_channels(array: Pixels) -> bool:
    """Whether the last axis of an array of unknown layout probably holds channels."""
    if array.ndim == 3:
        return array.dtype == np.uint8 and array.shape[-1] in (3, 4)
    return array.ndim == 4


def _geometry(
    affine: NDArray[np.float64] | None, spacing_zyx_mm: tuple[float, float, float] | None
) -> Geometry | None:
    if affine is not None and spacing_zyx_mm is not None:
        raise UsageError("give either affine or spacing_zyx_mm, not both")
    if affine is not None:
        return Geometry(affine)
    if spacing_zyx_mm is None:
        return None
    if not all(0 < value < math.inf for value in spacing_zyx_mm):
        raise UsageError(
            f"spacing_zyx_mm must be three positive numbers of millimetres, got {spacing_zyx_mm}"
        )
    return Geometry.from_spacing(spacing_zyx_mm)

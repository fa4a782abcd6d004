"""Scans: cases in memory, rendered as at inference."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from segscope.geometry import Geometry
from segscope.io.datasets.dataset import Case
from segscope.io.datasets.reading import read_image, read_target
from segscope.render import Renderer
from segscope.stack import Stack

CACHE_BYTES = 4 * 2**30
"""Memory for scans."""

Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A case in memory.

    Attributes:
        rgb: (frame, row, column, 3) uint8, as the network sees it.
        planes: (plane, frame, row, column) object numbers, one plane for each truth file; 0 is
            background.
        names: label of each (plane, number).
        stack: the same frames as prediction sees them, with kind and spacing.
    """

    rgb: NDArray[np.uint8]
    planes: NDArray[np.uint16]
    names: dict[tuple[int, int], str]
    stack: Stack

    @property
    def bytes(self) -> int:
        return self.rgb.nbytes + self.planes.nbytes


class Scans:
    """Cases by number, read on demand; the most recently read ones stay in memory.

    Args:
        cases: all cases.
        side: frames are reduced to this many pixels on the longer side.
        limit_bytes: memory limit.
    """

    def __init__(self, cases: Sequence[Case], side: int, limit_bytes: int = CACHE_BYTES) -> None:
        self.cases = tuple(cases)
        self.side = side
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._cached: OrderedDict[int, Scan] = OrderedDict()

    def __getitem__(self, case: int) -> Scan:
        cached = self._cached.get(case)
        if cached is not None:
            return cached
        scan = read_scan(self.cases[case], self.side)
        self._cached[case] = scan
        self._used_bytes += scan.bytes
        while self._used_bytes > self._limit_bytes and len(self._cached) > 1:
            _, dropped = self._cached.popitem(last=False)
            self._used_bytes -= dropped.bytes
        return scan


def read_scan(case: Case, side: int) -> Scan:
    """Read a case; frames larger than `side` pixels on the longer side are reduced to that."""
    stack = read_image(case)
    renderer = Renderer(stack)
    size = _fit_size(stack.size_hw, side)
    frames = [_resize_image(renderer[index], size) for index in range(len(stack))]
    planes = np.zeros((len(case.targets), len(stack), *size), np.uint16)
    names: dict[tuple[int, int], str] = {}
    for plane, target in enumerate(case.targets):
        masks = read_target(target, stack)
        for value, name in masks.names.items():
            names[plane, value] = name or target.label or "object"
        for index, labels in enumerate(masks.iter_labels()):
            planes[plane, index] = _resize_labels(labels, size)
    rgb = np.stack(frames)
    return Scan(rgb, planes, names, _reduced_stack(stack, rgb))


def _reduced_stack(stack: Stack, rgb: NDArray[np.uint8]) -> Stack:
    """The stack as rendered frames (frame, row, column, 3), which may be reduced."""
    geometry = stack.geometry
    size_hw = (rgb.shape[1], rgb.shape[2])
    if geometry is not None and size_hw != stack.size_hw:
        z, y, x = geometry.spacing_zyx_mm
        height, width = stack.size_hw
        geometry = Geometry.from_spacing((z, y * height / size_hw[0], x * width / size_hw[1]))
    return Stack(rgb, stack.kind, None, geometry, stack.times_s)


def _fit_size(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(size_hw))
    return max(1, round(size_hw[0] * scale)), max(1, round(size_hw[1] * scale))


def _resize_image(frame: NDArray[np.uint8], size_hw: tuple[int, int]) -> NDArray[np.uint8]:
    return _resize(frame, frame, size_hw, Image.Resampling.BOX)


def _resize_labels(labels: NDArray[Pixel], size_hw: tuple[int, int]) -> NDArray[Pixel]:
    wide: NDArray[np.generic] = labels
    if labels.dtype == np.uint16:
        # not every version of Pillow resizes 16-bit images by nearest neighbours; 32-bit ones work
        wide = labels.astype(np.int32)
    return _resize(labels, wide, size_hw, Image.Resampling.NEAREST)


def _resize(
    frame: NDArray[Pixel],
    pixels: NDArray[np.generic],
    size_hw: tuple[int, int],
    how: Image.Resampling,
) -> NDArray[Pixel]:
    """A frame at another size, from its pixels in a type that Pillow takes."""
    if frame.shape[:2] == size_hw:
        return frame
    resized = Image.fromarray(pixels).resize(size_hw[::-1], how)
    return np.asarray(resized).astype(frame.dtype)

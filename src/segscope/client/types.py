"""What a server sends: images, masks and answers."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Image:
    """An image of the project. Shapes are (frame, row, column)."""

    image_id: str
    name: str
    kind: str
    shape_zyx: tuple[int, int, int]
    dtype: str
    spacing_zyx_mm: tuple[float, float, float] | None
    about: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Image:
        spacing = row["spacing_zyx_mm"]
        z, y, x = row["shape_zyx"]
        spaced = None
        if spacing is not None:
            spaced = (spacing[0], spacing[1], spacing[2])
        return cls(row["image_id"], row["name"], row["kind"], (z, y, x), row["dtype"], spaced, row)


@dataclass(frozen=True)
class MaskPart:
    """Part of an object's mask: `pixels` (row, column) replace what was inside `bbox` (x0, y0, x1,
    y1).
    """

    frame: int
    object_id: int
    bbox: tuple[int, int, int, int] | None
    pixels: NDArray[np.bool_]
    area: int
    score: float | None = None
    candidate: int | None = None

    def put(self, mask: NDArray[np.bool_]) -> None:
        """Change a mask of the frame's size."""
        if self.bbox is not None:
            x0, y0, x1, y1 = self.bbox
            mask[y0:y1, x0:x1] = self.pixels

    @classmethod
    def of(cls, header: Mapping[str, Any], payload: bytes) -> MaskPart:
        """From a packet's or an answer's parts."""
        bbox = header["bbox"]
        if bbox is None:
            size = (0, 0)
        else:
            size = (bbox[3] - bbox[1], bbox[2] - bbox[0])
        if bbox is None:
            pixels = np.zeros(size, bool)
        else:
            pixels = unpack(payload, size, header["encoding"])
        corners = None
        if bbox is not None:
            corners = (bbox[0], bbox[1], bbox[2], bbox[3])
        return cls(
            header["frame"], header["object_id"], corners, pixels, header["area"], header.get("score"),
            header.get("candidate"),
        )  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a command led to.

    Attributes:
        changes: masks that look different now.
        stale: further frames with such masks; fetch them when they are needed.
        candidates: other masks that the prompts may mean, when they were asked for.
        job: id of a job that the command started.
        said: everything that the server said.
    """

    frame: int | None
    object_id: int | None
    score: float | None
    changes: tuple[MaskPart, ...]
    stale: tuple[int, ...]
    candidates: tuple[MaskPart, ...]
    job: str | None
    said: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Answer:
        parts = [
            tuple(MaskPart.of(item, base64.b64decode(item["data"])) for item in said[key])
            for key in ("changes", "candidate_masks")
        ]
        return cls(
            said["frame"],
            said["object_id"],
            said["score"],
            parts[0],
            tuple(said["stale"]),
            parts[1],
            said["job"],
            said,
        )


def unpack(data: bytes, size_hw: tuple[int, int], encoding: str = "bits") -> NDArray[np.bool_]:
    """Pixels (row, column) of a mask part."""
    count = size_hw[0] * size_hw[1]
    if encoding == "bits":
        packed = np.frombuffer(zlib.decompress(data), np.uint8)
        return np.unpackbits(packed, count=count).astype(bool).reshape(size_hw)
    runs = np.frombuffer(data, "<u4")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(size_hw)


def pack(pixels: NDArray[np.bool_]) -> str:
    """Pixels (row, column) as the server takes them."""
    return base64.b64encode(
        zlib.compress(np.packbits(np.asarray(pixels, bool)).tobytes(), 1)
    ).decode("ascii")

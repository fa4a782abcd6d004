"""What a server sends: images, parts of masks, and what commands change."""

from __future__ import annotations

import base64
import zlib
from dataclasses import dataclass, field
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

JsonObject = dict[str, Any]
"""A JSON object as the server sends it, for fields that have no attribute here."""
Array = NDArray[Any]
"""Numbers as they are stored, of any type."""


@dataclass(frozen=True)
class ImageInfo:
    """An image of the project. Shapes and spacing are (frame, row, column).

    Attributes:
        kind: "image", "volume" or "video".
        properties: everything the server sent about the image.
    """

    image_id: str
    name: str
    kind: str
    shape_zyx: tuple[int, int, int]
    dtype: str
    spacing_zyx_mm: tuple[float, float, float] | None
    properties: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, values: JsonObject) -> ImageInfo:
        frames, rows, columns = values["shape_zyx"]
        spacing = None
        if values["spacing_zyx_mm"] is not None:
            z, y, x = values["spacing_zyx_mm"]
            spacing = (z, y, x)
        return cls(
            image_id=values["image_id"],
            name=values["name"],
            kind=values["kind"],
            shape_zyx=(frames, rows, columns),
            dtype=values["dtype"],
            spacing_zyx_mm=spacing,
            properties=values,
        )


@dataclass(frozen=True)
class MaskUpdate:
    """New pixels of an object's mask.

    Attributes:
        bbox: (x0, y0, x1, y1) of the part of the frame that changes; None if nothing does.
        pixels: (row, column), replacing what was inside `bbox`.
        area: pixels of the whole mask after the change.
        score: predicted IoU of the mask.
        candidate: index of the candidate that the mask is, if it is one.
    """

    frame: int
    object_id: int
    bbox: tuple[int, int, int, int] | None
    pixels: NDArray[np.bool_]
    area: int
    score: float | None = None
    candidate: int | None = None

    def apply_to(self, mask: NDArray[np.bool_]) -> None:
        """Change a mask of the frame's size."""
        if self.bbox is not None:
            x0, y0, x1, y1 = self.bbox
            mask[y0:y1, x0:x1] = self.pixels

    @classmethod
    def from_packet(cls, header: JsonObject, payload: bytes) -> MaskUpdate:
        """Decode the header and payload of a packet."""
        bbox = None
        pixels = np.zeros((0, 0), bool)
        if header["bbox"] is not None:
            x0, y0, x1, y1 = header["bbox"]
            bbox = (x0, y0, x1, y1)
            pixels = unpack_mask(payload, (y1 - y0, x1 - x0), header["encoding"])
        return cls(
            frame=header["frame"],
            object_id=header["object_id"],
            bbox=bbox,
            pixels=pixels,
            area=header["area"],
            score=header.get("score"),
            candidate=header.get("candidate"),
        )

    @classmethod
    def from_json(cls, values: JsonObject) -> MaskUpdate:
        """Decode an update whose payload is a field of it."""
        return cls.from_packet(values, base64.b64decode(values["data"]))


@dataclass(frozen=True)
class SessionUpdate:
    """What a command changed in a session.

    Attributes:
        score: predicted IoU of the mask on the prompted frame.
        learned: number of examples that the answer was learned from; 0 for the network's own.
        changes: updates of the masks that the command changed.
        stale: further frames with changed masks; fetch them when they are needed.
        candidates: alternative masks for the prompts, if they were requested.
        job: id of the job that the command started.
        answer: everything the server sent.
    """

    frame: int | None
    object_id: int | None
    score: float | None
    learned: int
    changes: tuple[MaskUpdate, ...]
    stale: tuple[int, ...]
    candidates: tuple[MaskUpdate, ...]
    job: str | None
    answer: JsonObject = field(repr=False)

    @classmethod
    def from_json(cls, answer: JsonObject) -> SessionUpdate:
        return cls(
            frame=answer["frame"],
            object_id=answer["object_id"],
            score=answer["score"],
            learned=answer["learned"],
            changes=tuple(map(MaskUpdate.from_json, answer["changes"])),
            stale=tuple(answer["stale"]),
            candidates=tuple(map(MaskUpdate.from_json, answer["candidate_masks"])),
            job=answer["job"],
            answer=answer,
        )


class OpenedSession(TypedDict):
    """The server's answer when a session is opened."""

    session_id: str
    lease: str
    idle_s: float
    liveness_s: float
    resumed: bool


def unpack_mask(data: bytes, size_hw: tuple[int, int], encoding: str = "bits") -> NDArray[np.bool_]:
    """Pixels (row, column) of an update's payload."""
    if encoding == "bits":
        packed = np.frombuffer(zlib.decompress(data), np.uint8)
        bits = np.unpackbits(packed, count=size_hw[0] * size_hw[1])
        return bits.astype(bool).reshape(size_hw)
    runs = np.frombuffer(data, "<u4")
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape(size_hw)


def pack_mask(pixels: NDArray[np.bool_]) -> str:
    """Pixels (row, column) as a field of a command."""
    bits = np.packbits(np.asarray(pixels, bool)).tobytes()
    return base64.b64encode(zlib.compress(bits, 1)).decode("ascii")

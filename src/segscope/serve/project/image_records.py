"""What a project stores about an image, and what clients learn about it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np

from segscope.render import Renderer
from segscope.serve.project.database import Row
from segscope.stack import Stack

Origin = Literal["root", "upload"]
_ID_LENGTH = 32  # hexadecimal digits of a SHA-256


class ReadKeywords(TypedDict, total=False):
    """Keyword arguments of `segscope.read`; stored as JSON."""

    series: str
    volume: int
    channel: int


@dataclass(frozen=True)
class ReadChoice:
    """Which image to read where a path holds several, see `segscope.read`."""

    series: str | None = None
    volume: int | None = None
    channel: int | None = None

    def options(self) -> ReadKeywords:
        """The choices as keyword arguments; without those left open."""
        options: ReadKeywords = {}
        if self.series is not None:
            options["series"] = self.series
        if self.volume is not None:
            options["volume"] = self.volume
        if self.channel is not None:
            options["channel"] = self.channel
        return options


NO_CHOICE = ReadChoice()


@dataclass(frozen=True)
class DisplayRange:
    """The stored numbers shown as black and white, by channel, and how they were chosen."""

    how: str
    low: list[float]
    high: list[float]


@dataclass(frozen=True, kw_only=True)
class ImageProperties:
    """Properties of an image's stack; shapes and spacing are (frame, row, column).

    There is no affine where only the voxel sizes are known: viewers would take its directions for
    those of the patient.
    """

    kind: Literal["image", "volume", "video"]
    modality: str | None
    shape_zyx: tuple[int, int, int]
    channels: int
    dtype: str
    spacing_zyx_mm: list[float] | None
    affine: list[list[float]] | None
    times_s: list[float] | None
    window: DisplayRange
    bytes: int
    notes: list[str]

    @staticmethod
    def from_stack(stack: Stack) -> ImageProperties:
        """The properties of an open stack."""
        window = Renderer(stack).record()
        spacing = None
        if stack.spacing_zyx_mm is not None:
            spacing = list(map(float, stack.spacing_zyx_mm))
        affine = None
        if stack.geometry is not None and stack.geometry.has_place:
            affine = stack.geometry.affine.tolist()
        times = None
        if stack.times_s is not None:
            times = stack.times_s.tolist()
        return ImageProperties(
            kind=stack.kind,
            modality=stack.modality,
            shape_zyx=stack.shape_zyx,
            channels=stack.channels,
            dtype=str(np.dtype(stack.source.dtype).newbyteorder("=")),
            spacing_zyx_mm=spacing,
            affine=affine,
            times_s=times,
            window=DisplayRange(window["how"], window["low"], window["high"]),
            bytes=stack_bytes(stack),
            notes=list(stack.meta.get("notes", ())),
        )


@dataclass(frozen=True, kw_only=True)
class Image(ImageProperties):
    """An image of the project as clients see it: never with its path on the server."""

    image_id: str
    name: str
    origin: Origin

    @classmethod
    def of(
        cls,
        stack: Stack,
        image_id: str,
        name: str,
        origin: Origin,
    ) -> Image:
        """The image that an open stack was read from."""
        properties = ImageProperties.from_stack(stack)
        return cls(image_id=image_id, name=name, origin=origin, **vars(properties))


@dataclass(frozen=True)
class StoredImage:
    """An image of the project with the file or folder it is read from."""

    image: Image
    path: Path
    choice: ReadChoice

    @classmethod
    def from_row(cls, row: Row) -> StoredImage:
        """The record in a row of the table `images`."""
        meta = dict(row["meta"])
        meta["shape_zyx"] = tuple(meta["shape_zyx"])
        meta["window"] = DisplayRange(**meta["window"])
        image = Image(image_id=row["id"], name=row["name"], origin=row["origin"], **meta)
        return cls(image, Path(row["path"]), ReadChoice(**row["options"]))

    def to_row(self) -> Row:
        """The columns of the table `images`, without the time of creation."""
        return {
            "id": self.image.image_id,
            "name": self.image.name,
            "origin": self.image.origin,
            "path": str(self.path),
            "options": self.choice.options(),
            "meta": properties_of(self.image),
        }


def properties_of(image: ImageProperties) -> dict[str, Any]:
    """The properties of an image as JSON, as they are stored and sent."""
    values = asdict(image)
    return {field.name: values[field.name] for field in fields(ImageProperties)}


def image_id_of(content_hash: str, options: Mapping[str, object]) -> str:
    """The id of an image: a hash of its content and of the choices made when reading it."""
    identity = content_hash
    if options:
        text = f"{content_hash}\n{json.dumps(options, sort_keys=True)}"
        identity = hashlib.sha256(text.encode()).hexdigest()
    return identity[:_ID_LENGTH]


def stack_bytes(stack: Stack) -> int:
    """Bytes of the stored numbers of a stack."""
    count = int(np.prod(stack.source.shape, dtype=np.int64))
    return count * np.dtype(stack.source.dtype).itemsize

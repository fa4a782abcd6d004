"""Masks on their way between server and client: only the box that changed, in one of three
encodings.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError
from segscope.io.polygons import fill_even_odd, from_corner_origin
from segscope.masks import Runs, decode_runs, encode_runs

Encoding = Literal["bits", "rle", "png"]
ENCODINGS: tuple[Encoding, ...] = ("bits", "rle", "png")
Bbox = tuple[int, int, int, int]


@dataclass(frozen=True)
class Piece:
    """Part of an object's mask on a frame: it replaces what was inside `bbox` (x0, y0, x1, y1), and
    nothing outside.

    `bbox` None means that nothing changed. `area` is that of the whole mask.
    """

    frame: int
    object_id: int
    bbox: Bbox | None
    pixels: NDArray[np.bool_]
    area: int
    score: float | None = None
    candidate: int | None = None

    def header(self, encoding: Encoding) -> dict[str, Any]:
        """All but the pixels."""
        said: dict[str, Any] = {
            "frame": self.frame,
            "object_id": self.object_id,
            "bbox": None if self.bbox is None else list(self.bbox),
            "encoding": encoding,
            "area": self.area,
            "score": self.score,
        }
        if self.candidate is None:
            return said
        return {**said, "candidate": self.candidate}

    def payload(self, encoding: Encoding) -> bytes:
        """The pixels."""
        if self.bbox is None:
            return b""
        return packed(self.pixels, encoding)

    def to_json(self, encoding: Encoding) -> dict[str, Any]:
        """Header and pixels as JSON."""
        return {
            **self.header(encoding),
            "data": base64.b64encode(self.payload(encoding)).decode("ascii"),
        }


def packed(pixels: NDArray[np.bool_], encoding: Encoding) -> bytes:
    """Pixels (row, column) as bytes."""
    if encoding == "bits":
        return zlib.compress(np.packbits(pixels).tobytes(), 1)
    if encoding == "rle":
        return encode_runs(pixels).astype("<u4").tobytes()
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def unpacked(
    data: bytes, size_hw: tuple[int, int], encoding: Encoding = "bits"
) -> NDArray[np.bool_]:
    """Pixels (row, column) of `packed`; PNGs are for showing and not read back.

    Raises:
        PromptError: damaged, or of another size.
    """
    rows, columns = size_hw
    wanted = f"{rows} rows x {columns} columns"
    if encoding == "rle":
        if len(data) % 4:
            raise PromptError("run lengths are four bytes each")
        runs = np.frombuffer(data, "<u4")
        if int(runs.sum(dtype=np.uint64)) != rows * columns:
            raise PromptError(f"run lengths add up to another number of pixels than {wanted}")
        return decode_runs(runs.astype(np.uint32), size_hw)
    if encoding != "bits":
        raise PromptError(f"masks are sent as bits or rle, got {encoding!r}")
    size = (rows * columns + 7) // 8
    try:
        bits = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise PromptError(f"the bits of a mask are damaged: {error}") from error
    if len(bits) != size:
        raise PromptError(f"the bits of a mask do not hold {wanted}")
    return (
        np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * columns)
        .astype(bool)
        .reshape(size_hw)
    )


def from_text(
    text: str, size_hw: tuple[int, int], encoding: Encoding = "bits"
) -> NDArray[np.bool_]:
    """`unpacked` of base64 text.

    Raises:
        PromptError: damaged, or of another size.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise PromptError(f"the data of a mask are not base64: {error}") from error
    return unpacked(data, size_hw, encoding)


def whole(frame: int, object_id: int, mask: NDArray[np.bool_], **more: Any) -> Piece:
    """A mask in its tight box; for clients that have none yet."""
    return _cut(frame, object_id, mask, box_of(mask), more)


def difference(
    frame: int,
    object_id: int,
    before: Runs | None,
    after: Runs | None,
    size_hw: tuple[int, int],
    **more: Any,
) -> Piece | None:
    """What a client must change to have the mask `after` in the place of `before`; None when they
    are the same.
    """
    if before is None and after is None:
        return None
    if before is not None and after is not None and np.array_equal(before, after):
        return None
    nothing = np.zeros(size_hw, bool)
    if before is None:
        old = nothing
    else:
        old = decode_runs(before, size_hw)
    if after is None:
        new = nothing
    else:
        new = decode_runs(after, size_hw)
    return _cut(frame, object_id, new, box_of(old ^ new), more)


def _cut(
    frame: int, object_id: int, mask: NDArray[np.bool_], bbox: Bbox | None, more: dict[str, Any]
) -> Piece:
    x0, y0, x1, y1 = bbox or (0, 0, 0, 0)
    return Piece(frame, object_id, bbox, mask[y0:y1, x0:x1], int(mask.sum()), **more)


def box_of(mask: NDArray[np.bool_]) -> Bbox | None:
    """Tight half-open box (x0, y0, x1, y1) of a mask, or None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def put(canvas: NDArray[np.bool_], piece: Piece) -> None:
    """Do what a client does with a piece."""
    if piece.bbox is not None:
        x0, y0, x1, y1 = piece.bbox
        canvas[y0:y1, x0:x1] = piece.pixels


# --- drawing -------------------------------------------------------------------------------------


def drawn(
    size_hw: tuple[int, int],
    strokes: Sequence[tuple[Sequence[tuple[float, float]], float]] = (),
    polygon: Sequence[tuple[float, float]] = (),
) -> NDArray[np.bool_]:
    """Pixels whose centres a round brush or a polygon covers.

    Args:
        size_hw: of the frame.
        strokes: ((x, y), ...) and width of the brush in pixels.
        polygon: its corners, or none.
    """
    canvas = np.zeros(size_hw, bool)
    for xy, width in strokes:
        points = np.asarray(xy, np.float64)
        for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
            _brush(canvas, start, end, width / 2)
    if len(polygon) >= 3:
        corners = np.asarray(polygon, np.float64)
        canvas |= fill_even_odd([from_corner_origin(corners)], size_hw)
    return canvas


def _brush(
    canvas: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], radius: float
) -> None:
    """Pixels nearer than `radius` to a line; at least those that the line runs through at its ends."""
    height, width = canvas.shape
    low = np.floor(np.minimum(start, end) - radius - 1).astype(int)
    high = np.ceil(np.maximum(start, end) + radius + 1).astype(int)
    x0, y0 = (int(value) for value in np.clip(low, 0, (width, height)))
    x1, y1 = (int(value) for value in np.clip(high, 0, (width, height)))
    if x0 >= x1 or y0 >= y1:
        return
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    along = end - start
    length = float(along @ along)
    t = 0.0
    if length:
        t = np.clip(((x - start[0]) * along[0] + (y - start[1]) * along[1]) / length, 0, 1)
    away = np.hypot(x - (start[0] + t * along[0]), y - (start[1] + t * along[1]))
    canvas[y0:y1, x0:x1] |= away <= max(radius, 0.5)

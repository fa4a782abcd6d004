"""MaskPatch: the part of a mask that changed, on its way between server and client.

Only the box of the change is sent, in one of three encodings.
"""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segscope.errors import PromptError
from segscope.io.polygons import fill_even_odd, from_corner_origin
from segscope.masks import FrameMask, Runs, decode_runs, encode_runs
from segscope.serve.answers import Bbox, EncodedPatch, Encoding, PatchHeader

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class MaskPatch:
    """Part of an object's mask on a frame: it replaces what was inside `bbox` (x0, y0, x1, y1), and
    nothing outside.

    Attributes:
        bbox: None where nothing changed.
        area: pixels of the whole mask.
        candidate: number of the candidate that it shows, if it shows one.
    """

    frame: int
    object_id: int
    bbox: Bbox | None
    pixels: Mask
    area: int
    score: float | None = None
    candidate: int | None = None

    def header(self, encoding: Encoding) -> PatchHeader:
        """Everything but the pixels."""
        header: PatchHeader = {
            "frame": self.frame,
            "object_id": self.object_id,
            "bbox": None if self.bbox is None else list(self.bbox),
            "encoding": encoding,
            "area": self.area,
            "score": self.score,
        }
        if self.candidate is not None:
            header["candidate"] = self.candidate
        return header

    def payload(self, encoding: Encoding) -> bytes:
        """The pixels."""
        if self.bbox is None:
            return b""
        return encode_pixels(self.pixels, encoding)

    def encode(self, encoding: Encoding) -> EncodedPatch:
        """The patch with its pixels as text, for JSON answers."""
        return EncodedPatch(
            frame=self.frame,
            object_id=self.object_id,
            bbox=self.bbox,
            encoding=encoding,
            data=base64.b64encode(self.payload(encoding)).decode("ascii"),
            area=self.area,
            score=self.score,
            candidate=self.candidate,
        )


# --- encodings -----------------------------------------------------------------------------------


def encode_pixels(pixels: Mask, encoding: Encoding) -> bytes:
    """Pixels (row, column) as bytes."""
    if encoding == "bits":
        return zlib.compress(np.packbits(pixels).tobytes(), 1)
    if encoding == "rle":
        return encode_runs(pixels).astype("<u4").tobytes()
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def decode_pixels(data: bytes, size_hw: tuple[int, int], encoding: Encoding = "bits") -> Mask:
    """Pixels (row, column) of `encode_pixels`; PNG is for display and not read back.

    Raises:
        PromptError: damaged, or of another size.
    """
    if encoding == "rle":
        return _decode_rle(data, size_hw)
    if encoding == "bits":
        return _decode_bits(data, size_hw)
    raise PromptError(f"masks are sent as bits or rle, got {encoding!r}")


def decode_text(text: str, size_hw: tuple[int, int], encoding: Encoding = "bits") -> Mask:
    """`decode_pixels` of base64 text.

    Raises:
        PromptError: damaged, or of another size.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise PromptError(f"the data of a mask is not base64: {error}") from error
    return decode_pixels(data, size_hw, encoding)


def _decode_rle(data: bytes, size_hw: tuple[int, int]) -> Mask:
    if len(data) % 4:
        raise PromptError("run lengths are four bytes each")
    runs = np.frombuffer(data, "<u4")
    rows, columns = size_hw
    if int(runs.sum(dtype=np.uint64)) != rows * columns:
        raise PromptError(f"run lengths do not add up to {rows} rows x {columns} columns of pixels")
    return decode_runs(runs.astype(np.uint32), size_hw)


def _decode_bits(data: bytes, size_hw: tuple[int, int]) -> Mask:
    rows, columns = size_hw
    size = (rows * columns + 7) // 8
    try:
        # one byte more than expected is enough to notice that there are too many
        bits = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        raise PromptError(f"the bits of a mask are damaged: {error}") from error
    if len(bits) != size:
        raise PromptError(f"the bits of a mask are not {rows} rows x {columns} columns")
    pixels = np.unpackbits(np.frombuffer(bits, np.uint8), count=rows * columns)
    return pixels.astype(bool).reshape(size_hw)


# --- making patches ------------------------------------------------------------------------------


def whole_patch(
    frame: int,
    object_id: int,
    mask: Mask,
    *,
    score: float | None = None,
    candidate: int | None = None,
) -> MaskPatch:
    """A mask in its tight box; for clients that have none yet."""
    bbox = box_of(mask)
    return MaskPatch(frame, object_id, bbox, _cut(mask, bbox), int(mask.sum()), score, candidate)


def difference_patch(
    frame: int,
    object_id: int,
    before: Runs | None,
    after: Runs | None,
    size_hw: tuple[int, int],
    *,
    score: float | None = None,
) -> MaskPatch | None:
    """What a client must change to get from the mask `before` to `after`; None when they are the
    same.
    """
    if before is None and after is None:
        return None
    if before is not None and after is not None and np.array_equal(before, after):
        return None
    old = _decode_or_empty(before, size_hw)
    new = _decode_or_empty(after, size_hw)
    bbox = box_of(old ^ new)
    return MaskPatch(frame, object_id, bbox, _cut(new, bbox), int(new.sum()), score)


def candidate_patches(answer: FrameMask) -> tuple[MaskPatch, ...]:
    """The answer and the other masks that its prompts may mean, numbered from 0."""
    masks = [(answer.mask, answer.score)]
    masks += [(logits > 0, score) for logits, score in answer.candidates]
    return tuple(
        whole_patch(
            answer.frame,
            answer.object_id,
            mask,
            score=round(float(score), 4),
            candidate=number,
        )
        for number, (mask, score) in enumerate(masks)
    )


def box_of(mask: Mask) -> Bbox | None:
    """Tight half-open box (x0, y0, x1, y1) of a mask, or None when it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _cut(mask: Mask, bbox: Bbox | None) -> Mask:
    if bbox is None:
        return mask[:0, :0]
    x0, y0, x1, y1 = bbox
    return mask[y0:y1, x0:x1]


def _decode_or_empty(runs: Runs | None, size_hw: tuple[int, int]) -> Mask:
    if runs is None:
        return np.zeros(size_hw, bool)
    return decode_runs(runs, size_hw)


# --- drawing -------------------------------------------------------------------------------------


def draw_mask(
    size_hw: tuple[int, int],
    strokes: Sequence[tuple[Sequence[tuple[float, float]], float]] = (),
    polygon: Sequence[tuple[float, float]] = (),
) -> Mask:
    """Pixels whose centres a round brush or a polygon covers.

    Args:
        size_hw: of the frame.
        strokes: ((x, y), ...) and width of the brush in pixels.
        polygon: its corners, or none.
    """
    canvas = np.zeros(size_hw, bool)
    for xy, width in strokes:
        points = np.asarray(xy, np.float64)
        ends = points
        if len(points) > 1:
            ends = points[1:]
        for start, end in zip(points, ends, strict=False):
            _draw_line(canvas, start, end, width / 2)
    if len(polygon) >= 3:
        corners = np.asarray(polygon, np.float64)
        canvas |= fill_even_odd([from_corner_origin(corners)], size_hw)
    return canvas


def _draw_line(
    canvas: Mask, start: NDArray[np.float64], end: NDArray[np.float64], radius: float
) -> None:
    """Pixels nearer than `radius` to a line; at least those at its ends."""
    height, width = canvas.shape
    low = np.floor(np.minimum(start, end) - radius - 1).astype(int)
    high = np.ceil(np.maximum(start, end) + radius + 1).astype(int)
    x0, y0 = map(int, np.clip(low, 0, (width, height)))
    x1, y1 = map(int, np.clip(high, 0, (width, height)))
    if x0 >= x1 or y0 >= y1:
        return
    y, x = np.mgrid[y0:y1, x0:x1] + 0.5
    along = end - start
    length = float(along @ along)
    share = 0.0
    if length:
        offset = (x - start[0]) * along[0] + (y - start[1]) * along[1]
        share = np.clip(offset / length, 0, 1)
    distance = np.hypot(x - (start[0] + share * along[0]), y - (start[1] + share * along[1]))
    canvas[y0:y1, x0:x1] |= distance <= max(radius, 0.5)

"""COCO JSON: an image per frame, an annotation per object and frame, as run lengths or polygons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.base import check_declared, check_file, reading
from segscope.io.label_frames import place_on_grid
from segscope.io.polygons import (
    Points,
    fill_union,
    from_corner_origin,
    is_hole,
    to_corner_origin,
    trace_borders,
)
from segscope.masks import MAX_OBJECT_ID, Masks, Runs, encode_runs
from segscope.stack import Stack

Json = Any
"""What a JSON file holds; nothing about an untrusted one is known until it is checked."""

_MAX_BYTES = 2**29


# --- segmentations -------------------------------------------------------------------------------


def compress_counts(counts: Sequence[int]) -> str:
    """COCO's text of run lengths: differences to the run before last, five bits per character."""
    text: list[str] = []
    for index, count in enumerate(counts):
        value = count
        if index > 2:
            value = count - counts[index - 2]
        _append_number(text, value)
    return "".join(text)


def _append_number(text: list[str], value: int) -> None:
    """Append a signed number, lowest bits first; bit 5 of a character says that more follow."""
    more = True
    while more:
        bits = value & 31
        value >>= 5
        sign = -1 if bits & 16 else 0
        more = value != sign
        if more:
            bits |= 32
        text.append(chr(bits + 48))


def expand_counts(text: str) -> list[int]:
    """Run lengths of `compress_counts`.

    Raises:
        ValueError: not such a text.
    """
    counts: list[int] = []
    position = 0
    while position < len(text):
        value, position = _parse_number(text, position)
        if len(counts) > 2:
            value += counts[-2]
        counts.append(value)
    return counts


def _parse_number(text: str, position: int) -> tuple[int, int]:
    """The signed number that starts at a position, and the position behind it."""
    value = 0
    shift = 0
    while True:
        if position >= len(text) or shift > 60:
            raise ValueError("the run lengths end within a number")
        bits = ord(text[position]) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"the run lengths hold the character {text[position]!r}")
        value |= (bits & 31) << shift
        shift += 5
        position += 1
        if bits & 32:
            continue
        if bits & 16:
            value |= -1 << shift
        return value, position


def mask_to_rle(mask: NDArray[np.bool_]) -> dict[str, Json]:
    """COCO's compressed run lengths of a mask (row, column): down the columns, background first."""
    counts = list(map(int, encode_runs(np.ascontiguousarray(mask.T))))
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": compress_counts(counts)}


def mask_to_rings(mask: NDArray[np.bool_]) -> list[list[float]] | None:
    """Rings [x0, y0, x1, y1, ...] around the parts of a mask (row, column), from the corner of the
    first pixel; None when a part has a hole, which COCO's polygons cannot express.
    """
    borders = trace_borders(mask)
    if any(map(is_hole, borders)):
        return None
    return [to_corner_origin(border).ravel().tolist() for border in borders]


def decode_segmentation(segmentation: Json, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (row, column) of run lengths (text or list) or polygons.

    Raises:
        ValueError: damaged, or of another size.
    """
    if isinstance(segmentation, list):
        return fill_union(list(map(_points_of, segmentation)), size_hw)
    if not isinstance(segmentation, Mapping) or list(segmentation.get("size", [])) != list(size_hw):
        raise ValueError(
            f"a segmentation must have the size {size_hw} of its image, "
            f"got {str(segmentation)[:80]}"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = expand_counts(counts)
    else:
        counts = list(map(int, counts))
    rows, columns = size_hw
    if min(counts, default=0) < 0 or sum(counts) != rows * columns:
        raise ValueError(f"the run lengths cover {sum(counts)} pixels of {rows * columns}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(columns, rows).T)


def _points_of(ring: Json) -> Points:
    """The points of a ring [x0, y0, x1, y1, ...], from the centre of the first pixel.

    Raises:
        ValueError: not a list of at least three finite points.
    """
    values = np.asarray(ring, dtype=np.float64).ravel()
    if len(values) < 6 or len(values) % 2 or not np.isfinite(values).all():
        raise ValueError("a polygon is x0, y0, x1, y1, x2, y2 ... with at least three points")
    return from_corner_origin(values.reshape(-1, 2))


# --- writing -------------------------------------------------------------------------------------


class CocoMasks:
    """COCO instance annotations, which keep overlapping objects.

    `object_id` and `frame` are extra fields of ours.
    """

    name = "COCO annotations"
    suffixes = (".json",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        _make_document(masks.on_stored_grid(), path, source, polygons=False)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        write_coco(masks, path, source)


def write_coco(
    masks: Masks, path: Path, source: Stack | None = None, *, polygons: bool = False
) -> None:
    """Write COCO JSON.

    Args:
        masks: what to write.
        path: the new file.
        source: names the images.
        polygons: outlines along pixel edges instead of run lengths where an object has no hole
            (COCO polygons cannot have one). segscope reads the same pixels from both; other readers
            may round polygons by a pixel.
    """
    document = _make_document(masks.on_stored_grid(), path, source, polygons=polygons)
    with atomic(path) as part:
        part.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _make_document(
    masks: Masks, path: Path, source: Stack | None, *, polygons: bool
) -> dict[str, Json]:
    class_names = sorted({_class_name(masks, object_id) for object_id in masks.object_ids})
    annotations: list[dict[str, Json]] = []
    for frame, object_id in sorted(masks.runs):
        mask = masks.mask(frame, object_id)
        if not mask.any():
            continue
        annotation = {
            "id": len(annotations) + 1,
            "image_id": frame + 1,
            "category_id": class_names.index(_class_name(masks, object_id)) + 1,
            "object_id": object_id,
            "iscrowd": 0,
            "area": int(mask.sum()),
            "bbox": _bounding_box(mask),
            "segmentation": _segmentation_of(mask, polygons),
        }
        annotations.append(annotation)
    return {
        "info": {
            "description": "segscope masks",
            "objects": {str(key): masks.names[key] for key in masks.object_ids},
        },
        "images": _image_entries(masks, path, source),
        "categories": [{"id": number, "name": name} for number, name in enumerate(class_names, 1)],
        "annotations": annotations,
    }


def _class_name(masks: Masks, object_id: int) -> str:
    return masks.names[object_id] or "object"


def _image_entries(masks: Masks, path: Path, source: Stack | None) -> list[dict[str, Json]]:
    frames, rows, columns = masks.shape_zyx
    file_name = path.stem
    if source is not None and source.path is not None:
        file_name = source.path.name
    entries: list[dict[str, Json]] = []
    for frame in range(frames):
        frame_name = file_name
        if frames > 1:
            frame_name = f"{file_name}#{frame}"
        size = {"width": columns, "height": rows}
        entries.append({"id": frame + 1, "file_name": frame_name, **size, "frame": frame})
    return entries


def _bounding_box(mask: NDArray[np.bool_]) -> list[int]:
    """Left, top, width and height."""
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    width = columns[-1] - columns[0] + 1
    height = rows[-1] - rows[0] + 1
    return [int(columns[0]), int(rows[0]), int(width), int(height)]


def _segmentation_of(mask: NDArray[np.bool_], polygons: bool) -> Json:
    rings = None
    if polygons:
        rings = mask_to_rings(mask)
    if rings is None:
        return mask_to_rle(mask)
    return rings


# --- reading -------------------------------------------------------------------------------------


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a COCO file.

    A file of ours gives back its objects and frames. In other files every annotation is an object,
    and of several images the one with the file name of `like` is read.
    """
    with reading(path, "a COCO file"):
        if check_file(path) > _MAX_BYTES:
            raise ReadError(
                f"{path} is larger than {_MAX_BYTES // 2**20} MiB; split it by image first"
            )
        document = json.loads(path.read_text(encoding="utf-8"))
        for key in ("images", "annotations"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise ReadError(
                    f"{path} is JSON without COCO's lists `images` and `annotations`; "
                    "name a file with masks"
                )
        return place_on_grid(_decode_document(path, document, like), like, path)


@dataclass
class _Objects:
    """The objects of a file, collected annotation by annotation."""

    shape_zyx: tuple[int, int, int]
    runs: dict[tuple[int, int], Runs] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def add(self, frame: int, object_id: int, mask: NDArray[np.bool_]) -> None:
        """Add a mask; an object may have several annotations on one frame."""
        if (frame, object_id) in self.runs:
            mask = mask | self.masks().mask(frame, object_id)
        self.runs[frame, object_id] = encode_runs(mask)

    def masks(self) -> Masks:
        return Masks(self.shape_zyx, self.runs, dict(sorted(self.names.items())))


def _decode_document(path: Path, document: dict[str, Json], like: Stack | None) -> Masks:
    images = document["images"]
    annotations = document["annotations"]
    is_ours = all("frame" in image for image in images)
    is_ours &= all("object_id" in entry for entry in annotations)
    if not is_ours:
        images = [{**_select_image(path, images, like), "frame": 0}]
    frames = {image["id"]: int(image["frame"]) for image in images}
    objects = _Objects(_common_shape(path, images, frames))
    class_names = {
        entry.get("id"): str(entry.get("name", "")) for entry in document.get("categories", [])
    }
    for entry in annotations:
        if entry["image_id"] not in frames:
            continue
        object_id = len(objects.names) + 1
        if is_ours:
            object_id = int(entry["object_id"])
        if not 1 <= object_id <= MAX_OBJECT_ID:
            raise ReadError(f"{path} has the object id {object_id}; expected 1 to {MAX_OBJECT_ID}")
        objects.names.setdefault(object_id, class_names.get(entry.get("category_id"), ""))
        mask = decode_segmentation(entry["segmentation"], objects.shape_zyx[1:])
        objects.add(frames[entry["image_id"]], object_id, mask)
    if is_ours:
        stored_names = document.get("info", {}).get("objects", {})
        objects.names.update({int(key): str(value) for key, value in stored_names.items()})
    return objects.masks()


def _common_shape(
    path: Path, images: Sequence[Json], frames: Mapping[Json, int]
) -> tuple[int, int, int]:
    """Frames, rows and columns."""
    sizes = {(int(image["height"]), int(image["width"])) for image in images}
    if len(sizes) != 1 or sorted(frames.values()) != list(range(len(images))):
        raise ReadError(
            f"{path} holds images of the sizes {sorted(sizes)[:4]}; "
            "all masks of one stack must have one size"
        )
    rows, columns = sizes.pop()
    shape = (len(images), rows, columns)
    check_declared(path, shape, 1)
    return shape


def _select_image(path: Path, images: Sequence[Json], like: Stack | None) -> Json:
    matching = list(images)
    if like is not None and like.path is not None:
        file_name = like.path.name
        by_name = [
            image for image in images if Path(str(image.get("file_name", ""))).name == file_name
        ]
        matching = by_name or matching
    if len(matching) != 1:
        raise UsageError(
            f"{path} holds annotations of {len(images)} images; give the stack that they belong "
            "to, read from a file with the same name"
        )
    return matching[0]


MASK_FORMATS = (CocoMasks(),)

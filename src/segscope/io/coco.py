"""COCO JSON: one image a frame, one annotation an object and frame, as compressed run lengths or
polygons.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError
from segscope.files import atomic
from segscope.io.base import FitsAll, check_declared
from segscope.io.byte_sources import check_file, reading
from segscope.io.label_frames import on_grid_of
from segscope.io.polygons import (
    Points,
    fill_union,
    from_corner_origin,
    is_hole,
    to_corner_origin,
    trace_borders,
)
from segscope.masks import Masks, Runs, encode_runs
from segscope.stack import Stack

_MOST_BYTES = 2**29


def compress_counts(counts: Sequence[int]) -> str:
    """COCO's text of run lengths: differences to the run before last, five bits a character."""
    text = []
    for index, count in enumerate(counts):
        value = count
        if index > 2:
            value = count - counts[index - 2]
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr((bits | 32 if more else bits) + 48))
    return "".join(text)


def expand_counts(text: str) -> list[int]:
    """Run lengths of `compress_counts`.

    Raises:
        ValueError: not such a text.
    """
    counts: list[int] = []
    position = 0
    while position < len(text):
        value = 0
        shift = 0
        more = True
        while more:
            if position >= len(text) or shift > 60:
                raise ValueError("the run lengths end within a number")
            bits = ord(text[position]) - 48
            if not 0 <= bits < 64:
                raise ValueError(f"the run lengths hold the character {text[position]!r}")
            value |= (bits & 31) << shift
            more = bool(bits & 32)
            shift += 5
            position += 1
            if not more and bits & 16:
                value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def mask_to_rle(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's compressed run lengths of a mask (row, column): down the columns, background first."""
    counts = [int(run) for run in encode_runs(np.ascontiguousarray(mask.T))]
    return {"size": [int(mask.shape[0]), int(mask.shape[1])], "counts": compress_counts(counts)}


def mask_of(segmentation: Any, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (row, column) of run lengths (text or list) or polygons.

    Raises:
        ValueError: damaged, or of another size.
    """
    if isinstance(segmentation, list):
        return fill_union([_points_of(ring) for ring in segmentation], size_hw)
    if not isinstance(segmentation, Mapping) or list(segmentation.get("size", [])) != list(size_hw):
        raise ValueError(
            f"a segmentation has the size of its image {size_hw}, got {str(segmentation)[:80]}"
        )
    counts = segmentation["counts"]
    if isinstance(counts, str):
        counts = expand_counts(counts)
    else:
        counts = [int(count) for count in counts]
    if any(count < 0 for count in counts) or sum(counts) != size_hw[0] * size_hw[1]:
        raise ValueError(f"the run lengths cover {sum(counts)} pixels of {size_hw[0] * size_hw[1]}")
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(flat.reshape(size_hw[1], size_hw[0]).T)


def mask_to_rings(mask: NDArray[np.bool_]) -> list[list[float]] | None:
    """Rings [x0, y0, x1, y1, ...] around the parts of a mask (row, column), from the corner of the
    first pixel; None when a part has a hole, which COCO's polygons cannot express.
    """
    borders = trace_borders(mask)
    if any(is_hole(border) for border in borders):
        return None
    return [to_corner_origin(border).ravel().tolist() for border in borders]


def _points_of(ring: Any) -> Points:
    """The points of a ring [x0, y0, x1, y1, ...], from the centre of the first pixel.

    Raises:
        ValueError: not a list of at least three finite points.
    """
    values = np.asarray(ring, dtype=np.float64).ravel()
    if len(values) < 6 or len(values) % 2 or not np.isfinite(values).all():
        raise ValueError("a polygon is x0, y0, x1, y1, x2, y2 ... with at least three points")
    return from_corner_origin(values.reshape(-1, 2))


class CocoMasks(FitsAll):
    """COCO instance annotations; overlapping objects are all kept. `object_id` and `frame` are
    extra fields of ours.
    """

    name = "COCO annotations"
    suffixes = (".json",)

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
            (COCO polygons cannot have one); both give back the same pixels here, other readers may
            round polygons by a pixel.
    """
    masks = masks.on_stored_grid()
    frames, rows, columns = masks.shape_zyx
    if source is None or source.path is None:
        name = path.stem
    else:
        name = source.path.name
    images = [
        {"id": frame + 1, "file_name": name if frames == 1 else f"{name}#{frame}", "width": columns, "height": rows,
         "frame": frame} for frame in range(frames)
    ]  # fmt: skip
    categories = sorted({masks.names[object_id] or "object" for object_id in masks.object_ids})
    annotations: list[dict[str, Any]] = []
    for (frame, object_id), _ in sorted(masks.runs.items(), key=lambda item: item[0]):
        mask = masks.mask(frame, object_id)
        if mask.any():
            category = categories.index(masks.names[object_id] or "object") + 1
            annotations.append(
                _annotation(len(annotations) + 1, mask, frame, object_id, category, polygons)
            )
    document = {
        "info": {
            "description": "segscope masks",
            "objects": {str(key): masks.names[key] for key in masks.object_ids},
        },
        "images": images,
        "categories": [{"id": number, "name": text} for number, text in enumerate(categories, 1)],
        "annotations": annotations,
    }
    with atomic(path) as part:
        part.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def _annotation(
    number: int, mask: NDArray[np.bool_], frame: int, object_id: int, category: int, polygons: bool
) -> dict[str, Any]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    box = [
        int(columns[0]),
        int(rows[0]),
        int(columns[-1] - columns[0] + 1),
        int(rows[-1] - rows[0] + 1),
    ]
    rings = None
    if polygons:
        rings = mask_to_rings(mask)
    return {
        "id": number, "image_id": frame + 1, "category_id": category, "object_id": object_id, "iscrowd": 0,
        "area": int(mask.sum()), "bbox": box, "segmentation": mask_to_rle(mask) if rings is None else rings,
    }  # fmt: skip


def read_masks(path: Path, like: Stack | None = None) -> Masks:
    """Masks of a COCO file.

    A file of ours gives back its objects and frames. In others every annotation is an object of its
    own, and of several images the one is taken whose file name is that of `like`.
    """
    with reading(path, "a COCO file"):
        if check_file(path) > _MOST_BYTES:
            raise ReadError(
                f"{path} is larger than {_MOST_BYTES // 2**20} MiB; split it by image first"
            )
        document = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(document, dict) or not all(
            isinstance(document.get(key), list) for key in ("images", "annotations")
        ):
            raise ReadError(
                f"{path} is JSON without COCO's lists images and annotations; give a mask file"
            )
        return on_grid_of(_masks(path, document, like), like, path)


def _masks(path: Path, document: dict[str, Any], like: Stack | None) -> Masks:
    images = document["images"]
    ours = all("frame" in image for image in images) and all(
        "object_id" in entry for entry in document["annotations"]
    )
    if not ours:
        images = [{**_image_of(path, images, like), "frame": 0}]
    frames = {image["id"]: int(image["frame"]) for image in images}
    sizes = {(int(image["height"]), int(image["width"])) for image in images}
    if len(sizes) != 1 or sorted(frames.values()) != list(range(len(images))):
        raise ReadError(
            f"{path} holds images of the sizes {sorted(sizes)[:4]}; masks of one stack have one size"
        )
    size = sizes.pop()
    shape = (len(images), *size)
    check_declared(path, shape, 1)
    categories = {
        entry.get("id"): str(entry.get("name", "")) for entry in document.get("categories", [])
    }
    runs: dict[tuple[int, int], Runs] = {}
    names: dict[int, str] = {}
    for entry in document["annotations"]:
        if entry["image_id"] not in frames:
            continue
        if ours:
            object_id = int(entry["object_id"])
        else:
            object_id = len(names) + 1
        if not 1 <= object_id <= 65535:
            raise ReadError(f"{path} numbers an object {object_id}; wanted 1 to 65535")
        names.setdefault(object_id, categories.get(entry.get("category_id"), ""))
        place = (frames[entry["image_id"]], object_id)
        mask = mask_of(entry["segmentation"], size)
        if place in runs:
            mask |= Masks(shape, runs, names).mask(*place)
        runs[place] = encode_runs(mask)
    if ours:
        listed = document.get("info", {}).get("objects", {})
        names.update({int(key): str(value) for key, value in listed.items()})
    return Masks(shape, runs, dict(sorted(names.items())))


def _image_of(path: Path, images: Sequence[Any], like: Stack | None) -> Any:
    named = [image for image in images if like is not None and like.path is not None
             and Path(str(image.get("file_name", ""))).name == like.path.name]  # fmt: skip
    chosen = named or list(images)
    if len(chosen) != 1:
        raise UsageError(
            f"{path} holds annotations of {len(images)} images; give the stack that they belong to, read from a file "
            "with the same name"
        )
    return chosen[0]


MASK_FORMATS = (CocoMasks(),)

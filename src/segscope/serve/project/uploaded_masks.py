"""Mask files from clients, read in a separate process on the grid of their image."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segscope.errors import ReadError
from segscope.masks import Masks, Runs
from segscope.serve.project.image_records import StoredImage
from segscope.serve.project.worker_process import Answer, run_once
from segscope.serve.settings import Limits

_WORKER = "segscope.serve.project.mask_worker"


def read_uploaded_masks(path: Path, stored: StoredImage, limits: Limits) -> Masks:
    """The masks in a file, on the grid of an image.

    Raises:
        ReadError: the file is damaged, holds no labels, lies on another grid than the image, or
            needs more than the limits allow.
        UsageError: it is in no format that holds masks.
    """
    request = {
        "path": str(path),
        "image": str(stored.path),
        "options": stored.choice.options(),
    }
    answer, data = run_once(_WORKER, request, limits)
    try:
        return _parse(answer, data, stored.image.shape_zyx)
    except (KeyError, TypeError, ValueError) as error:
        raise ReadError(f"the masks of the uploaded file cannot be read: {error!r}") from error


def _parse(answer: Answer, data: bytes, shape_zyx: tuple[int, int, int]) -> Masks:
    if answer["shape"] != list(shape_zyx):
        raise ReadError(
            f"the masks are {tuple(answer['shape'])} (frame, row, column), but the image is "
            f"{shape_zyx}"
        )
    names = {int(object_id): str(name) for object_id, name in answer["names"]}
    frames, rows, columns = shape_zyx
    lengths = np.frombuffer(data, "<u4")
    runs: dict[tuple[int, int], Runs] = {}
    start = 0
    for frame, object_id, count in answer["places"]:
        part = lengths[start : start + count].astype(np.uint32)
        if not 0 <= frame < frames or part.sum(dtype=np.int64) != rows * columns:
            raise ValueError(f"runs of frame {frame}")
        runs[int(frame), int(object_id)] = part
        start += count
    return Masks(shape_zyx, runs, names)

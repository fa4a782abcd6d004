"""The worker process of `uploaded_masks`: reads one mask file on the grid of its image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from segscope.errors import ReadError
from segscope.masks import Masks
from segscope.serve.project.worker_answers import Pipe, Reply
from segscope.stack import Stack

_CROPPED_FORMATS = (".seg.nrrd", ".seg.nhdr", ".dcm", ".json")  # often hold only what is labelled


def main() -> None:
    """Read one file."""
    pipe = Pipe()
    path = Path(pipe.request["path"])
    pipe.answer(lambda: _read(path, pipe.request), path)


def _read(path: Path, request: dict[str, Any]) -> Reply:
    # after the limits apply: readers are loaded with it
    from segscope.io import read, read_masks
    from segscope.io.label_frames import check_covers

    stack = read(request["image"], **request["options"])
    if path.suffix.lower() == ".xml":
        from segscope.serve.compat.monailabel.asap_xml import read_asap

        return _describe(read_asap(path, stack.shape_zyx))
    if not path.name.lower().endswith(_CROPPED_FORMATS):
        masks = read_masks(path)
        _check_shape(masks, stack, path)
        check_covers(masks, stack, path)
    return _describe(read_masks(path, stack))


def _check_shape(masks: Masks, stack: Stack, path: Path) -> None:
    """Refuse a part of the grid in a format whose files hold all of it."""
    if sorted(masks.shape_zyx) != sorted(stack.shape_zyx):
        raise ReadError(
            f"{path} has {_format_shape(masks.shape_zyx)} voxels (frame, row, column), but its "
            f"image has {_format_shape(stack.shape_zyx)}; export the label on the grid of the image"
        )


def _format_shape(shape_zyx: tuple[int, int, int]) -> str:
    return " x ".join(map(str, shape_zyx))


def _describe(masks: Masks) -> Reply:
    runs = [np.asarray(masks.runs[place], "<u4") for place in masks.runs]
    answer = {
        "shape": list(masks.shape_zyx),
        "names": [[object_id, name] for object_id, name in masks.names.items()],
        "places": [
            [frame, object_id, len(lengths)]
            for (frame, object_id), lengths in zip(masks.runs, runs, strict=True)
        ],
    }
    return answer, b"".join(lengths.tobytes() for lengths in runs)


if __name__ == "__main__":
    main()

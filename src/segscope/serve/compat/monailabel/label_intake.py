"""Labels from MONAI Label's clients: checked before anything is stored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from segscope.errors import UsageError
from segscope.masks import Masks
from segscope.serve.compat.monailabel.label_files import FINAL
from segscope.serve.compat.monailabel.label_sessions import (
    label_session,
    named_masks,
    remove_label_masks,
)
from segscope.serve.compat.monailabel.service import MonaiLabelService
from segscope.serve.json_object import JsonObject
from segscope.serve.project.image_records import StoredImage
from segscope.serve.project.safe_paths import safe_name
from segscope.serve.project.uploaded_masks import read_uploaded_masks
from segscope.serve.project.uploads import UploadedFile


def store_label(
    service: MonaiLabelService,
    stored: StoredImage,
    tag: str,
    label: UploadedFile,
    notes: JsonObject,
) -> None:
    """Store a label that lies on the grid of its image; a final one as masks of a session too.

    Raises:
        ReadError, UsageError: not a label file, or one on another grid; nothing is changed.
        Busy: the masks of the earlier label are open in a window; nothing is changed.
        WriteError: the disk refuses.
    """
    workspace = service.workspace
    image_id = stored.image.image_id
    service.labels.check_place(image_id, tag)
    workspace.images.stack(image_id)  # refuses images that are gone or changed
    with workspace.images.uploads.scratch() as folder:
        file = _label_file(service, stored, label, folder)
        masks = read_uploaded_masks(file, stored, workspace.settings.limits)
        info: JsonObject = {"params": notes, "name": file.name}
        if tag != FINAL:
            service.labels.save(image_id, tag, file, info)
            return
        masks = named_masks(masks, notes, workspace.labels)
        with label_session(workspace, image_id, masks):
            service.labels.save(image_id, tag, file, info)


def _label_file(
    service: MonaiLabelService, stored: StoredImage, label: UploadedFile, folder: Path
) -> Path:
    """The label as a file whose name tells its format; OHIF's label.bin becomes NRRD."""
    client_name, path = label
    name = safe_name(client_name)
    if not name.endswith(".bin"):
        return path.rename(folder / name)
    masks = _masks_from_raw_labels(path.read_bytes(), stored.image.shape_zyx)
    _, data = service.write_masks(masks, stored, ".nrrd")
    file = folder / "label.nrrd"
    file.write_bytes(data)
    return file


def remove_label(service: MonaiLabelService, image_id: str, tag: str) -> None:
    """Move a label to the trash; a final one with its session.

    Raises:
        NotFound: there is no such label.
        Busy: its session is in use.
    """
    service.labels.get(image_id, tag)
    if tag == FINAL:
        remove_label_masks(service.workspace, image_id)
    service.labels.remove(image_id, tag)


def _masks_from_raw_labels(raw: bytes, shape_zyx: tuple[int, int, int]) -> Masks:
    """Masks of OHIF's raw labels: one byte per voxel, x changing fastest.

    Raises:
        UsageError: the number of bytes is not the number of voxels.
    """
    voxels = math.prod(shape_zyx)
    if len(raw) != voxels:
        raise UsageError(f"raw labels of this image must have {voxels} bytes, got {len(raw)}")
    return Masks.from_labels(np.frombuffer(raw, np.uint8).reshape(shape_zyx))

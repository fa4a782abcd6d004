"""Masks of a session as a file of any format that `segscope.io` writes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from segscope.errors import UnknownName
from segscope.io import check_output, write
from segscope.masks import Masks
from segscope.serve.errors import NotFound
from segscope.stack import Stack


@dataclass(frozen=True)
class ExportFormat:
    """A format for masks.

    Attributes:
        suffix: of the file; "" for a folder of PNGs, which is sent as a zip.
        media_type: in the response.
        note: what the file contains, in words.
    """

    suffix: str
    media_type: str
    note: str


@dataclass(frozen=True)
class ExportedFile:
    """Masks in a file, and its media type."""

    path: Path
    media_type: str


EXPORT_FORMATS: Mapping[str, ExportFormat] = {
    "nifti": ExportFormat(
        ".nii.gz", "application/gzip", "label volume on the voxel grid of the image"
    ),
    "nrrd": ExportFormat(".nrrd", "application/octet-stream", "label volume"),
    "nrrd-seg": ExportFormat(
        ".seg.nrrd", "application/octet-stream", "3D Slicer segmentation with names, colours, codes"
    ),
    "mha": ExportFormat(".mha", "application/octet-stream", "label volume"),
    "dicom-seg": ExportFormat(
        ".dcm", "application/dicom", "DICOM Segmentation; requires a DICOM image"
    ),
    "rtstruct": ExportFormat(
        ".rtstruct.dcm", "application/dicom", "RT Structure Set (contours); requires a DICOM image"
    ),
    "tiff": ExportFormat(".tif", "image/tiff", "multi-page label image"),
    "ome-tiff": ExportFormat(".ome.tif", "image/tiff", "multi-page label image with pixel sizes"),
    "png": ExportFormat("", "application/zip", "one label image per frame"),
    "npz": ExportFormat(".npz", "application/octet-stream", "NumPy arrays"),
    "coco": ExportFormat(
        ".json", "application/json", "COCO annotations; overlapping objects are preserved"
    ),
}


@contextmanager
def export_masks(
    masks: Masks,
    stack: Stack,
    format_name: str,
    stem: str,
    temporary_folder: Path,
) -> Iterator[ExportedFile]:
    """The masks as a file, which exists until the block ends.

    Args:
        stem: of the name of the file.
        temporary_folder: for it; one that is emptied when the server starts, since a server that is
            killed leaves the file.

    Raises:
        UnknownName: no such format.
        UsageError, WriteError, MissingExtra: the format cannot hold the masks of this image.
    """
    if format_name not in EXPORT_FORMATS:
        raise UnknownName("export format", format_name, EXPORT_FORMATS)
    export_format = EXPORT_FORMATS[format_name]
    with tempfile.TemporaryDirectory(prefix="export-", dir=temporary_folder) as folder:
        path = Path(folder) / f"{stem}{export_format.suffix}"
        destination: Path | str = path
        if not export_format.suffix:
            destination = f"{path}/"  # a folder with one PNG per frame
        check_output(destination, stack)
        write(masks, destination, stack)
        if not export_format.suffix:
            path = _zip_folder(path, Path(folder) / f"{stem}.zip")
        yield ExportedFile(path, export_format.media_type)


def _zip_folder(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as zip_file:
        for file in sorted(filter(Path.is_file, folder.rglob("*"))):
            zip_file.write(file, file.relative_to(folder).as_posix())
    return archive


def select_objects(masks: Masks, object_ids: set[int]) -> Masks:
    """The masks of some objects.

    Raises:
        NotFound: an object does not exist.
    """
    missing = object_ids - set(masks.object_ids)
    if missing:
        raise NotFound(f"no objects {sorted(missing)}; there are {list(masks.object_ids)}")
    return replace(
        masks,
        runs={key: runs for key, runs in masks.runs.items() if key[1] in object_ids},
        names={key: name for key, name in masks.names.items() if key in object_ids},
        scores={key: score for key, score in masks.scores.items() if key[1] in object_ids},
    )

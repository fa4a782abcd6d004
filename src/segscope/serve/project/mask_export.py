"""Masks of a session as a file of any format that `segscope.io` writes."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import UnknownName
from segscope.io import check_output, write
from segscope.masks import Masks
from segscope.stack import Stack


@dataclass(frozen=True)
class ExportFormat:
    """One way out: ending of the file ("" for a folder of PNGs, sent as a zip), media type, for
    whom.
    """

    suffix: str
    media_type: str
    note: str


EXPORTS: Mapping[str, ExportFormat] = {
    "nifti": ExportFormat(".nii.gz", "application/gzip", "label volume on the grid of the scan"),
    "nrrd": ExportFormat(".nrrd", "application/octet-stream", "label volume"),
    "nrrd-seg": ExportFormat(
        ".seg.nrrd", "application/octet-stream", "3D Slicer segmentation: names, colours, codes"
    ),
    "mha": ExportFormat(".mha", "application/octet-stream", "label volume"),
    "dicom-seg": ExportFormat(
        ".dcm", "application/dicom", "DICOM SEG; for images that came as DICOM"
    ),
    "rtstruct": ExportFormat(
        ".rtstruct.dcm", "application/dicom", "contours; for images that came as DICOM"
    ),
    "tiff": ExportFormat(".tif", "image/tiff", "label pages"),
    "ome-tiff": ExportFormat(".ome.tif", "image/tiff", "label pages with their scale"),
    "png": ExportFormat("", "application/zip", "a label image a frame"),
    "npz": ExportFormat(".npz", "application/octet-stream", "NumPy arrays"),
    "coco": ExportFormat(".json", "application/json", "COCO annotations, overlapping objects kept"),
}


@contextmanager
def exported(
    masks: Masks, stack: Stack, format_name: str, stem: str
) -> Iterator[tuple[Path, ExportFormat]]:
    """The masks as a file that is there inside the block.

    Raises:
        UnknownName: no such format.
        UsageError, WriteError, MissingExtra: it does not fit the image.
    """
    if format_name not in EXPORTS:
        raise UnknownName("export format", format_name, EXPORTS)
    kind = EXPORTS[format_name]
    with tempfile.TemporaryDirectory(prefix="segscope-export-") as folder:
        path = Path(folder) / f"{stem}{kind.suffix}"
        check_output(path if kind.suffix else f"{path}/", stack)
        write(masks, path if kind.suffix else f"{path}/", stack)
        if not kind.suffix:
            path = _zipped(path, Path(folder) / f"{stem}.zip")
        yield path, kind


def _zipped(folder: Path, archive: Path) -> Path:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder).as_posix())
    return archive

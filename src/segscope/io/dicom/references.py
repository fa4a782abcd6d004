"""The DICOM images that masks were drawn on, as writers need them: headers, references, identity of
the patient.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from segscope.errors import UsageError
from segscope.geometry import Geometry
from segscope.io.dicom.headers import plain_text, read_header
from segscope.masks import Masks
from segscope.stack import Stack

_IDENTITY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_SHORT = ("StudyID", "AccessionNumber")
_DATES = ("PatientBirthDate", "StudyDate")
_TIMES = ("StudyTime",)
_SEXES = ("M", "F", "O", "")
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def program_version() -> str:
    """Version of segscope, for the equipment that made a file."""
    try:
        return importlib.metadata.version("segscope")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def clean_label(name: str, object_id: int) -> str:
    """A label that DICOM takes: up to 64 characters on one line, without its separator."""
    return plain_text(name.replace("\\", " ")) or f"object {object_id}"


def copy_identity(source: Any, target: Any) -> None:
    """Copy patient and study, so that the new object files itself beside its scan; what is unknown
    stays empty.

    So does what is not valid (anonymisers leave such values): an archive may reject the whole file
        for it.
    """
    for name in _IDENTITY:
        value = source.get(name)
        setattr(target, name, "" if value is None or not _is_valid(name, value) else value)


def _is_valid(name: str, value: Any) -> bool:
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA, TM

    text = str(value)
    try:
        if name in _DATES:
            DA(text)
        elif name in _TIMES:
            TM(text)
    except ValueError:
        return False
    if name == "PatientSex" and text not in _SEXES:
        return False
    return not isinstance(value, MultiValue) and (name not in _SHORT or len(text) <= 16)


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Files and frame numbers of the stack that masks belong to, frame by frame of the stored grid."""

    path: Path
    geometry: Geometry | None
    files: tuple[Path, ...]
    frames: tuple[int, ...]

    @classmethod
    def of(cls, masks: Masks, path: Path, source: Stack | None, what: str) -> SourceImages:
        """Check that `source` can be referred to.

        Args:
            masks: on the stored grid.
            path: of the new file, for messages.
            source: the stack they were made on, along any axis.
            what: kind of the new file, for messages.

        Raises:
            UsageError: it was not read from DICOM, its files are gone, or it has another grid than
                `masks`.
        """
        if source is None:
            files = ()
        else:
            files = source.meta.get("dicom_files", ())
        if source is None or not files:
            raise UsageError(
                f"{path.name}: a DICOM {what} refers to the DICOM scan it was drawn on, and "
                f"{'none was given' if source is None else 'this stack was not read from DICOM'}. Give the stack that "
                "`read` made of the scan as source, or write .nii.gz or .seg.nrrd"
            )
        if len(files) != masks.shape_zyx[0] or sorted(source.shape_zyx) != sorted(masks.shape_zyx):
            raise UsageError(
                f"masks of {masks.shape_zyx} (frame, row, column) do not fit the scan of {source.shape_zyx}; write "
                "them with the stack they were made on"
            )
        if source.axis == 0:
            geometry = source.geometry
        else:
            geometry = masks.geometry
        if (
            masks.geometry is not None
            and geometry is not None
            and not masks.geometry.same_grid(geometry)
        ):
            raise UsageError(
                "these masks lie elsewhere in millimetres than the scan; write them with their own stack"
            )
        gone = next((file for file in files if not Path(file).is_file()), None)
        if gone is not None:
            raise UsageError(
                f"{gone} is gone, and a DICOM {what} needs the headers of its scan; put it back"
            )
        where = source.path or Path(files[0])
        images = cls(where, geometry, tuple(map(Path, files)), tuple(source.meta["dicom_frames"]))
        for file, header in images.headers.items():
            lacking = [name for name in _NEEDED if not header.get(name)]
            if lacking:
                raise UsageError(
                    f"{path.name}: a DICOM {what} refers to the images of its scan, and {file} has no "
                    f"{', '.join(lacking)} (removed by an anonymiser?). Write .nii.gz or .seg.nrrd instead"
                )
        return images

    @cached_property
    def headers(self) -> dict[Path, Any]:
        """Headers of all files, without pixels, with patient and study as they may be written."""
        found = {file: read_header(file) for file in dict.fromkeys(self.files)}
        for header in found.values():
            copy_identity(header, header)
        return found

    @property
    def first(self) -> Any:
        return self.headers[self.files[0]]

    @property
    def frame_of_reference(self) -> str:
        return str(self.first.get("FrameOfReferenceUID") or "")

    def one_frame_a_file(self) -> Iterator[int]:
        """Number of the first frame of each file."""
        seen: set[Path] = set()
        for index, file in enumerate(self.files):
            if file not in seen:
                seen.add(file)
                yield index

    def reference(self, index: int) -> Any:
        """Reference to the image of a frame, by frame number where the file holds several."""
        from pydicom.dataset import Dataset

        header = self.headers[self.files[index]]
        item = Dataset()
        item.ReferencedSOPClassUID = header.SOPClassUID
        item.ReferencedSOPInstanceUID = header.SOPInstanceUID
        if int(header.get("NumberOfFrames") or 1) > 1:
            item.ReferencedFrameNumber = self.frames[index] + 1
        return item

"""The DICOM images that masks were drawn on, as writers need them: headers, references, identity of
the patient.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from segscope.errors import ReadError, UsageError
from segscope.geometry import Geometry
from segscope.io.dicom.files import looks_like_dicom, quiet, read_header
from segscope.io.dicom.values import clean_text, read_integer, read_text
from segscope.io.unzip import UnpackedPath
from segscope.masks import Masks
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_IDENTITY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
_SHORT = ("StudyID", "AccessionNumber")
_DATES = ("PatientBirthDate", "StudyDate")
_DATE = re.compile(r"(\d{8})?")
_TIMES = ("StudyTime",)
_SEXES = ("M", "F", "O", "")
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


def program_version() -> str:
    """Version of segscope, for the equipment that made a file."""
    try:
        return importlib.metadata.version("segscope")
    except importlib.metadata.PackageNotFoundError:
        return "0"


def clean_label(name: str, object_id: int) -> str:
    """A label that DICOM allows: up to 64 characters on one line, without its separator."""
    return clean_text(name.replace("\\", " ")) or f"object {object_id}"


def count_frames(header: Dataset) -> int:
    """How many frames a file declares."""
    return read_integer(header, "NumberOfFrames", 1)


def copy_identity(source: Dataset, target: Dataset) -> None:
    """Copy patient and study, so that archives file the new object beside its scan.

    What is unknown stays empty, and so does what is not valid (anonymisers leave such values): an
    archive may reject the whole file for it.
    """
    for name in _IDENTITY:
        value = source.get(name)
        if value is None or not _is_valid(name, value):
            value = ""
        setattr(target, name, value)


def _is_valid(name: str, value: object) -> bool:
    from pydicom.multival import MultiValue
    from pydicom.valuerep import DA, TM

    if isinstance(value, MultiValue):
        return False
    text = str(value)
    if name in _DATES and not _DATE.fullmatch(text):
        return False  # such as 1997.04.24, from before the standard
    try:
        if name in _DATES:
            DA(text)
        elif name in _TIMES:
            TM(text)
    except ValueError:
        return False
    if name == "PatientSex":
        return text in _SEXES
    return name not in _SHORT or len(text) <= 16


def check_replaceable(path: Path) -> None:
    """Refuse to replace a DICOM file that segscope did not write: it may be a slice of a scan.

    Raises:
        UsageError: there is one at `path`.
    """
    if not path.is_file() or not looks_like_dicom(path):
        return
    if not _is_ours(path):
        raise UsageError(
            f"{path} is a DICOM file that segscope did not write, and would be overwritten; "
            "name another file"
        )


def _is_ours(path: Path) -> bool:
    try:
        with quiet():
            header = read_header(path, ["ManufacturerModelName", "Modality"])
    except ReadError:
        return False
    has_masks = header.get("Modality") in ("SEG", "RTSTRUCT")
    return has_masks and header.get("ManufacturerModelName") == "segscope"


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Files and frame numbers of the stack that masks belong to, frame by frame as stored."""

    path: Path
    geometry: Geometry | None
    files: tuple[Path, ...]
    frames: tuple[int, ...]

    @classmethod
    def of(
        cls,
        masks: Masks,
        path: Path,
        source: Stack | None,
        what: str,
    ) -> SourceImages:
        """Check that a new object can refer to `source`.

        Args:
            masks: on the stored grid.
            path: of the new file, for messages.
            source: the stack they were made on, along any axis.
            what: kind of the new file, for messages.

        Raises:
            UsageError: it was not read from DICOM, its files are gone, or it has another grid than
                `masks`.
        """
        files: tuple[str, ...] = ()
        if source is not None:
            files = source.meta.get("dicom_files", ())
        if source is None or not files:
            raise UsageError(
                f"{path.name}: a DICOM {what} refers to the DICOM images that its masks belong to, "
                f"but {_describe_missing_references(source)}"
            )
        if len(files) != masks.shape_zyx[0] or sorted(source.shape_zyx) != sorted(masks.shape_zyx):
            raise UsageError(
                f"masks of {masks.shape_zyx} (frame, row, column) do not fit the scan of "
                f"{source.shape_zyx}; write them with the stack they were made on"
            )
        geometry = _stored_geometry(masks, source)
        images = cls(
            source.path or Path(files[0]),
            geometry,
            tuple(map(Path, files)),
            tuple(source.meta["dicom_frames"]),
        )
        folder = source.meta.get("unpacked_folder")
        if folder is None:
            images.check_headers(path, what)
            return images
        with UnpackedPath(folder.path, str(images.path)).naming_origin():
            images.check_headers(path, what)
        return images

    def check_headers(self, path: Path, what: str) -> None:
        """Raise UsageError for files that are gone, or lack what references need."""
        gone = [file for file in self.files if not file.is_file()]
        if gone:
            raise UsageError(
                f"{gone[0]} is gone, but a DICOM {what} needs the headers of its scan; "
                "restore the file"
            )
        for file, header in self.headers.items():
            missing = [name for name in _REQUIRED if not header.get(name)]
            if missing:
                raise UsageError(
                    f"{path.name}: a DICOM {what} refers to the images of its scan, and {file} has "
                    f"no {', '.join(missing)} (removed by an anonymiser?). Write .nii.gz or "
                    ".seg.nrrd instead"
                )

        shares_place = self.geometry is not None and self.geometry.shares_place
        uids = [self.headers[file].SOPInstanceUID for file in self.files]
        if shares_place and len(set(zip(uids, self.frames, strict=True))) < len(uids):
            raise UsageError(
                f"{path.name}: a DICOM {what} tells the frames of a cine apart by their "
                f"SOPInstanceUID, but several frames of {self.path} have the same. Write .nii.gz "
                "or .seg.nrrd instead"
            )

    @cached_property
    def headers(self) -> dict[Path, Dataset]:
        """Headers of all files, without pixels, with patient and study as they may be written."""
        headers = {file: read_header(file) for file in dict.fromkeys(self.files)}
        for header in headers.values():
            copy_identity(header, header)
        return headers

    @property
    def first(self) -> Dataset:
        """Header of the first file."""
        return self.headers[self.files[0]]

    @property
    def frame_of_reference(self) -> str:
        return read_text(self.first, "FrameOfReferenceUID")

    def first_frames(self) -> Iterator[int]:
        """Number of the first frame of each file."""
        visited: set[Path] = set()
        for index, file in enumerate(self.files):
            if file not in visited:
                visited.add(file)
                yield index

    def make_reference(self, index: int) -> Dataset:
        """Reference to the image of a frame, by frame number where the file holds several."""
        file = self.files[index]
        item = self.make_instance_reference(file)
        if count_frames(self.headers[file]) > 1:
            item.ReferencedFrameNumber = self.frames[index] + 1
        return item

    def make_instance_reference(self, file: Path) -> Dataset:
        """Reference to a file as a whole."""
        from pydicom.dataset import Dataset

        header = self.headers[file]
        item = Dataset()
        item.ReferencedSOPClassUID = header.SOPClassUID
        item.ReferencedSOPInstanceUID = header.SOPInstanceUID
        return item


def _describe_missing_references(source: Stack | None) -> str:
    """Why masks on a stack cannot refer to images, and what to write instead."""
    advice = "Write .nii.gz or .seg.nrrd instead"
    if source is not None and "without_references" in source.meta:
        return f"{source.meta['without_references']}. {advice}"
    problem = "no source was passed"
    if source is not None:
        problem = "this image was not read from DICOM"
    return (
        f"{problem}. {advice}, or, in Python, pass the stack that `read` returns for the DICOM "
        "images as source"
    )


def _stored_geometry(masks: Masks, source: Stack) -> Geometry | None:
    """Geometry of the stored grid, after a check that masks and source agree."""
    geometry = source.geometry
    if source.axis != 0:
        geometry = masks.geometry
    if masks.geometry is None or geometry is None or masks.geometry.same_grid(geometry):
        return geometry
    raise UsageError(
        "these masks lie elsewhere in millimetres than the scan; write them with their own stack"
    )

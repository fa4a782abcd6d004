"""All DICOM images of a folder, and what is left out and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from segscope.errors import ReadError, SegscopeError, format_count, list_first
from segscope.io.base import check_file
from segscope.io.dicom.files import (
    has_dicom_suffix,
    list_files,
    looks_like_dicom,
    quiet,
    read_header,
)
from segscope.io.dicom.headers import read_frames
from segscope.io.dicom.records import Frame, NoFrames

_NOT_DICOM = "not DICOM"
_MISSING = "links to files that do not exist"
_NOT_REGULAR = "pipes or devices"
_MAX_LISTED = 4


@dataclass(frozen=True)
class UnreadableFile:
    """A DICOM file that cannot be read, and the series it belongs to, empty where unknown."""

    path: Path
    error: SegscopeError
    series_uid: str


@dataclass
class FolderScan:
    """Frames of all files of a folder.

    Attributes:
        frames: in the order of the files.
        left_out: number of files that hold no image, by reason.
        unreadable: files that should hold an image.
    """

    frames: list[Frame] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    unreadable: list[UnreadableFile] = field(default_factory=list)

    @classmethod
    def of(cls, folder: Path) -> FolderScan:
        """Read the headers of all files of a folder and its sub-folders."""
        scan = cls()
        for file in list_files(folder):
            scan._add(file)
        return scan

    def _add(self, file: Path) -> None:
        if file.is_symlink() and not file.exists():
            self.left_out[_MISSING] += 1
            return
        if not file.is_file():  # opening a pipe would wait for ever
            self.left_out[_NOT_REGULAR] += 1
            return
        if not has_dicom_suffix(file) and not looks_like_dicom(file):
            self.left_out[_NOT_DICOM] += 1
            return
        try:
            check_file(file)
            result = read_frames(file)
        except ReadError as error:
            self.unreadable.append(UnreadableFile(file, error, _find_series(file)))
            return
        if isinstance(result, NoFrames):
            self.left_out[result.reason.partition(":")[0]] += 1
        else:
            self.frames += result

    def check_images(self, path: Path, advice: str) -> None:
        """Raise ReadError if no image of a folder or archive can be read."""
        if self.frames:
            return
        if self.unreadable:
            raise self.unreadable[0].error
        counts = [f"{count} {reason}" for reason, count in self.left_out.items()]
        raise ReadError(
            f"{path} holds no DICOM images ({'; '.join(counts) or 'no files'}); {advice}"
        )

    def check_series(self, series_uid: str, *, is_chosen: bool) -> None:
        """Refuse a series that lacks one of its files.

        Args:
            series_uid: of the series that is read.
            is_chosen: whether the user named it. A file of unknown series may belong to the only
                series of a folder.

        Raises:
            ReadError: a file of the series, or one that may belong to it, cannot be read.
        """
        for file in self.unreadable:
            if series_uid and file.series_uid == series_uid:
                raise file.error
            if not file.series_uid and not is_chosen:
                raise ReadError(
                    f"{file.error} Its series is unknown: to read a series without it, name the "
                    "series (series=, --series)."
                )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out, for the notes of a stack."""
        notes = [
            f"{format_count(count, 'file')} left out: {reason}"
            for reason, count in self.left_out.items()
        ]
        if self.unreadable:
            reasons = (str(file.error) for file in self.unreadable)
            notes.append(
                f"{format_count(len(self.unreadable), 'file')} left out, unreadable: "
                f"{list_first(reasons, _MAX_LISTED, ' ')}"
            )
        return tuple(notes)


def _find_series(file: Path) -> str:
    """SeriesInstanceUID of a file that cannot be read as a whole; empty where unknown."""
    try:
        with quiet():
            return str(read_header(file, ["SeriesInstanceUID"]).get("SeriesInstanceUID") or "")
    except SegscopeError:
        return ""

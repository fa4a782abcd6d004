"""The images that masks in DICOM were drawn on, and whether a stack is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from segscope.errors import ReadError
from segscope.io.dicom.values import Item, functional_group, read_items, read_text
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_Image = tuple[str, int | None]
"""SOPInstanceUID, and index of a frame; None stands for all frames."""


@dataclass(frozen=True)
class Origin:
    """What masks were drawn on, as their file states it.

    Attributes:
        study: its UID, or "".
        series: their UIDs.
        images: those with masks, or all that the file refers to.
        frames_of_reference: their UIDs.
    """

    study: str
    series: frozenset[str]
    images: frozenset[_Image]
    frames_of_reference: frozenset[str]

    @classmethod
    def of_seg(cls, header: Dataset, frames: int) -> Origin:
        """The origin of a segmentation of `frames` frames."""
        images: set[_Image] = set()
        for index in range(frames):
            group = functional_group(header, index, "DerivationImageSequence")
            images.update(_list_images(group, "SourceImageSequence"))
        series = read_items(header, "ReferencedSeriesSequence")
        if not images:
            for item in series:
                images.update(_list_images(item, "ReferencedInstanceSequence"))
        return cls(
            read_text(header, "StudyInstanceUID"),
            frozenset(read_text(item, "SeriesInstanceUID") for item in series),
            frozenset(images),
            frozenset({read_text(header, "FrameOfReferenceUID")}),
        )

    @classmethod
    def of_rtstruct(cls, data: Dataset) -> Origin:
        """The origin of a structure set."""
        images: set[_Image] = set()
        for roi in read_items(data, "ROIContourSequence"):
            for contour in read_items(roi, "ContourSequence"):
                images.update(_list_images(contour, "ContourImageSequence"))
        series = list(_iter_series(data))
        if not images:
            for item in series:
                images.update(_list_images(item, "ContourImageSequence"))
        default = read_text(data, "FrameOfReferenceUID")
        regions = read_items(data, "StructureSetROISequence")
        return cls(
            read_text(data, "StudyInstanceUID"),
            frozenset(read_text(item, "SeriesInstanceUID") for item in series),
            frozenset(images),
            frozenset(
                read_text(item, "ReferencedFrameOfReferenceUID", default) for item in regions
            ),
        )

    def check(self, path: Path, like: Stack) -> tuple[str, ...]:
        """Notes on masks that were drawn on none of the images of a stack.

        Raises:
            ReadError: nor on its study, and no frame of reference in common shows that millimetres
                compare.
        """
        uids = like.meta.get("dicom_uids", ())
        whole = {(uid, None) for uid in uids}
        single = set(zip(uids, like.meta.get("dicom_frames", ()), strict=False))
        if not uids or not self.images or not self.images.isdisjoint(whole | single):
            return ()
        if not {uid for uid, _ in self.images}.isdisjoint(uids):
            return ("drawn on other frames of the same file, perhaps those of another time point",)
        if like.meta["frame_of_reference"] in self.frames_of_reference - {""}:
            if "volumes_differ_in" in like.meta:
                return ("drawn on other images than this volume, perhaps on another time point",)
            return ()
        study = like.meta["study_uid"]
        is_other_study = bool(study) and bool(self.study) and study != self.study
        if is_other_study and like.meta["series_uid"] not in self.series:
            raise ReadError(
                f"{path} refers to images of another study and to none of this scan, and no frame "
                "of reference in common shows that their millimetres compare: the masks may be "
                "those of another patient. Give the scan that they were drawn on."
            )
        return (
            "drawn on other images than those of this scan, without a frame of reference in "
            "common: they may not belong to it",
        )


def _iter_series(data: Dataset) -> Iterator[Item]:
    """The series that a structure set refers to."""
    for frame in read_items(data, "ReferencedFrameOfReferenceSequence"):
        for study in read_items(frame, "RTReferencedStudySequence"):
            yield from read_items(study, "RTReferencedSeriesSequence")


def _list_images(data: Item, name: str) -> Iterator[_Image]:
    """The images, or frames of them, that a sequence refers to."""
    for item in read_items(data, name):
        uid = read_text(item, "ReferencedSOPInstanceUID")
        numbers = np.atleast_1d(item.get("ReferencedFrameNumber") or ())
        if not numbers.size:
            yield uid, None
        for number in numbers:
            yield uid, int(number) - 1

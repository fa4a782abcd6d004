"""Frames of a DICOM SEG: their pixels, their places, and the images that they refer to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.io.dicom.references import SourceImages
from segscope.io.dicom.source_planes import SourcePlanes
from segscope.io.dicom.values import (
    functional_group,
    parse_vector,
    read_first_number,
    read_text,
)
from segscope.masks import Masks

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEGMENT_NUMBER = (0x0062000B, 0x0062000A)
_POSITION_IN_PATIENT = (0x00200032, 0x00209113)
_POSITION_IN_STACK = (0x00209057, 0x00209111)
_POSITION_IN_TIME = (0x00209128, 0x00209111)


@dataclass(frozen=True)
class SegFrame:
    """One frame of a segmentation.

    Attributes:
        segment: number of the segment, from 1.
        object_id: the object that it shows.
        frame: of the masks.
    """

    segment: int
    object_id: int
    frame: int


def list_frames(masks: Masks) -> list[SegFrame]:
    """The frames that show an object, by segment and frame; at least one, as a file needs it."""
    segment_of = {object_id: number for number, object_id in enumerate(masks.object_ids, start=1)}
    frames = [
        SegFrame(segment_of[object_id], object_id, frame)
        for frame, object_id in masks.runs
        if masks.area(frame, object_id)
    ]
    frames.sort(key=lambda entry: (entry.segment, entry.frame))
    return frames or [SegFrame(1, masks.object_ids[0], 0)]


def pack_pixels(masks: Masks, frames: Sequence[SegFrame]) -> bytes:
    """The masks as bits; frames follow each other without padding, in an even number of bytes."""
    parts = []
    rest = np.zeros(0, bool)
    for entry in frames:
        mask = masks.mask(entry.frame, entry.object_id)
        bits: NDArray[np.bool_] = np.concatenate([rest, mask.ravel()])
        whole = len(bits) // 8 * 8
        parts.append(np.packbits(bits[:whole], bitorder="little").tobytes())
        rest = bits[whole:]
    parts.append(np.packbits(rest, bitorder="little").tobytes())
    packed = b"".join(parts)
    return packed + b"\0" * (len(packed) % 2)


# --- functional groups ---------------------------------------------------------------------------


def set_frames(data: Dataset, frames: Sequence[SegFrame], images: SourceImages) -> None:
    """Replace the frame of a segmentation by `frames`: all but their pixels.

    Args:
        data: of a still image, as highdicom makes it.
        frames: in their order.
        images: that the masks were made on.
    """
    planes = SourcePlanes.of(images)
    data.NumberOfFrames = len(frames)
    template = data.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    groups = [_make_groups(entry, template, images) for entry in frames]
    organisation = data.DimensionOrganizationSequence[0].DimensionOrganizationUID
    if planes is None:
        axis = _POSITION_IN_STACK
        label = "Frame of the clip"
        _number_in_stack(groups, frames)
        data.PatientOrientation = ""  # required, even if empty, where no frame has an orientation
        data.SharedFunctionalGroupsSequence = [_share_pixel_spacing(images)]
    else:
        data.FrameOfReferenceUID = images.frame_of_reference
        indicator = read_text(images.first, "PositionReferenceIndicator")
        data.PositionReferenceIndicator = indicator
        data.SharedFunctionalGroupsSequence = [_share_planes(planes)]
        for entry, group in zip(frames, groups, strict=True):
            group.PlanePositionSequence = [_make_position(planes, entry.frame)]
        if planes.shares_place:
            axis = _POSITION_IN_TIME
            label = "Frame of the clip"
            _number_in_time(groups, frames)
        else:
            axis = _POSITION_IN_PATIENT
            label = "Position of the slice"
            _number_by_position(groups, frames)
    data.DimensionIndexSequence = [
        _make_dimension(organisation, _SEGMENT_NUMBER, "Segment"),
        _make_dimension(organisation, axis, label),
    ]
    data.PerFrameFunctionalGroupsSequence = groups
    _set_references(data, frames, images)


def _make_groups(entry: SegFrame, template: Dataset, images: SourceImages) -> Dataset:
    """Segment and source of one frame; `template` says how a source was used.

    Frames share the elements of the template, as copies of them would take most of the time.
    """
    from pydicom.dataset import Dataset

    identification = Dataset()
    identification.ReferencedSegmentNumber = entry.segment
    source = Dataset()
    source.update(template.SourceImageSequence[0])
    source.update(images.make_reference(entry.frame))
    derivation = Dataset()
    derivation.add(template["DerivationCodeSequence"])
    derivation.SourceImageSequence = [source]
    groups = Dataset()
    groups.FrameContentSequence = [Dataset()]
    groups.SegmentIdentificationSequence = [identification]
    groups.DerivationImageSequence = [derivation]
    return groups


def _number_by_position(groups: Sequence[Dataset], frames: Sequence[SegFrame]) -> None:
    order = sorted({entry.frame for entry in frames})
    place_of = {frame: place for place, frame in enumerate(order, start=1)}
    for entry, group in zip(frames, groups, strict=True):
        content = group.FrameContentSequence[0]
        content.DimensionIndexValues = [entry.segment, place_of[entry.frame]]


def _number_in_time(groups: Sequence[Dataset], frames: Sequence[SegFrame]) -> None:
    for entry, group in zip(frames, groups, strict=True):
        content = group.FrameContentSequence[0]
        content.TemporalPositionIndex = entry.frame + 1
        content.DimensionIndexValues = [entry.segment, entry.frame + 1]


def _number_in_stack(groups: Sequence[Dataset], frames: Sequence[SegFrame]) -> None:
    for entry, group in zip(frames, groups, strict=True):
        content = group.FrameContentSequence[0]
        content.StackID = "1"
        content.InStackPositionNumber = entry.frame + 1
        content.DimensionIndexValues = [entry.segment, entry.frame + 1]


def _make_dimension(organisation: str, pointers: tuple[int, int], label: str) -> Dataset:
    """A dimension of frames; `pointers` are its element and the functional group that holds it."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.DimensionOrganizationUID = organisation
    item.DimensionIndexPointer, item.FunctionalGroupPointer = pointers
    item.DimensionDescriptionLabel = label
    return item


# --- places --------------------------------------------------------------------------------------


def _share_planes(planes: SourcePlanes) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    measures = Dataset()
    measures.PixelSpacing = list(map(format_number_as_ds, planes.spacing))
    if planes.thickness_mm is not None:
        measures.SliceThickness = format_number_as_ds(planes.thickness_mm)
    if planes.step_mm is not None:
        measures.SpacingBetweenSlices = format_number_as_ds(planes.step_mm)
    orientation = Dataset()
    orientation.ImageOrientationPatient = list(map(format_number_as_ds, planes.orientation))
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    return shared


def _make_position(planes: SourcePlanes, frame: int) -> Dataset:
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    position = Dataset()
    numbers = planes.positions[frame].tolist()
    position.ImagePositionPatient = list(map(format_number_as_ds, numbers))
    return position


def _share_pixel_spacing(images: SourceImages) -> Dataset:
    """The pixel size of images without a place, where it is that of the patient.

    Without a thickness there is none either: the standard wants no empty thickness, and highdicom
    wants one beside the pixel size.
    """
    from pydicom.dataset import Dataset
    from pydicom.valuerep import format_number_as_ds

    shared = Dataset()
    group = functional_group(images.first, images.frames[0], "PixelMeasuresSequence")
    spacing = parse_vector(group.get("PixelSpacing"), 2)
    thickness_mm = read_first_number(group, "SliceThickness")
    if spacing is not None and min(spacing) > 0 and thickness_mm is not None:
        measures = Dataset()
        measures.PixelSpacing = list(map(format_number_as_ds, spacing))
        measures.SliceThickness = format_number_as_ds(thickness_mm)
        shared.PixelMeasuresSequence = [measures]
    return shared


# --- references ----------------------------------------------------------------------------------


def _set_references(data: Dataset, frames: Sequence[SegFrame], images: SourceImages) -> None:
    """Name the images from the first to the last that shows an object."""
    numbers = [entry.frame for entry in frames]
    first = min(numbers)
    last = max(numbers)
    files = list(dict.fromkeys(images.files[first : last + 1]))
    data.SourceImageSequence = list(map(images.make_instance_reference, files))
    series = data.ReferencedSeriesSequence[0]
    series.ReferencedInstanceSequence = list(map(images.make_instance_reference, files))

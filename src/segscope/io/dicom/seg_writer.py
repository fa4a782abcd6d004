"""DICOM SEG out, through highdicom: binary segments that may overlap, with codes and labels."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segscope._optional import require
from segscope.arrays import Pixels, PixelType
from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.base import MAX_BYTES, reading
from segscope.io.dicom.files import quiet
from segscope.io.dicom.references import SourceImages, clean_label, count_frames, program_version
from segscope.io.dicom.rtstruct_writer import RtStruct
from segscope.io.dicom.seg_reader import OBJECT_MARK
from segscope.io.dicom.snomed import Concept, find_codes
from segscope.masks import Masks
from segscope.overlay import chosen_colour
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SEGMENT_NUMBER = (0x0062000B, 0x0062000A)
_POSITION_IN_STACK = (0x00209057, 0x00209111)


class DicomSeg:
    """DICOM SEG with references to the source images."""

    name = "DICOM SEG"
    suffixes = (".dcm",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Refuse a source that was not read from DICOM or has another grid; MissingExtra without
        highdicom.
        """
        require("highdicom", "dicom", "write DICOM SEG")
        with quiet():
            SourceImages.of(masks.on_stored_grid(), path, source, "SEG")

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Write one segment for each object.

        Raises:
            UsageError: no objects, or `source` was not read from DICOM or has another grid.
            MissingExtra: highdicom is not installed.
        """
        masks = masks.on_stored_grid()
        require("highdicom", "dicom", "write DICOM SEG")
        if not masks.object_ids:
            raise UsageError(f"{path.name}: there is no object; a DICOM SEG needs at least one")
        with quiet():
            images = SourceImages.of(masks, path, source, "SEG")
            with reading(images.path, "a source of a DICOM SEG"):
                if _has_positions(images):
                    data = _make_segmentation(masks, images, path)
                else:
                    data = _make_clip_segmentation(masks, images)
            with atomic(path) as part:
                data.save_as(part, enforce_file_format=True)


def _has_positions(images: SourceImages) -> bool:
    """False for a clip of many frames without a frame of reference, which highdicom refuses."""
    return bool(images.frame_of_reference) or count_frames(images.first) == 1


# --- volumes and still images --------------------------------------------------------------------


def _make_segmentation(masks: Masks, images: SourceImages, path: Path) -> Dataset:
    sources, frames = _select_sources(masks, images, path)
    pixels = _label_pixels(masks, frames, path)
    has_pixels = any(masks.area(*key) for key in masks.runs)
    return _call_highdicom(masks, sources, pixels, omit_empty=has_pixels)


def _select_sources(
    masks: Masks, images: SourceImages, path: Path
) -> tuple[list[Dataset], list[int | None]]:
    """Headers of the source images, and for each of their frames the frame of the masks, or None.

    Of single-frame files only those with a mask are taken, so that a large scan with a small lesion
    stays small.
    """
    multi_frame = [header for header in images.headers.values() if count_frames(header) > 1]
    if multi_frame and len(images.headers) > 1:
        raise UsageError(
            f"{path.name}: this scan is spread over {len(images.headers)} multi-frame files, and a "
            "DICOM SEG refers to one; write .nii.gz or .seg.nrrd, or one SEG for each file"
        )
    if multi_frame:
        header = multi_frame[0]
        frame_of = {number: index for index, number in enumerate(images.frames)}
        return [header], list(map(frame_of.get, range(count_frames(header))))
    filled = [frame for frame, object_id in masks.runs if masks.area(frame, object_id)]
    first = min(filled, default=0)
    last = max(filled, default=0)
    frames = range(first, last + 1)
    return [images.headers[images.files[frame]] for frame in frames], list(frames)


def _label_pixels(masks: Masks, frames: list[int | None], path: Path) -> Pixels:
    """Label map (frame, row, column), or (frame, row, column, segment) where objects overlap."""
    ids = masks.object_ids
    has_overlap = _has_overlap(masks)
    shape: tuple[int, ...] = (len(frames), *masks.shape_zyx[1:])
    dtype: PixelType = np.dtype(np.uint8)
    if has_overlap:
        shape = (*shape, len(ids))
        size = np.prod(shape, dtype=float)
        if size > MAX_BYTES / 8:
            raise UsageError(
                f"{path.name}: {len(ids)} overlapping objects on {len(frames)} frames take "
                f"{size / 2**30:.0f} GiB as a DICOM SEG; write fewer objects, or .seg.nrrd"
            )
    elif len(ids) > 255:
        dtype = np.dtype(np.uint16)
    pixels: Pixels = np.zeros(shape, dtype)
    segment_of = {object_id: number for number, object_id in enumerate(ids, start=1)}
    rows_of: dict[int | None, int] = {frame: place for place, frame in enumerate(frames)}
    for frame, object_id in sorted(masks.runs):
        if frame not in rows_of:
            continue
        mask = masks.mask(frame, object_id)
        segment = segment_of[object_id]
        if has_overlap:
            pixels[rows_of[frame], ..., segment - 1] = mask
        else:
            pixels[rows_of[frame]][mask] = segment
    return pixels


def _has_overlap(masks: Masks) -> bool:
    return any(map(masks.overlaps_on, {frame for frame, _ in masks.runs}))


# --- clips ---------------------------------------------------------------------------------------


def _make_clip_segmentation(masks: Masks, images: SourceImages) -> Dataset:
    """A segmentation whose frames refer to frames of a clip by number, since they have no place in
    the patient.

    highdicom makes it for a still image; the kind of its source, the list of frames and their
    pixels are replaced.
    """
    from pydicom.uid import SecondaryCaptureImageStorage

    still = copy.deepcopy(images.first)
    del still.NumberOfFrames
    still.SOPClassUID = SecondaryCaptureImageStorage
    ids = masks.object_ids
    empty = np.zeros((1, *masks.shape_zyx[1:], len(ids)), np.uint8)
    data = _call_highdicom(masks, [still], empty, omit_empty=False)
    pairs = [
        (ids.index(object_id) + 1, frame)
        for frame, object_id in masks.runs
        if masks.area(frame, object_id)
    ]
    pairs = sorted(pairs) or [(1, 0)]  # (segment, frame); a file has at least one frame
    bits = np.concatenate([masks.mask(frame, ids[segment - 1]).ravel() for segment, frame in pairs])
    packed = np.packbits(bits, bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data.NumberOfFrames = len(pairs)
    organisation = data.DimensionOrganizationSequence[0].DimensionOrganizationUID
    data.DimensionIndexSequence = [
        _make_dimension(organisation, _SEGMENT_NUMBER, "Segment"),
        _make_dimension(organisation, _POSITION_IN_STACK, "Frame of the clip"),
    ]
    data.PatientOrientation = ""  # required, even if empty, where no frame has an orientation
    template = data.PerFrameFunctionalGroupsSequence[0]
    clip_class = images.first.SOPClassUID
    data.PerFrameFunctionalGroupsSequence = [
        _make_frame_groups(template, segment, images.frames[frame] + 1, clip_class)
        for segment, frame in pairs
    ]
    source_series = data.ReferencedSeriesSequence[0]
    source_series.ReferencedInstanceSequence[0].ReferencedSOPClassUID = clip_class
    return data


def _make_dimension(organisation: str, pointers: tuple[int, int], label: str) -> Dataset:
    """A dimension of frames; `pointers` are its element and the functional group that holds it."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.DimensionOrganizationUID = organisation
    item.DimensionIndexPointer, item.FunctionalGroupPointer = pointers
    item.DimensionDescriptionLabel = label
    return item


def _make_frame_groups(
    template: Dataset, segment: int, clip_frame: int, clip_class: str
) -> Dataset:
    """Functional groups of one frame of a clip's segmentation; `clip_frame` counts from 1."""
    from pydicom.dataset import Dataset

    groups = copy.deepcopy(template)
    groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber = segment
    content = Dataset()
    content.StackID = "1"
    content.InStackPositionNumber = clip_frame
    content.DimensionIndexValues = [segment, clip_frame]
    groups.FrameContentSequence = [content]
    source = groups.DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPClassUID = clip_class
    source.ReferencedFrameNumber = clip_frame
    return groups


# --- highdicom -----------------------------------------------------------------------------------


def _call_highdicom(
    masks: Masks, sources: list[Dataset], pixels: Pixels, *, omit_empty: bool
) -> Dataset:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    descriptions = [
        _describe_segment(number, object_id, masks)
        for number, object_id in enumerate(masks.object_ids, start=1)
    ]
    segmentation: Dataset = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=100,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="segscope",
        manufacturer_model_name="segscope",
        software_versions=program_version(),
        device_serial_number="0",
        content_label="SEGMENTATION",
        content_description="segscope masks",
        series_description="segscope masks",
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set="ISO_IR 192",
        omit_empty_frames=omit_empty,
    )
    return segmentation


def _describe_segment(number: int, object_id: int, masks: Masks) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    label = clean_label(masks.names[object_id], object_id)
    category, kind = find_codes(label, masks.about.get(object_id, {}).get("code"))
    model = f"segscope {masks.record.get('model') or ''}".strip()[:64]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=model, version=program_version(), family=codes.DCM.ArtificialIntelligence
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_make_concept(category),
        segmented_property_type=_make_concept(kind),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        tracking_uid=generate_uid(),
        tracking_id=f"{OBJECT_MARK}{object_id}",
        display_color=highdicom.color.CIELabColor.from_rgb(*chosen_colour(masks, object_id)),
    )


def _make_concept(concept: Concept) -> Any:
    import highdicom

    scheme, value, meaning = concept
    return highdicom.sr.CodedConcept(value, scheme, meaning)


MASK_FORMATS = (DicomSeg(), RtStruct())

"""DICOM SEG out, through highdicom: binary segments that may overlap, each with a code and a label."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.base import MAX_BYTES
from segscope.io.byte_sources import reading
from segscope.io.dicom.headers import quiet
from segscope.io.dicom.references import SourceImages, clean_label, program_version
from segscope.io.dicom.rtstruct import RtStruct
from segscope.io.dicom.seg_reader import OBJECT_MARK
from segscope.io.dicom.snomed import find_codes
from segscope.masks import Masks
from segscope.overlay import chosen_colour
from segscope.stack import Stack


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
            raise UsageError(
                f"{path.name}: there is no object to write; a DICOM SEG holds at least one"
            )
        with quiet():
            images = SourceImages.of(masks, path, source, "SEG")
            with reading(images.path, "a source of a DICOM SEG"):
                if _has_places(images):
                    data = _segmentation(masks, images, path)
                else:
                    data = _clip(masks, images)
            with atomic(path) as part:
                data.save_as(part, enforce_file_format=True)


def _has_places(images: SourceImages) -> bool:
    """False for a clip of many frames without a frame of reference, which highdicom does not take."""
    return bool(images.frame_of_reference) or int(images.first.get("NumberOfFrames") or 1) == 1


def _segmentation(masks: Masks, images: SourceImages, path: Path) -> Any:
    sources, places = _sources(masks, images, path)
    return _made(
        masks, sources, _pixels(masks, places, path), any(masks.area(*key) for key in masks.runs)
    )


def _clip(masks: Masks, images: SourceImages) -> Any:
    """A segmentation whose frames refer to frames of a clip by number, since they have no place in
    the patient.

    highdicom makes it for a still image; the kind of its source, the list of frames and their
    pixels are replaced.
    """
    from pydicom.dataset import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage

    first = copy.deepcopy(images.first)
    del first.NumberOfFrames
    first.SOPClassUID = SecondaryCaptureImageStorage
    ids = masks.object_ids
    data = _made(masks, [first], np.zeros((1, *masks.shape_zyx[1:], len(ids)), np.uint8), False)
    pairs = sorted((number, frame) for frame, object_id in masks.runs if masks.area(frame, object_id)
                   for number in [ids.index(object_id) + 1]) or [(1, 0)]  # fmt: skip
    bits = np.concatenate([masks.mask(frame, ids[number - 1]).ravel() for number, frame in pairs])
    packed = np.packbits(bits, bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data.NumberOfFrames = len(pairs)
    organisation = data.DimensionOrganizationSequence[0].DimensionOrganizationUID
    data.DimensionIndexSequence = [
        _dimension(organisation, 0x0062000B, 0x0062000A, "Segment"),
        _dimension(organisation, 0x00209057, 0x00209111, "Frame of the clip"),
    ]
    data.PatientOrientation = ""  # wanted, even if empty, where no frame has an orientation
    template = data.PerFrameFunctionalGroupsSequence[0]
    groups = []
    for number, frame in pairs:
        group = copy.deepcopy(template)
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
        content = Dataset()
        content.StackID = "1"
        content.InStackPositionNumber = images.frames[frame] + 1
        content.DimensionIndexValues = [number, images.frames[frame] + 1]
        group.FrameContentSequence = [content]
        group.DerivationImageSequence[0].SourceImageSequence[
            0
        ].ReferencedSOPClassUID = images.first.SOPClassUID
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber = (
            images.frames[frame] + 1
        )
        groups.append(group)
    data.PerFrameFunctionalGroupsSequence = groups
    data.ReferencedSeriesSequence[0].ReferencedInstanceSequence[
        0
    ].ReferencedSOPClassUID = images.first.SOPClassUID
    return data


def _dimension(organisation: str, pointer: int, group: int, label: str) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.DimensionOrganizationUID = organisation
    item.DimensionIndexPointer = pointer
    item.FunctionalGroupPointer = group
    item.DimensionDescriptionLabel = label
    return item


def _made(masks: Masks, sources: list[Any], pixels: NDArray[Any], omit_empty: bool) -> Any:
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    return highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, object_id, masks)
            for number, object_id in enumerate(masks.object_ids, start=1)
        ],
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


def _sources(masks: Masks, images: SourceImages, path: Path) -> tuple[list[Any], list[int | None]]:
    """Headers of the source images, and for each of their frames the frame of the masks, or None.

    Of single-frame files only those with a mask are taken, so that a large scan with a small lesion
    stays small.
    """
    several = [
        file for file in images.headers if int(images.headers[file].get("NumberOfFrames") or 1) > 1
    ]
    if several and len(images.headers) > 1:
        raise UsageError(
            f"{path.name}: this scan is spread over {len(images.headers)} multi-frame files, and a DICOM SEG refers to "
            "one; write .nii.gz or .seg.nrrd, or one SEG a file"
        )
    if several:
        header = images.headers[several[0]]
        by_frame = {number: index for index, number in enumerate(images.frames)}
        return [header], [by_frame.get(number) for number in range(int(header.NumberOfFrames))]
    filled = sorted({frame for frame, object_id in masks.runs if masks.area(frame, object_id)})
    if filled:
        chosen = list(range(filled[0], filled[-1] + 1))
    else:
        chosen = [0]
    return [images.headers[images.files[frame]] for frame in chosen], list(chosen)


def _pixels(
    masks: Masks, places: list[int | None], path: Path
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Label map (frame, row, column), or (frame, row, column, segment) where objects overlap."""
    ids = masks.object_ids
    overlap = any(
        sum(masks.area(frame, number) for number in ids)
        > np.count_nonzero(masks.frame_labels(frame))
        for frame in {frame for frame, _ in masks.runs}
    )
    shape: tuple[int, ...] = (len(places), *masks.shape_zyx[1:])
    if overlap:
        shape = (*shape, len(ids))
        if np.prod(shape, dtype=float) > MAX_BYTES / 8:
            raise UsageError(
                f"{path.name}: {len(ids)} overlapping objects on {len(places)} frames take "
                f"{np.prod(shape, dtype=float) / 2**30:.0f} GiB as a DICOM SEG; write fewer objects, or .seg.nrrd"
            )
    pixels: NDArray[Any] = np.zeros(shape, np.uint8 if overlap or len(ids) < 256 else np.uint16)
    for place, frame in enumerate(places):
        for number, object_id in enumerate(ids, start=1):
            if (frame, object_id) in masks.runs:
                assert frame is not None
                mask = masks.mask(frame, object_id)
                if overlap:
                    pixels[place, ..., number - 1] = mask
                else:
                    pixels[place][mask] = number
    return pixels


def _description(number: int, object_id: int, masks: Masks) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    label = clean_label(masks.names[object_id], object_id)
    category, kind = find_codes(label, masks.about.get(object_id, {}).get("code"))
    model = " ".join(["segscope", str(masks.record.get("model") or "")]).strip()[:64]
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=highdicom.sr.CodedConcept(
            category[1], category[0], category[2]
        ),
        segmented_property_type=highdicom.sr.CodedConcept(kind[1], kind[0], kind[2]),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=model, version=program_version(), family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=generate_uid(),
        tracking_id=f"{OBJECT_MARK}{object_id}",
        display_color=highdicom.color.CIELabColor.from_rgb(*chosen_colour(masks, object_id)),
    )


MASK_FORMATS = (DicomSeg(), RtStruct())

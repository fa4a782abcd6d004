"""DICOM SEG out: binary segments that may overlap, with codes and labels.

highdicom makes the object for a still image; its frames, their places and references are ours, as
highdicom takes fewer kinds of scans than there are.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from segscope._optional import require
from segscope.errors import UsageError
from segscope.files import atomic
from segscope.io.dicom.files import quiet
from segscope.io.dicom.references import (
    SourceImages,
    check_replaceable,
    clean_label,
    copy_identity,
    program_version,
    warn_of_cut_names,
)
from segscope.io.dicom.rtstruct_writer import RtStruct
from segscope.io.dicom.seg_frames import list_frames, pack_pixels, set_frames
from segscope.io.dicom.seg_reader import OBJECT_MARK
from segscope.io.dicom.snomed import Concept, find_codes
from segscope.masks import Masks
from segscope.overlay import chosen_colour
from segscope.stack import Stack

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_MAX_PIXEL_BYTES = 2**32 - 2
_MAX_SEGMENTS = 65535
_COPIED_GROUPS = (0x0008, 0x0010, 0x0012, 0x0028, 0x0040)  # patient, study, trial, specimen


class DicomSeg:
    """DICOM SEG with references to the source images."""

    name = "DICOM SEG"
    suffixes = (".dcm",)

    def check(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Make the object without pixels.

        Raises:
            UsageError: `source` was not read from DICOM or has another grid, too many objects, or
                `path` is a DICOM file of another program.
            MissingExtra: highdicom is not installed.
        """
        _make_segmentation(masks.on_stored_grid(), path, source)

    def write(self, masks: Masks, path: Path, source: Stack | None) -> None:
        """Write one segment for each object.

        Raises:
            UsageError: as `check`, or no objects.
            MissingExtra: highdicom is not installed.
        """
        masks = masks.on_stored_grid()
        data = _make_segmentation(masks, path, source)
        frames = list_frames(masks)
        size = len(frames) * masks.shape_zyx[1] * masks.shape_zyx[2] // 8
        if size > _MAX_PIXEL_BYTES:
            raise UsageError(
                f"{path.name}: {len(frames)} masks take {size / 2**30:.1f} GiB, and a DICOM SEG "
                "holds 4 GiB; write fewer objects, or .seg.nrrd"
            )
        data.PixelData = pack_pixels(masks, frames)
        with quiet(), atomic(path) as part:
            data.save_as(part, enforce_file_format=True)
        warn_of_cut_names(masks, path)


def _make_segmentation(masks: Masks, path: Path, source: Stack | None) -> Dataset:
    """The object, without its pixels."""
    require("highdicom", "dicom", "write DICOM SEG")
    if not masks.object_ids:
        raise UsageError(f"{path.name}: there is no object; a DICOM SEG needs at least one")
    if len(masks.object_ids) > _MAX_SEGMENTS:
        raise UsageError(
            f"{path.name}: there are {len(masks.object_ids)} objects, and a DICOM SEG holds "
            f"{_MAX_SEGMENTS}; write .seg.nrrd or .json instead"
        )
    check_replaceable(path)
    with quiet():
        images = SourceImages.of(masks, path, source, "SEG")
        data = _make_still(masks, images)
        set_frames(data, list_frames(masks), images)
    data.Rows, data.Columns = masks.shape_zyx[1:]
    has_overlap = any(map(masks.overlaps_on, {frame for frame, _ in masks.runs}))
    data.SegmentsOverlap = "YES" if has_overlap else "NO"
    return data


# --- highdicom -----------------------------------------------------------------------------------


def _make_still(masks: Masks, images: SourceImages) -> Dataset:
    """A segmentation of one pixel on a still image of the patient and study of a scan."""
    import highdicom
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    descriptions = [
        _describe_segment(number, object_id, masks)
        for number, object_id in enumerate(masks.object_ids, start=1)
    ]
    segmentation: Dataset = highdicom.seg.Segmentation(
        source_images=[_make_source(images)],
        pixel_array=np.zeros((1, 1, 1), np.uint8),
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
        omit_empty_frames=False,
    )
    return segmentation


def _make_source(images: SourceImages) -> Dataset:
    """A still image of one pixel, without a place, of the patient and study of a scan."""
    from pydicom.dataset import Dataset
    from pydicom.uid import SecondaryCaptureImageStorage

    scan = images.first
    still = Dataset()
    for tag in scan.keys():  # noqa: SIM118 - iterating would decode all elements
        if tag.group in _COPIED_GROUPS:
            still.add(copy.deepcopy(scan[tag]))
    copy_identity(scan, still)
    for name in ("NumberOfFrames", "PixelSpacing"):
        still.pop(name, None)
    still.SOPClassUID = SecondaryCaptureImageStorage
    still.SeriesInstanceUID = scan.SeriesInstanceUID
    still.Rows = 1
    still.Columns = 1
    return still


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

"""Values that may tell apart the frames at one position, as the headers of a file state them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segscope.io.dicom.records import OrderKeys
from segscope.io.dicom.values import (
    Item,
    functional_group,
    parse_date,
    parse_number,
    parse_stamp,
    parse_time,
    parse_vector,
    read_integer,
    read_items,
    read_text,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

DIMENSION = "DimensionIndexValues"
"""Begins the names of keys for a dimension of a multi-frame file: "DimensionIndexValues 2"."""

VECTORS = ("EnergyWindowVector", "RRIntervalVector", "TimeSlotVector")

_FRAME_TYPES = (
    "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence",
    "PETFrameTypeSequence",
    "XAXRFFrameCharacteristicsSequence",
)


def read_order_keys(data: Dataset, index: int) -> OrderKeys:
    """The values of frame `index`, by the name of their element; absent ones are left out."""
    content = functional_group(data, index, "FrameContentSequence")
    heart = functional_group(data, index, "CardiacSynchronizationSequence")
    timing = functional_group(data, index, "MRTimingAndRelatedParametersSequence")
    modifier = functional_group(data, index, "MRModifierSequence")
    x_ray = functional_group(data, index, "CTXRayDetailsSequence")
    keys: dict[str, float | str | None] = {
        "TemporalPositionIndex": parse_number(content.get("TemporalPositionIndex")),
        "TemporalPositionIdentifier": parse_number(data.get("TemporalPositionIdentifier")),
        "TriggerTime": parse_number(data.get("TriggerTime")),
        "NominalCardiacTriggerDelayTime": parse_number(heart.get("NominalCardiacTriggerDelayTime")),
        "EchoTime": _read_echo_time(data, index),
        "EchoNumbers": parse_number(data.get("EchoNumbers")),
        "FlipAngle": parse_number(timing.get("FlipAngle")),
        "InversionTime": parse_number(modifier.get("InversionTimes") or data.get("InversionTime")),
        "KVP": parse_number(x_ray.get("KVP")),
        "FrameReferenceTime": parse_number(data.get("FrameReferenceTime")),
        "AcquisitionNumber": parse_number(data.get("AcquisitionNumber")),
        "ContentDate": parse_date(read_text(data, "ContentDate")),
        "ContentTime": parse_time(read_text(data, "ContentTime")),
        "ImageType": _join(data, "ImageType"),
        "StackID": read_text(content, "StackID") or None,
        "InstanceNumber": parse_number(data.get("InstanceNumber")),
        **_read_acquisition(data, content),
        **_read_vectors(data, index),
        **_read_frame_type(data, index),
        **_read_diffusion(data, index),
        **_read_dimensions(data, content),
    }
    return {name: value for name, value in keys.items() if value is not None}


def _read_acquisition(data: Dataset, content: Item) -> dict[str, float | str | None]:
    """Day and seconds of the acquisition: from their own elements, else from the stamp."""
    file_stamp = read_text(data, "AcquisitionDateTime")
    stamp = read_text(content, "FrameAcquisitionDateTime", file_stamp)
    day, seconds = parse_stamp(stamp)
    time = read_text(data, "AcquisitionTime")
    if time:
        day = parse_date(read_text(data, "AcquisitionDate", stamp))
        seconds = parse_time(time.partition("+")[0])
    return {"AcquisitionDate": day, "AcquisitionTime": seconds}


def _read_vectors(data: Dataset, index: int) -> dict[str, float | str | None]:
    """What nuclear medicine files state for each frame in one element."""
    keys: dict[str, float | str | None] = {}
    for name in VECTORS:
        values = parse_vector(data.get(name), read_integer(data, "NumberOfFrames", 1))
        if values is not None:
            keys[name] = values[index]
    return keys


def _join(item: Item, name: str) -> str | None:
    """All values of an element as one text."""
    return "\\".join(map(str, read_items(item, name))) or None


def _read_echo_time(data: Dataset, index: int) -> float | None:
    echo = functional_group(data, index, "MREchoSequence")
    effective = parse_number(echo.get("EffectiveEchoTime"))
    return effective or parse_number(data.get("EchoTime"))


def _read_frame_type(data: Dataset, index: int) -> dict[str, str | None]:
    for name in _FRAME_TYPES:
        item = functional_group(data, index, name)
        frame_type = _join(item, "FrameType")
        if frame_type is not None:
            part = read_text(item, "ComplexImageComponent") or None
            return {"FrameType": frame_type, "ComplexImageComponent": part}
    return {}


def _read_diffusion(data: Dataset, index: int) -> dict[str, float | str | None]:
    diffusion = functional_group(data, index, "MRDiffusionSequence")
    directions = read_items(diffusion, "DiffusionGradientDirectionSequence")
    item = directions[0] if directions else diffusion
    direction = parse_vector(item.get("DiffusionGradientOrientation"), 3)
    text = None
    if direction is not None:
        text = " ".join(f"{value:.4f}" for value in direction)
    return {
        "DiffusionBValue": parse_number(diffusion.get("DiffusionBValue")),
        "DiffusionGradientOrientation": text,
    }


def _read_dimensions(data: Dataset, content: Item) -> dict[str, float | str | None]:
    """Each index of a frame by what the file says it counts, or by its number."""
    from pydicom.datadict import keyword_for_tag

    pointers = read_items(data, "DimensionIndexSequence")
    values = content.get("DimensionIndexValues")
    if values is None:
        return {}
    if isinstance(values, int):
        values = [values]
    dimensions: dict[str, float | str | None] = {}
    for number, value in enumerate(values):
        name = ""
        if number < len(pointers):
            name = keyword_for_tag(pointers[number].get("DimensionIndexPointer") or 0)
        label = f"{DIMENSION} {number + 1}"
        if name:
            label += f" ({name})"
        dimensions[label] = parse_number(value)
    return dimensions

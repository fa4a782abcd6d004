"""Values of DICOM elements from untrusted files: what does not parse becomes None."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = tuple[float, ...]
Item = Any
"""A pydicom data set or an empty mapping: read with `get` only."""

_SPACING_TAGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_CENTIMETRES = 3  # PhysicalUnitsXDirection
_STAMP = re.compile(r"(?P<date>\d{8})(?P<time>[\d.]*)((?P<sign>[+-])(?P<offset>\d{4}))?")
_NO_ITEM: Mapping[str, object] = {}


def parse_number(value: object) -> float | None:
    """A finite number, the first of several; None when absent or unreadable."""
    if value is None or value == "":
        return None
    try:
        if not isinstance(value, int | float | str):
            value = value[0]  # type: ignore[index]
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if math.isfinite(number):
        return number
    return None


def read_text(data: Item, name: str, default: str = "") -> str:
    """The text of an element; the default where it is absent or empty."""
    return str(data.get(name) or default)


def read_integer(data: Item, name: str, default: int = 0) -> int:
    """The integer of an element; the default where it is absent, empty or 0."""
    return int(data.get(name) or default)


def read_items(data: Item, name: str) -> Sequence[Item]:
    """The items or values of an element; none where it is absent or empty."""
    return data.get(name) or ()


def read_first_number(data: Item, *names: str) -> float | None:
    """The first number other than 0 among some elements."""
    numbers = (parse_number(data.get(name)) for name in names)
    return next(filter(None, numbers), None)


def parse_vector(value: Any, length: int) -> Vector | None:
    """A vector of `length` finite numbers; None when absent or unreadable."""
    try:
        numbers = tuple(map(float, value))
    except (TypeError, ValueError):
        return None
    if len(numbers) == length and all(map(math.isfinite, numbers)):
        return numbers
    return None


def parse_time(text: str) -> float | None:
    """Seconds since midnight of a DICOM time HHMMSS.ffffff; None when absent or unreadable."""
    if not text:
        return None
    try:
        hours = int(text[:2])
        minutes = int(text[2:4] or 0)
        seconds = float(text[4:] or 0)
    except ValueError:
        return None
    return hours * 3600 + minutes * 60 + seconds


def parse_date(text: str) -> float | None:
    """The day of a DICOM date YYYYMMDD, counted from year 1; None when absent or unreadable."""
    try:
        return float(datetime.strptime(text[:8], "%Y%m%d").toordinal())
    except ValueError:
        return None


def parse_stamp(text: str) -> tuple[float | None, float | None]:
    """The day and the seconds since its midnight of a DICOM date and time.

    Args:
        text: YYYYMMDDHHMMSS.ffffff, with or without an offset from UTC (+HHMM, -HHMM), which is
            taken off the seconds.
    """
    match = _STAMP.fullmatch(text.strip())
    if match is None:
        return None, None
    seconds = parse_time(match["time"])
    if seconds is not None and match["sign"]:
        offset = parse_time(match["offset"]) or 0.0
        seconds -= math.copysign(offset, float(match["sign"] + "1"))
    return parse_date(match["date"]), seconds


def clean_text(value: object) -> str:
    """A short text from a file, safe for a message."""
    text = "".join(character if character.isprintable() else " " for character in str(value or ""))
    return " ".join(text.split())[:64]


def functional_group(data: Dataset, index: int, name: str) -> Item:
    """First item of a functional group of one frame: its own, else the shared one.

    In a file without functional groups the data set itself stands for all of them.
    """
    per_frame = read_items(data, "PerFrameFunctionalGroupsSequence")
    shared = read_items(data, "SharedFunctionalGroupsSequence")
    for group in (*per_frame[index : index + 1], *shared[:1]):
        items = group.get(name)
        if items:
            return items[0]
    if not per_frame:
        return data
    return _NO_ITEM


def read_spacing(data: Item) -> tuple[Vector | None, str]:
    """Distance of rows and of columns in millimetres, and the element that gave it."""
    for name in _SPACING_TAGS:
        spacing = parse_vector(data.get(name), 2)
        if spacing is not None and min(spacing) > 0:
            return spacing, name
    regions = read_items(data, "SequenceOfUltrasoundRegions")
    if len(regions) != 1:  # two regions may have two scales, and neither is the image's
        return None, ""
    region = regions[0]
    units = (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection"))
    y = parse_number(region.get("PhysicalDeltaY"))
    x = parse_number(region.get("PhysicalDeltaX"))
    if units == (_CENTIMETRES, _CENTIMETRES) and y and x:
        return (abs(y) * 10.0, abs(x) * 10.0), "ultrasound region"
    return None, ""

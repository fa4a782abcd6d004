"""Which values of an image its header means to be shown: window, VOI LUT and padding."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.io.dicom.values import Item, functional_group, parse_number, read_integer, read_items

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ValueRange = tuple[float, float]
"""(low, high) after the modality transform, both included."""

_RISES_FROM = 0.01  # of the range of a VOI LUT
_RISES_TO = 0.99


def read_window(data: Dataset, index: int) -> ValueRange | None:
    """The values that frame `index` shows as black and as white, or None.

    Without a window it is where the first VOI LUT rises from its lowest to its highest value.
    """
    values = functional_group(data, index, "FrameVOILUTSequence")
    centre = parse_number(values.get("WindowCenter"))
    width = parse_number(values.get("WindowWidth"))
    if centre is not None and width is not None and width > 0:
        return (centre - width / 2, centre + width / 2)
    return _read_voi_lut(values, data)


def _read_voi_lut(values: Item, data: Dataset) -> ValueRange | None:
    items = read_items(values, "VOILUTSequence")
    descriptor = items[0].get("LUTDescriptor") if items else None
    if not descriptor or len(descriptor) != 3:
        return None
    table = _read_table(items[0].get("LUTData"), int(descriptor[0]) or 2**16, data)
    if table is None or table[-1] <= table[0]:
        return None
    heights = (table - table.min()) / np.ptp(table)
    low = int(np.argmax(heights > _RISES_FROM)) - 1
    high = int(np.argmax(heights >= _RISES_TO))
    first = int(descriptor[1])
    if low < high:
        return (float(first + max(low, 0)), float(first + high))
    return None


def _read_table(content: object, count: int, data: Dataset) -> NDArray[np.float64] | None:
    """The entries of a table; None where there are not `count` of them."""
    if isinstance(content, bytes):
        order = "<" if data.original_encoding[1] else ">"
        dtype = "u1" if len(content) < 2 * count else f"{order}u2"
        table = np.frombuffer(content, dtype)[:count].astype(np.float64)
    elif isinstance(content, str) or content is None:
        return None
    else:
        table = np.array(content, np.float64).ravel()[:count]
    return table if len(table) == count else None


def read_padding(data: Dataset, slope: float, intercept: float) -> ValueRange | None:
    """The values that fill up an image where nothing was scanned, or None."""
    value = parse_number(data.get("PixelPaddingValue"))
    if value is None:
        return None
    limit = parse_number(data.get("PixelPaddingRangeLimit"))
    ends = [value, value if limit is None else limit]
    if data.get("PixelRepresentation"):
        bits = read_integer(data, "BitsAllocated")
        # files write negative values of either sign
        ends = [end - 2.0**bits if end >= 2.0 ** (bits - 1) else end for end in ends]
    transformed = [end * slope + intercept for end in ends]
    return (min(transformed), max(transformed))

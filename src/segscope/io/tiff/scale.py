"""What a TIFF says about size and time: OME, ImageJ and plain tags to millimetres and seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segscope.io.label_frames import names_of

_MM = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6, "nanometer": 1e-6, "pm": 1e-9, "å": 1e-7, "angstrom": 1e-7,
    "inch": 25.4, "in": 25.4, "millimeter": 1.0, "centimeter": 10.0, "meter": 1000.0,
}  # fmt: skip
_SECONDS = {
    "s": 1.0,
    "sec": 1.0,
    "ms": 1e-3,
    "µs": 1e-6,
    "μs": 1e-6,
    "us": 1e-6,
    "min": 60.0,
    "h": 3600.0,
}
_CENTIMETRE = 3


@dataclass(frozen=True)
class Scale:
    """Sizes in millimetres, None where not stated; `meta` is what else the description says."""

    yx_mm: tuple[float, float] | None = None
    z_mm: float | None = None
    interval_s: float | None = None
    stamps_s: tuple[float, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def times(self, count: int) -> NDArray[np.float64] | None:
        """Time of each frame: stamps where every frame has one, else the interval."""
        stamps = np.asarray(self.stamps_s, dtype=np.float64)
        if len(stamps) == count and (np.diff(stamps) > 0).all():
            return stamps
        if self.interval_s is None:
            return None
        return np.arange(count, dtype=np.float64) * self.interval_s


def scale_of(tif: Any, series: Any, number: int) -> Scale:
    """Scale of one image of an open tifffile file."""
    if series.kind == "ome":
        return _ome(tif.ome_metadata, number)
    if series.kind == "imagej":
        return _imagej(tif.imagej_metadata or {}, series.keyframe)
    if series.kind == "shaped":
        return _imagej(
            (tif.shaped_metadata or ({},))[min(number, len(tif.shaped_metadata) - 1)],
            series.keyframe,
        )
    return Scale(_by_tags(series.keyframe))


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if math.isfinite(number) and number > 0:
        return number
    return None


def _length(value: object, unit: object) -> float | None:
    number = _positive(value)
    factor = _MM.get(str(unit).strip().lower().replace("\\u00b5", "µ"))
    if number is None or factor is None:
        return None
    return number * factor


def _pair(y: float | None, x: float | None) -> tuple[float, float] | None:
    if y is None or x is None:
        return None
    return (y, x)


def _per_pixel(page: Any) -> tuple[float | None, float | None]:
    """Length of a pixel (y, x) in units of the resolution tags."""
    found = []
    for name in ("YResolution", "XResolution"):
        tag = page.tags.get(name)
        top, bottom = tag.value if tag is not None and isinstance(tag.value, tuple) else (0, 1)
        found.append(_positive(bottom / top) if top else None)
    return found[0], found[1]


def _imagej(metadata: Mapping[str, Any], page: Any) -> Scale:
    unit = metadata.get("unit", "")
    y, x = _per_pixel(page)
    yx = _pair(_length(y, metadata.get("yunit", unit)), _length(x, unit))
    z = _length(metadata.get("spacing"), metadata.get("zunit", unit))
    interval = _positive(metadata.get("finterval")) or _inverse(metadata.get("fps"))
    names = names_of(metadata.get("Info", metadata.get("segscope")))
    return Scale(yx or _by_tags(page), z, interval, (), {"names": names} if names else {})


def _inverse(value: object) -> float | None:
    number = _positive(value)
    if number is None:
        return None
    return 1.0 / number


def _by_tags(page: Any) -> tuple[float, float] | None:
    """Pixel size by plain tags; only centimetres are believed, since inches are what printers are
    told.
    """
    unit = page.tags.get("ResolutionUnit")
    if unit is None or int(unit.value) != _CENTIMETRE:
        return None
    y, x = _per_pixel(page)
    return _pair(_length(y, "cm"), _length(x, "cm"))


def _ome(text: str, number: int) -> Scale:
    images = [element for element in ElementTree.fromstring(text) if element.tag.endswith("}Image")]
    image = images[min(number, len(images) - 1)]
    pixels = next((element for element in image if element.tag.endswith("}Pixels")), None)
    if pixels is None:
        return Scale()
    sizes = [
        _length(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "µm"))
        for axis in "ZYX"
    ]
    interval = _positive(pixels.get("TimeIncrement"))
    unit = _SECONDS.get(pixels.get("TimeIncrementUnit", "s"))
    names = names_of(next((element.text for element in ElementTree.fromstring(text).iter()
                           if element.tag.endswith("}Description")), None))  # fmt: skip
    return Scale(
        _pair(sizes[1], sizes[2]),
        sizes[0],
        None if interval is None or unit is None else interval * unit,
        _stamps(pixels),
        {"names": names} if names else {},
    )


def _stamps(pixels: ElementTree.Element) -> tuple[float, ...]:
    stamps: dict[int, float] = {}
    for plane in pixels:
        if plane.tag.endswith("}Plane") and plane.get("TheZ") == "0" and plane.get("TheC") == "0":
            factor = _SECONDS.get(plane.get("DeltaTUnit", "s"))
            value = plane.get("DeltaT")
            if factor is None or value is None:
                return ()
            stamps[int(plane.get("TheT", "-1"))] = float(value) * factor
    return tuple(stamps[key] for key in sorted(stamps))

"""Size and time of a TIFF: OME, ImageJ and plain tags to millimetres and seconds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from segscope.io.label_frames import parse_names
from segscope.io.tiff.frames import TiffFile, TiffPage

_MM = {
    "m": 1000.0, "cm": 10.0, "mm": 1.0, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3,
    "microns": 1e-3, "micrometer": 1e-3, "micrometre": 1e-3, "nm": 1e-6, "nanometer": 1e-6,
    "pm": 1e-9, "å": 1e-7, "angstrom": 1e-7, "inch": 25.4, "in": 25.4, "millimeter": 1.0,
    "centimeter": 10.0, "meter": 1000.0,
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
    """Sizes in millimetres, None where not stated; `meta` holds what else is stated."""

    yx_mm: tuple[float, float] | None = None
    z_mm: float | None = None
    interval_s: float | None = None
    stamps_s: tuple[float, ...] = ()
    meta: Mapping[str, object] = field(default_factory=dict)

    def times(self, count: int) -> NDArray[np.float64] | None:
        """Time of each frame: stamps where every frame has one, else the interval."""
        stamps = np.asarray(self.stamps_s, dtype=np.float64)
        if len(stamps) == count and (np.diff(stamps) > 0).all():
            return stamps
        if self.interval_s is None:
            return None
        return np.arange(count, dtype=np.float64) * self.interval_s


def read_scale(tif: TiffFile, series: Any, number: int) -> Scale:
    """Scale of one image of an open tifffile file."""
    if series.kind == "ome":
        return _parse_ome(tif.ome_metadata, number)
    if series.kind == "imagej":
        return _parse_imagej(tif.imagej_metadata or {}, series.keyframe)
    if series.kind == "shaped":
        entries: Sequence[Mapping[str, object]] = tif.shaped_metadata or ({},)
        return _parse_imagej(entries[min(number, len(entries) - 1)], series.keyframe)
    return Scale(_size_by_tags(series.keyframe))


# --- numbers -------------------------------------------------------------------------------------


def _positive(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    if 0 < number < math.inf:
        return number
    return None


def _quantity(value: object, units: Mapping[str, float], unit: str) -> float | None:
    """A positive number times its unit; None where either is not known."""
    number = _positive(value)
    if number is None or unit not in units:
        return None
    return number * units[unit]


def _length(value: object, unit: object) -> float | None:
    return _quantity(value, _MM, str(unit).strip().lower().replace("\\u00b5", "µ"))


def _pair(y: float | None, x: float | None) -> tuple[float, float] | None:
    if y is None or x is None:
        return None
    return (y, x)


def _names_meta(note: object) -> dict[str, object]:
    """Object names of a file of ours, as `meta` holds them."""
    names = parse_names(note)
    if names:
        return {"names": names}
    return {}


# --- tags and ImageJ -----------------------------------------------------------------------------


def _pixel_pitch(page: TiffPage, tag_name: str) -> float | None:
    """Length of a pixel in units of the resolution tags."""
    tag = page.tags.get(tag_name)
    if tag is None or not isinstance(tag.value, tuple):
        return None
    pixels, units = tag.value
    if not pixels:
        return None
    return _positive(units / pixels)


def _parse_imagej(metadata: Mapping[str, object], page: TiffPage) -> Scale:
    unit = metadata.get("unit", "")
    y = _length(_pixel_pitch(page, "YResolution"), metadata.get("yunit", unit))
    x = _length(_pixel_pitch(page, "XResolution"), unit)
    z = _length(metadata.get("spacing"), metadata.get("zunit", unit))
    interval = _positive(metadata.get("finterval")) or _inverse(metadata.get("fps"))
    meta = _names_meta(metadata.get("Info", metadata.get("segscope")))
    return Scale(_pair(y, x) or _size_by_tags(page), z, interval, (), meta)


def _inverse(value: object) -> float | None:
    number = _positive(value)
    if number is None:
        return None
    return 1.0 / number


def _size_by_tags(page: TiffPage) -> tuple[float, float] | None:
    """Pixel size by plain tags; only centimetres are trusted, as inches are a printer setting."""
    unit = page.tags.get("ResolutionUnit")
    if unit is None or int(unit.value) != _CENTIMETRE:
        return None
    y = _length(_pixel_pitch(page, "YResolution"), "cm")
    x = _length(_pixel_pitch(page, "XResolution"), "cm")
    return _pair(y, x)


# --- OME -----------------------------------------------------------------------------------------


def _parse_ome(text: str, number: int) -> Scale:
    return read_ome_scale(ElementTree.fromstring(text), number)


def read_ome_scale(root: ElementTree.Element, number: int) -> Scale:
    """Scale of one image of an OME description."""
    images = list(iter_ome_images(root))
    image = images[min(number, len(images) - 1)]
    pixels = next(ome_children(image, "Pixels"), None)
    if pixels is None:
        return Scale()
    z, y, x = (_physical_size(pixels, axis) for axis in "ZYX")
    interval = _quantity(
        pixels.get("TimeIncrement"), _SECONDS, pixels.get("TimeIncrementUnit", "s")
    )
    descriptions = [element.text for element in root.iter() if _is_named(element, "Description")]
    note = next(iter(descriptions), None)
    return Scale(_pair(y, x), z, interval, _time_stamps(pixels), _names_meta(note))


def iter_ome_images(root: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The images of an OME description."""
    return ome_children(root, "Image")


def _is_named(element: ElementTree.Element, name: str) -> bool:
    """Whether an element has this name in any namespace."""
    return element.tag.endswith("}" + name)


def ome_children(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Children of this name, in any namespace."""
    return (child for child in element if _is_named(child, name))


def _physical_size(pixels: ElementTree.Element, axis: str) -> float | None:
    value = pixels.get(f"PhysicalSize{axis}")
    return _length(value, pixels.get(f"PhysicalSize{axis}Unit", "µm"))


def _time_stamps(pixels: ElementTree.Element) -> tuple[float, ...]:
    """Seconds of each time point, by its first plane; nothing where one has none."""
    stamps: dict[int, float] = {}
    for plane in ome_children(pixels, "Plane"):
        if (plane.get("TheZ"), plane.get("TheC")) != ("0", "0"):
            continue
        factor = _SECONDS.get(plane.get("DeltaTUnit", "s"))
        value = plane.get("DeltaT")
        if factor is None or value is None:
            return ()
        stamps[int(plane.get("TheT", "-1"))] = float(value) * factor
    return tuple(stamps[key] for key in sorted(stamps))

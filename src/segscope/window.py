"""Window: how the stored numbers of a stack become 0 to 255, chosen once for the whole stack and
recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels, PixelType
from segscope.errors import UnknownName, UsageError
from segscope.stack import Stack

PRESETS: Mapping[str, tuple[float, float]] = {
    # name: (width, level) in Hounsfield units
    "abdomen": (400, 40),
    "lung": (1500, -600),
    "brain": (80, 40),
    "mediastinum": (350, 50),
    "bone": (1800, 400),
    "liver": (150, 30),
    "stroke": (40, 40),
    "cta": (600, 200),
}

AUTOMATIC = (0.5, 99.5)
"""Percentiles used when nothing better is known."""

PROJECTIONS = ("CR", "DX", "MG", "RF", "XA", "RG", "IO", "PX")
"""X-ray modalities, whose files have the window that they are meant to be read with. CT gets the
same preset in any format, and MR and ultrasound files have windows for single slices, so theirs are
not used.
"""

SAMPLED_FRAMES = 64
SAMPLED_PIXELS = 65_536
"""Maximum number of frames, and of pixels of each channel of a frame, that are sampled."""

MIN_VALUES = 16
"""With fewer values that are not 0, percentiles are those of all values."""

LARGEST_EXACT = 2.0**52
"""Above it, adding 1 to a float64 may change nothing."""

EXPECTED_WINDOW = (
    "A window is a preset, WIDTH,LEVEL such as 400,40, or percentiles such as p0.5,99.5."
)

Mix = tuple[tuple[float, float, float], ...]

RED = (1.0, 0.0, 0.0)
GREEN = (0.0, 1.0, 0.0)
BLUE = (0.0, 0.0, 1.0)
WHITE = (1.0, 1.0, 1.0)
MAGENTA = (1.0, 0.0, 1.0)
LIGHT_GREY = (0.6, 0.6, 0.6)
CYAN_70 = (0.0, 0.7, 0.7)
MAGENTA_70 = (0.7, 0.0, 0.7)
YELLOW_70 = (0.7, 0.7, 0.0)

IDENTITY: Mix = (RED, GREEN, BLUE)
GREY: Mix = (WHITE,)
MIXES: Mapping[int, Mix] = {
    # of channels that are not colours; distinguishable for most people
    1: GREY,
    2: (GREEN, MAGENTA),
    3: IDENTITY,
    4: (BLUE, GREEN, RED, LIGHT_GREY),
    5: (BLUE, GREEN, RED, CYAN_70, MAGENTA_70),
    6: (BLUE, GREEN, RED, CYAN_70, MAGENTA_70, YELLOW_70),
}
"""(red, green, blue) weights by number of channels."""


@dataclass(frozen=True, slots=True)
class Window:
    """How stored numbers become 0 to 255.

    Attributes:
        low: value shown as 0, one for each displayed channel.
        high: value shown as 255, one for each displayed channel.
        how: how these were chosen, in words.
        channels: displayed channels of the stack.
        mix: (red, green, blue) weights of each displayed channel; the sums are clipped.
        inverted: whether low numbers are bright (DICOM MONOCHROME1).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    how: str
    channels: tuple[int, ...]
    mix: Mix
    inverted: bool = False

    def apply(self, frame: Pixels) -> NDArray[np.uint8]:
        """The frame (row, column[, channel]) as (row, column, 3)."""
        planes = _with_channels(frame)
        if max(self.channels) >= planes.shape[-1]:
            raise UsageError(
                f"this window needs at least {max(self.channels) + 1} channels, "
                f"the frame has {planes.shape[-1]}"
            )
        scaled = [
            self._scale(planes[..., channel], low, high)
            for channel, low, high in zip(self.channels, self.low, self.high, strict=True)
        ]
        if self.mix == GREY:
            return np.repeat(scaled[0][..., None], 3, axis=-1)
        if self.mix == IDENTITY:
            return np.stack(scaled, axis=-1)
        weights = np.asarray(self.mix, np.float32)
        total = sum(
            plane[..., None] * colour for plane, colour in zip(scaled, weights, strict=True)
        )
        return np.clip(np.rint(total), 0, 255).astype(np.uint8)

    def _scale(self, plane: Pixels, low: float, high: float) -> NDArray[np.uint8]:
        if plane.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            if self.inverted:
                return 255 - plane
            return np.ascontiguousarray(plane)
        values: NDArray[np.floating[Any]] = plane.astype(_float_type(plane.dtype))
        np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
        values -= low
        values *= 255.0 / (high - low)
        np.clip(values, 0, 255, out=values)
        scaled = np.rint(values, out=values).astype(np.uint8)
        if self.inverted:
            return 255 - scaled
        return scaled

    def record(self) -> dict[str, Any]:
        """The window as part of a result's record, which `choose_window` accepts for a name."""
        return {
            "how": self.how,
            "low": list(self.low),
            "high": list(self.high),
            "channels": list(self.channels),
            "mix": list(map(list, self.mix)),
            "inverted": self.inverted,
        }


def _float_type(dtype: PixelType) -> type[np.floating[Any]]:
    """A float type that holds every value of `dtype` exactly, or nearly."""
    if dtype.itemsize > 4 or dtype in (np.int32, np.uint32):
        return np.float64
    return np.float32


@dataclass(frozen=True, slots=True)
class _ShownChannels:
    """Displayed channels, their (red, green, blue) weights, and a note for the record."""

    channels: tuple[int, ...]
    mix: Mix
    note: str


@dataclass(frozen=True, slots=True)
class _Bounds:
    """Values shown as 0 and as 255, one for each displayed channel, and their origin."""

    low: Sequence[float]
    high: Sequence[float]
    how: str

    @classmethod
    def uniform(
        cls,
        low: float,
        high: float,
        count: int,
        how: str,
    ) -> _Bounds:
        """The same bounds for `count` channels."""
        return cls([low] * count, [high] * count, how)

    @classmethod
    def centred(
        cls,
        width: float,
        level: float,
        count: int,
        how: str,
    ) -> _Bounds:
        """Bounds `width` apart around `level`."""
        return cls.uniform(level - width / 2, level + width / 2, count, how)


def choose_window(stack: Stack, window: str | Mapping[str, object] | None = None) -> Window:
    """The window of a whole stack; see `segscope.render.Renderer` for the arguments."""
    if isinstance(window, Mapping):
        return _from_record(window)
    shown = _choose_channels(stack)
    if window is None:
        bounds = _default_bounds(stack, shown.channels)
    else:
        bounds = _requested_bounds(stack, shown.channels, window.strip())
    return Window(
        low=tuple(map(float, bounds.low)),
        high=tuple(map(_end_above, bounds.low, bounds.high)),
        how=bounds.how + shown.note,
        channels=shown.channels,
        mix=shown.mix,
        inverted=bool(stack.meta.get("inverted", False)),
    )


def _end_above(low: float, high: float) -> float:
    """The upper bound, moved above `low` where both are equal: a constant image is shown black."""
    if high > low:
        return float(high)
    if abs(low) > LARGEST_EXACT:
        return math.nextafter(low, math.inf)
    return low + 1.0


def _default_bounds(stack: Stack, channels: Sequence[int]) -> _Bounds:
    """Bounds that suit the modality and the type of the stack."""
    count = len(channels)
    dtype = stack.source.dtype
    if dtype == np.bool_:
        return _Bounds.uniform(0.0, 1.0, count, "binary")
    if dtype == np.uint8 and (stack.kind != "volume" or count > 1):
        return _Bounds.uniform(0.0, 255.0, count, "full 8-bit range")
    if stack.modality == "CT":
        return _preset_bounds("abdomen", count)
    if stack.modality is None and _looks_like_ct(stack):
        return _preset_bounds("abdomen", count, ", CT by its values")
    from_file = _file_bounds(stack)
    if from_file is not None and stack.modality in PROJECTIONS:
        low, high = from_file
        return _Bounds.uniform(low, high, count, f"{low:g} to {high:g}, from the file")
    return _percentile_bounds(stack, channels, *AUTOMATIC)


def _preset_bounds(name: str, count: int, note: str = "") -> _Bounds:
    width, level = PRESETS[name]
    return _Bounds.centred(width, level, count, f"{name}: width {width:g} level {level:g}{note}")


def _requested_bounds(stack: Stack, channels: Sequence[int], text: str) -> _Bounds:
    """Bounds of a preset, of "WIDTH,LEVEL" or of "pLOW,HIGH".

    Raises:
        UsageError: none of these, or numbers out of range.
    """
    name = text.lower()
    if name in PRESETS:
        return _preset_bounds(name, len(channels))
    try:
        first, second = map(float, name.removeprefix("p").split(","))
    except ValueError:
        raise UnknownName("window", text, PRESETS, EXPECTED_WINDOW) from None
    if not np.isfinite((first, second)).all():
        raise UsageError(f"window {text!r} contains non-finite numbers. {EXPECTED_WINDOW}")
    if name.startswith("p"):
        if not 0 <= first < second <= 100:
            raise UsageError(
                f"window {text!r}: percentiles must rise within 0 to 100. {EXPECTED_WINDOW}"
            )
        return _percentile_bounds(stack, channels, first, second)
    if first <= 0:
        raise UsageError(f"window {text!r}: the width must be positive. {EXPECTED_WINDOW}")
    how = f"width {first:g} level {second:g}"
    return _Bounds.centred(first, second, len(channels), how)


def _from_record(record: Mapping[str, Any]) -> Window:
    try:
        mix = tuple((float(r), float(g), float(b)) for r, g, b in record["mix"])
        window = Window(
            tuple(map(float, record["low"])),
            tuple(map(float, record["high"])),
            str(record["how"]),
            tuple(map(int, record["channels"])),
            mix,
            bool(record["inverted"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"the record of a window is malformed ({error!r})") from error
    _check_lengths(window)
    bounds = zip(window.low, window.high, strict=True)
    if not all(-math.inf < low < high < math.inf for low, high in bounds):
        raise UsageError("the record of a window must have finite bounds with low below high")
    return window


def _check_lengths(window: Window) -> None:
    count = len(window.channels)
    lengths = {len(window.low), len(window.high), len(window.mix)}
    if not count or lengths != {count} or min(window.channels) < 0:
        raise UsageError(
            "the record of a window must have one low, one high and one mix for each channel"
        )


def _choose_channels(stack: Stack) -> _ShownChannels:
    """The displayed channels and their colours."""
    count = stack.channels
    if count == 4 and stack.modality != "microscopy" and stack.source.dtype == np.uint8:
        return _ShownChannels((0, 1, 2), IDENTITY, "; first three of 4 channels")
    shown = min(count, max(MIXES))
    note = ""
    if shown < count:
        note = f"; first {shown} of {count} channels, overlaid in colours"
    elif shown == 2 or shown > 3:
        note = f"; {count} channels overlaid in colours"
    return _ShownChannels(tuple(range(shown)), MIXES[shown], note)


def _file_bounds(stack: Stack) -> tuple[float, float] | None:
    """(low, high) of the file, if they are usable."""
    try:
        low, high = map(float, stack.meta.get("window", ()))
    except (TypeError, ValueError):
        return None
    if -math.inf < low < high < math.inf:
        return (low, high)
    return None


def _sample(stack: Stack, channels: Sequence[int]) -> Pixels:
    """Values (channel, value) from frames spread over the stack: finite in every channel, and no
    padding.
    """
    count = min(len(stack), SAMPLED_FRAMES)
    frames = np.unique(np.linspace(0, len(stack) - 1, count).round().astype(int))
    height, width = stack.size_hw
    step = max(1, math.ceil(math.sqrt(height * width / SAMPLED_PIXELS)))
    parts = []
    for index in frames.tolist():
        planes = _with_channels(stack[index])
        grid = planes[step // 2 :: step, step // 2 :: step]
        parts.append(grid[..., list(channels)].reshape(-1, len(channels)))
    values = np.concatenate(parts)
    is_shown = np.isfinite(values).all(axis=1)
    for low, high in stack.meta.get("padding", ()):
        margin = 1e-6 * max(1.0, abs(low), abs(high))  # float32 rounds
        is_shown &= ((values < low - margin) | (values > high + margin)).any(axis=1)
    return values[is_shown].T


def _with_channels(frame: Pixels) -> Pixels:
    """The frame as (row, column, channel)."""
    if frame.ndim == 2:
        return frame[..., None]
    return frame


def _percentile_bounds(stack: Stack, channels: Sequence[int], low: float, high: float) -> _Bounds:
    """Bounds at two percentiles of the values that are not 0."""
    values = _sample(stack, channels)
    how = f"percentiles {low:g} to {high:g} of values that are not 0"
    # three channels outside of microscopy are one colour image: separate windows would shift its
    # colours
    if len(channels) == 3 and stack.modality != "microscopy":
        groups = [values.ravel()] * len(channels)
    else:
        groups = list(values)
        if len(channels) > 1:
            how += " of each channel"
    bounds = [_percentiles(group, low, high) for group in groups]
    return _Bounds([first for first, _ in bounds], [second for _, second in bounds], how)


def _percentiles(values: Pixels, low: float, high: float) -> tuple[float, float]:
    foreground = values[values != 0]
    if len(foreground) < MIN_VALUES:
        foreground = values
    if not len(foreground):
        return (0.0, 1.0)
    first, second = np.percentile(foreground, (low, high))
    return (float(first), float(second))


def _looks_like_ct(stack: Stack) -> bool:
    """Whether values of an unknown modality are probably Hounsfield units: signed, from air (-1000)
    to more than soft tissue.
    """
    signed = stack.source.dtype.kind in "if"
    if not signed or stack.geometry is None or len(stack.source.shape) != 3:
        return False
    values = _sample(stack, (0,))[0]
    return bool(len(values) and values.min() <= -700 and 100 <= values.max() <= 40_000)

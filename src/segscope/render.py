"""Stack to the 8-bit RGB that model and annotator see: one window for a whole stack, chosen once
and recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
"""X-ray modalities, whose files carry the window that they are meant to be read with. CT gets the
same preset whatever format it comes in, and MR and ultrasound carry windows of single slices, so
theirs are not taken.
"""

SAMPLED_FRAMES = 64
SAMPLED_PIXELS = 65_536
"""Most frames, and most pixels of each channel of a frame, that choosing a window looks at."""

IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
GREY = ((1.0, 1.0, 1.0),)
MIXES: Mapping[int, tuple[tuple[float, float, float], ...]] = {
    # colours (red, green, blue) of channels that are not red, green and blue; told apart by most
    # eyes
    1: GREY,
    2: ((0.0, 1.0, 0.0), (1.0, 0.0, 1.0)),
    3: IDENTITY,
    4: ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.6, 0.6, 0.6)),
    5: ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.7, 0.7), (0.7, 0.0, 0.7)),
    6: (
        (0.0, 0.0, 1.0),
        (0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0),
        (0.0, 0.7, 0.7),
        (0.7, 0.0, 0.7),
        (0.7, 0.7, 0.0),
    ),
}


@dataclass(frozen=True, slots=True)
class Window:
    """How stored numbers become 0 to 255.

    Attributes:
        low: number shown as 0, one for each channel that is shown.
        high: number shown as 255, one for each channel that is shown.
        how: how these were chosen, in words.
        channels: channels of the stack that are shown.
        mix: (red, green, blue) weights of each shown channel; the sums are clipped.
        inverted: whether low numbers are bright (DICOM MONOCHROME1).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    how: str
    channels: tuple[int, ...]
    mix: tuple[tuple[float, float, float], ...]
    inverted: bool = False

    def apply(self, frame: NDArray[Any]) -> NDArray[np.uint8]:
        """The frame (row, column[, channel]) as (row, column, 3)."""
        planes = frame
        if frame.ndim == 2:
            planes = frame[..., None]
        if max(self.channels) >= planes.shape[-1]:
            raise UsageError(
                f"this window was made for {max(self.channels) + 1} or more channels, the frame has {planes.shape[-1]}"
            )
        shown = [
            self._scale(planes[..., channel], low, high)
            for channel, low, high in zip(self.channels, self.low, self.high, strict=True)
        ]
        if self.mix == GREY:
            return np.repeat(shown[0][..., None], 3, axis=-1)
        if self.mix == IDENTITY:
            return np.stack(shown, axis=-1)
        weights = np.asarray(self.mix, np.float32)
        total = sum(plane[..., None] * weight for plane, weight in zip(shown, weights, strict=True))
        return np.clip(np.rint(total), 0, 255).astype(np.uint8)

    def _scale(self, plane: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
        if plane.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            if self.inverted:
                return 255 - plane
            return np.ascontiguousarray(plane)
        wide = plane.dtype.itemsize > 4 or plane.dtype in (np.int32, np.uint32)
        values: NDArray[np.floating[Any]] = plane.astype(np.float64 if wide else np.float32)
        np.nan_to_num(values, copy=False, nan=low, posinf=high, neginf=low)
        values -= low
        values *= 255.0 / (high - low)
        np.clip(values, 0, 255, out=values)
        shown = np.rint(values, out=values).astype(np.uint8)
        if self.inverted:
            return 255 - shown
        return shown

    def record(self) -> dict[str, Any]:
        """What a result keeps; `choose` with it gives this window again."""
        return {
            "how": self.how,
            "low": list(self.low),
            "high": list(self.high),
            "channels": list(self.channels),
            "mix": [list(weights) for weights in self.mix],
            "inverted": self.inverted,
        }


class Renderer:
    """Frames of a stack as (row, column, 3) uint8, through one window.

    Example:
        >>> from segscope import Renderer, Stack
        >>> import numpy as np
        >>> Renderer(Stack.from_array(np.eye(4) * 100))[0].shape
        (4, 4, 3)
    """

    def __init__(self, stack: Stack, window: str | Mapping[str, Any] | None = None) -> None:
        """Choose the window.

        Args:
            stack: what is shown; at most 64 of its frames are read here.
            window: name of a preset, "WIDTH,LEVEL", "pLOW,HIGH" (percentiles), the record of an
                earlier window, or None for what suits the modality and type of the stack.

        Raises:
            UsageError: a window that cannot be meant.
        """
        self.stack = stack
        self.window = choose(stack, window)

    def __len__(self) -> int:
        return len(self.stack)

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        return self.window.apply(self.stack[index])

    def record(self) -> dict[str, Any]:
        """The window as part of a result's record."""
        return self.window.record()


def choose(stack: Stack, window: str | Mapping[str, Any] | None = None) -> Window:
    """The window of a whole stack; see `Renderer` for the arguments."""
    if isinstance(window, Mapping):
        return _from_record(window)
    channels, mix, said = _channels(stack)
    inverted = bool(stack.meta.get("inverted", False))

    def made(low: Sequence[float], high: Sequence[float], how: str) -> Window:
        # equal ends would divide by zero: a constant image is shown black
        ends = [b if b > a else math.nextafter(a, math.inf) if abs(a) > 2**52 else a + 1.0
                for a, b in zip(low, high, strict=True)]  # fmt: skip
        return Window(
            tuple(map(float, low)), tuple(map(float, ends)), how + said, channels, mix, inverted
        )

    def level(width: float, middle: float, how: str) -> Window:
        return made([middle - width / 2] * len(channels), [middle + width / 2] * len(channels), how)

    def spread(low: float, high: float) -> Window:
        ends, how = _percentiles(stack, channels, low, high)
        return made(*ends, how)

    if window is not None:
        return _asked(window.strip(), level, spread)
    dtype = stack.source.dtype
    if dtype == np.bool_:
        return made([0.0] * len(channels), [1.0] * len(channels), "yes or no")
    if dtype == np.uint8 and (stack.kind != "volume" or len(channels) > 1):
        return made([0.0] * len(channels), [255.0] * len(channels), "unchanged 8 bit")
    own = _own_window(stack)
    if stack.modality == "CT" or (stack.modality is None and _looks_like_ct(stack)):
        width, middle = PRESETS["abdomen"]
        guessed = ", CT by its values"
        if stack.modality == "CT":
            guessed = ""
        return level(width, middle, f"abdomen: width {width:g} level {middle:g}{guessed}")
    if own is not None and stack.modality in PROJECTIONS:
        return made(
            [own[0]] * len(channels),
            [own[1]] * len(channels),
            f"{own[0]:g} to {own[1]:g}, from the file",
        )
    return spread(*AUTOMATIC)


def _asked(text: str, level: Any, spread: Any) -> Window:
    name = text.lower()
    if name in PRESETS:
        width, middle = PRESETS[name]
        return level(width, middle, f"{name}: width {width:g} level {middle:g}")
    wanted = "A window is a preset, WIDTH,LEVEL such as 400,40, or percentiles such as p0.5,99.5."
    by_percentile = name.startswith("p") and "," in name
    try:
        first, second = (float(part) for part in name.removeprefix("p").split(","))
    except ValueError:
        raise UnknownName("window", text, PRESETS, wanted) from None
    if not (math.isfinite(first) and math.isfinite(second)):
        raise UsageError(f"window {text!r} holds numbers that are not finite. {wanted}")
    if by_percentile:
        if not 0 <= first < second <= 100:
            raise UsageError(f"percentiles rise from 0 to 100, got {text!r}. {wanted}")
        return spread(first, second)
    if first <= 0:
        raise UsageError(f"the width of a window is positive, got {text!r}. {wanted}")
    return level(first, second, f"width {first:g} level {second:g}")


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
    shown = len(window.channels)
    if (
        not shown
        or not shown == len(window.low) == len(window.high) == len(mix)
        or min(window.channels) < 0
    ):
        raise UsageError("the record of a window names another number of channels than of bounds")
    if not all(
        math.isfinite(a) and math.isfinite(b) and a < b
        for a, b in zip(window.low, window.high, strict=True)
    ):
        raise UsageError("the record of a window has bounds that do not rise")
    return window


def _channels(stack: Stack) -> tuple[tuple[int, ...], tuple[tuple[float, float, float], ...], str]:
    """Which channels are shown, in which colours, and what to say about it."""
    count = 1
    if len(stack.source.shape) == 4:
        count = stack.source.shape[3]
    if count == 4 and stack.modality != "microscopy" and stack.source.dtype == np.uint8:
        return (0, 1, 2), IDENTITY, "; first three of 4 channels"
    shown = min(count, max(MIXES))
    said = ""
    if shown < count:
        said = f"; first {shown} of {count} channels, overlaid in colours"
    elif shown == 2 or shown > 3:
        said = f"; {count} channels overlaid in colours"
    return tuple(range(shown)), MIXES[shown], said


def _own_window(stack: Stack) -> tuple[float, float] | None:
    """(low, high) that the file asks for, when it makes sense."""
    try:
        low, high = (float(value) for value in stack.meta.get("window", ()))
    except (TypeError, ValueError):
        return None
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return (low, high)
    return None


def _sample(stack: Stack, channels: Sequence[int]) -> NDArray[Any]:
    """Finite values (channel, value) from frames spread over the stack; not finite in any channel:
    left out.
    """
    picked = np.unique(
        np.linspace(0, len(stack) - 1, min(len(stack), SAMPLED_FRAMES)).round().astype(int)
    )
    height, width = stack.size_hw
    step = max(1, math.ceil(math.sqrt(height * width / SAMPLED_PIXELS)))
    parts = []
    for index in picked.tolist():
        frame = stack[index]
        planes = frame
        if frame.ndim == 2:
            planes = frame[..., None]
        parts.append(
            planes[step // 2 :: step, step // 2 :: step][..., list(channels)].reshape(
                -1, len(channels)
            )
        )
    values = np.concatenate(parts)
    return values[np.isfinite(values).all(axis=1)].T


def _percentiles(
    stack: Stack, channels: Sequence[int], low: float, high: float
) -> tuple[tuple[list[float], list[float]], str]:
    values = _sample(stack, channels)
    # three channels that are not microscopy are one colour image: apart, they would change its
    # colours
    joint = len(channels) == 3 and stack.modality != "microscopy"
    if joint:
        groups = [values.ravel()] * len(channels)
    else:
        groups = list(values)
    ends: tuple[list[float], list[float]] = ([], [])
    for group in groups:
        used = group[group != 0]
        if len(used) < 16:
            used = group
        if len(used):
            bounds = np.percentile(used, (low, high))
        else:
            bounds = (0.0, 1.0)
        ends[0].append(float(bounds[0]))
        ends[1].append(float(bounds[1]))
    each = ""
    if len(channels) > 1 and not joint:
        each = " of each channel"
    return ends, f"percentiles {low:g} to {high:g} of values that are not 0{each}"


def _looks_like_ct(stack: Stack) -> bool:
    """Whether unknown values are Hounsfield units: signed, from air (-1000) up to more than soft
    tissue.
    """
    if (
        stack.source.dtype.kind not in "if"
        or len(stack.source.shape) != 3
        or stack.geometry is None
    ):
        return False
    values = _sample(stack, (0,))[0]
    return bool(len(values) and values.min() <= -700 and 100 <= values.max() <= 40_000)

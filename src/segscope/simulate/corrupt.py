"""Degraded images, for tests of robustness.

degraded = degrade(frame, "smoke", severity=3, rng=np.random.default_rng(0))

# lazily, frame by frame
hazy = replace(stack, source=Degraded(stack.source, "smoke", severity=3, seed=0))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels, PixelType
from segscope.errors import UnknownName, UsageError
from segscope.simulate import corruptions
from segscope.simulate.annotation_target import Rng
from segscope.simulate.corruptions import Image
from segscope.stack import FrameSource

SAMPLED = 16  # frames from which the range of values of a stack is estimated


@dataclass(frozen=True, slots=True)
class Degradation:
    """One row of DEGRADATIONS.

    Attributes:
        apply: (image, amount, fixed, free) to an image (row, column, channel) of values around 0 to
            1; it must not change its input. `fixed` gives the same numbers for all frames of a
            stack, `free` different ones for each.
        amounts: of severities 1 to 5.
        about: what it is, and what the amount means.
        mixed: used instead of `apply` for effects on neighbouring frames: (frame, amount, number of
            frames) to the frames whose mean replaces the frame.
    """

    apply: Callable[[Image, float, Rng, Rng], Image] | None
    amounts: tuple[float, float, float, float, float]
    about: str
    mixed: Callable[[int, int, int], list[int]] | None = None


# The first three are those of SegSTRONG-C. Lengths in pixels apply to frames whose shorter side is
# 256, and scale with the frame.
DEGRADATIONS = {
    "smoke": Degradation(
        corruptions.smoke,
        (0.15, 0.3, 0.45, 0.6, 0.75),
        "haze before the scene; greatest share of it",
    ),
    "blood": Degradation(
        corruptions.blood, (0.05, 0.1, 0.2, 0.3, 0.45), "patches of blood; share of the frame"
    ),
    "dark": Degradation(
        corruptions.dark, (0.2, 0.4, 0.55, 0.7, 0.85), "low brightness; share of light lost"
    ),
    "blur": Degradation(
        corruptions.blur, (0.7, 1.2, 2.0, 3.0, 4.5), "out of focus; sigma in pixels"
    ),
    "motion": Degradation(
        corruptions.motion, (3, 6, 10, 15, 22), "motion while exposed; length in pixels"
    ),
    "gaussian": Degradation(
        corruptions.gaussian, (0.03, 0.06, 0.1, 0.15, 0.2), "Gaussian noise; sigma"
    ),
    "poisson": Degradation(
        corruptions.poisson, (0.005, 0.0125, 0.025, 0.05, 0.1), "photon noise; 1 / photons at white"
    ),
    "rician": Degradation(
        corruptions.rician, (0.03, 0.06, 0.1, 0.15, 0.2), "noise of MR magnitudes; sigma"
    ),
    "speckle": Degradation(
        corruptions.speckle, (0.1, 0.2, 0.35, 0.5, 0.7), "noise of ultrasound; relative sigma"
    ),
    "jpeg": Degradation(corruptions.jpeg, (40, 65, 80, 90, 95), "compression; 100 - quality"),
    "bias": Degradation(
        corruptions.bias,
        (0.1, 0.2, 0.35, 0.55, 0.8),
        "slow gain of MR coils; its logarithm, each way",
    ),
    "gap": Degradation(None, (2, 3, 4, 6, 8), "only every n-th slice remains", corruptions.gap),
    "thickness": Degradation(
        None, (1, 2, 3, 5, 8), "slices averaged with n neighbours each way", corruptions.thickness
    ),
    "streaks": Degradation(
        corruptions.streaks,
        (0.1, 0.2, 0.35, 0.5, 0.7),
        "streaks from metal in CT; height beside it",
    ),
    "window": Degradation(
        corruptions.window,
        (0.04, 0.08, 0.12, 0.16, 0.2),
        "wrong level and width; share of the width",
    ),
}


def degradation(name: str) -> Degradation:
    """The row of a name.

    Raises:
        UnknownName: no such degradation.
    """
    if name not in DEGRADATIONS:
        raise UnknownName("degradation", name, DEGRADATIONS)
    return DEGRADATIONS[name]


def degrade(
    array: Pixels,
    name: str,
    severity: int,
    rng: Rng,
    *,
    stack: bool | None = None,
) -> Pixels:
    """A degraded frame, or stack of frames.

    Args:
        array: (row, column), (row, column, channel), (frame, row, column) or (frame, row, column,
            channel).
        severity: 1 to 5; 0 changes nothing.
        stack: whether the first axis is frames. Default: with four axes, and with three of which
            the last is longer than 4.

    Returns:
        An array of the same shape and dtype; 8-bit values stay within 0 to 255, others within their
        original range.

    Raises:
        UsageError: unknown name or severity, or a single frame where neighbours are needed.
    """
    if stack is None:
        stack = array.ndim == 4 or (array.ndim == 3 and array.shape[-1] > 4)
    frames = array
    if not stack:
        frames = array[None]
    source = Degraded(frames, name, severity, int(rng.integers(2**63)))
    if not stack and degradation(name).mixed:
        raise UsageError(
            f"{name!r} applies to neighbouring slices and needs a stack, got shape {array.shape}"
        )
    degraded = np.stack([source[frame] for frame in range(len(source))])
    if stack:
        return degraded
    return degraded[0]


@dataclass(frozen=True, eq=False)
class Degraded:
    """Frames that are degraded when they are read: a `segscope.stack.FrameSource`.

    A frame is the same whenever it is read: its random numbers depend on the seed and its number
    only. Smoke, streaks, gain and the like do not change from frame to frame; noise does.
    """

    source: FrameSource
    name: str
    severity: int
    seed: int = 0

    def __post_init__(self) -> None:
        degradation(self.name)
        if self.severity not in range(6):
            raise UsageError(f"severity must be 1 to 5, or 0 for none, got {self.severity!r}")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.source.shape)

    @property
    def dtype(self) -> PixelType:
        return self.source.dtype

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int, /) -> Pixels:
        frame = self.source[index]
        if self.severity == 0:
            return frame
        row = degradation(self.name)
        amount = row.amounts[self.severity - 1]
        if row.mixed is not None:
            return self._mix(frame, row.mixed(index, int(amount), len(self)))
        assert row.apply is not None
        fixed, free = (np.random.default_rng((self.seed, number)) for number in (0, index + 1))
        low, high = self._range
        span = high - low or 1.0
        finite = np.nan_to_num(frame.astype(float), nan=low, posinf=high, neginf=low)
        image = ((finite - low) / span).reshape(*frame.shape[:2], -1)
        degraded = row.apply(image, amount, fixed, free).reshape(frame.shape)
        return _like(frame, degraded * span + low, low, high)

    def _mix(self, frame: Pixels, others: list[int]) -> Pixels:
        mean = np.mean([self.source[other] for other in others], axis=0, dtype=float)
        return _like(frame, mean, -np.inf, np.inf)

    @cached_property
    def _range(self) -> tuple[float, float]:
        """Values that count as black and white."""
        if self.dtype == np.uint8:
            return 0.0, 255.0
        some = np.unique(np.linspace(0, len(self) - 1, SAMPLED).astype(int))
        ends = np.array([_ends(self.source[int(index)]) for index in some])
        return float(ends[:, 0].min()), float(ends[:, 1].max())


def _ends(frame: Pixels) -> tuple[float, float]:
    known = frame[np.isfinite(frame)]
    if known.size:
        return (float(known.min()), float(known.max()))
    return (0.0, 0.0)


def _like(frame: Pixels, values: NDArray[np.float64], low: float, high: float) -> Pixels:
    """Values with the dtype of a frame and within its range; where the frame is not finite, its own
    value stays.
    """
    least, most = _ends(frame)
    values = np.clip(values, min(low, least), max(high, most))
    if frame.dtype.kind != "f":
        return np.rint(values).astype(frame.dtype)
    return np.where(np.isfinite(frame), values, frame).astype(frame.dtype)

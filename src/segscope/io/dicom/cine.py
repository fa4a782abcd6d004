"""Times of the frames of one DICOM file, from its cine elements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segscope.io.dicom.values import (
    Vector,
    parse_vector,
    read_first_number,
    read_text,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLIP_MODALITIES = ("US", "IVUS", "XA", "RF", "ES", "GM")


def read_clip_times(data: Dataset, frames: int) -> tuple[Vector | None, bool]:
    """Seconds of each frame from the cine tags, and whether the frames follow in time."""
    if frames < 2:
        return None, False
    steps = parse_vector(data.get("FrameTimeVector"), frames)
    if steps is not None and min(steps) >= 0:
        return _accumulate_times(steps), True
    period_ms = _read_frame_period(data)
    if period_ms is not None:
        return tuple(index * period_ms / 1000.0 for index in range(frames)), True
    return None, read_text(data, "Modality") in _CLIP_MODALITIES


def _accumulate_times(steps_ms: Vector) -> Vector:
    """Seconds of each frame from the milliseconds since the frame before; the first counts as 0."""
    total = 0.0
    times = [total]
    for step in steps_ms[1:]:
        total += step / 1000.0
        times.append(total)
    return tuple(times)


def _read_frame_period(data: Dataset) -> float | None:
    """Milliseconds from frame to frame."""
    period = read_first_number(data, "FrameTime", "ActualFrameDuration")
    if period and period > 0:
        return period
    rate = read_first_number(data, "RecommendedDisplayFrameRate", "CineRate")
    if rate and rate > 0:
        return 1000.0 / rate
    return None

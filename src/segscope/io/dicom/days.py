"""Times of day of a series that passes midnight, counted on from its first day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from segscope.io.dicom.records import Frame

_DAY_S = 86400.0
_DATES = {"AcquisitionTime": "AcquisitionDate", "ContentTime": "ContentDate"}
"""Each time of day, and the element of its date."""


def count_from_first_day(frames: list[Frame]) -> tuple[list[Frame], tuple[str, ...]]:
    """Frames whose times count on after midnight, and what a user should know about it.

    Dates decide. Where they are absent or all the same, instance numbers do: a series passes
    midnight if more than half a day lies between its times, and at each position those before that
    gap have the higher numbers.
    """
    notes = []
    for name, date in _DATES.items():
        days = {float(frame.order[date]) for frame in frames if date in frame.order}
        if len(days) > 1 and all(date in frame.order for frame in frames):
            first = min(days)
            frames = [_delay(frame, name, float(frame.order[date]) - first) for frame in frames]
            continue
        end = _find_last_morning_time(frames, name)
        if end is not None:
            frames = [_delay(frame, name, float(_time(frame, name) <= end)) for frame in frames]
            notes.append(
                f"{name} passes midnight by the instance numbers: times up to {end:g} s belong to "
                "the next day"
            )
    return frames, tuple(notes)


def _time(frame: Frame, name: str) -> float:
    return float(frame.order[name])


def _delay(frame: Frame, name: str, days: float) -> Frame:
    if not days or name not in frame.order:
        return frame
    time = _time(frame, name) + days * _DAY_S
    return replace(frame, order={**frame.order, name: time})


def _find_last_morning_time(frames: Sequence[Frame], name: str) -> float | None:
    """The latest time after midnight; None for a series within one day."""
    if any(name not in frame.order or "InstanceNumber" not in frame.order for frame in frames):
        return None
    times = sorted({_time(frame, name) for frame in frames})
    gaps = [(after - before, before) for before, after in pairwise(times)]
    widest, end = max(gaps, default=(0.0, 0.0))
    if widest <= _DAY_S / 2 or not _is_morning_numbered_last(frames, name, end):
        return None
    return end


def _is_morning_numbered_last(frames: Sequence[Frame], name: str, end: float) -> bool:
    """Whether times up to `end` have the higher instance numbers wherever both kinds occur."""
    positions = defaultdict(list)
    for frame in frames:
        positions[frame.position].append(frame)
    verdicts = []
    for members in positions.values():
        numbers: dict[bool, list[float]] = {True: [], False: []}
        for frame in members:
            is_morning = _time(frame, name) <= end
            numbers[is_morning].append(float(frame.order["InstanceNumber"]))
        if all(numbers.values()):
            verdicts.append(min(numbers[True]) > max(numbers[False]))
    return bool(verdicts) and all(verdicts)

"""What tells that frames of a video may not be what the camera saw.

Decoders rarely fail: they repeat or invent what is missing, and log that they did. Packets that the
container marks as corrupt, errors of the decoder (with its log of errors) and jumps of the times
are gathered here, and become notes with the numbers of frames. Codecs without any redundancy (VP8,
VP9, HEVC) can hide damage from all of these.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from segscope.errors import format_count
from segscope.io.video.stream import Packets

Numbers = NDArray[np.int64]

_REGULAR = 0.75  # share of equal intervals from which on times count as regular
_GAP = 1.5  # intervals
_MOST_LISTED = 5


def describe_damage(packets: Packets, numbers: Numbers, damaged: set[int]) -> list[str]:
    """Notes on damaged packets and on jumps of the times.

    Args:
        packets: all packets.
        numbers: number of the frame of each, below 0 when it is not shown.
        damaged: packets in which the decoder reported errors.
    """
    notes = []
    frames = _affected_frames(packets, numbers, damaged | packets.corrupt)
    if frames:
        notes.append(
            f"the video is damaged: {_list_ranges(frames)} may be incomplete, or show what the "
            "decoder made up"
        )
    gaps = list(map(str, _find_gaps(packets, numbers)))
    if gaps:
        listing = ", ".join(gaps[:_MOST_LISTED])
        if len(gaps) > _MOST_LISTED:
            listing += " ..."
        notes.append(
            f"the times jump {format_count(len(gaps), 'time')}, after frame {listing}: "
            "frames are missing there, or the rate varies"
        )
    return notes


def _affected_frames(packets: Packets, numbers: Numbers, damaged: set[int]) -> list[int]:
    """Frames of damaged packets and all others before the next key frame, which refer to them."""
    starts = np.array(sorted(packets.starts), np.int64)
    frames: set[int] = set()
    for place in damaged:
        following = starts[starts > place]
        affected = numbers[place:]
        end = int(numbers.max()) + 1
        if len(following):
            affected = numbers[place : following[0]]
            end = int(numbers[following[0]])
        if (affected >= 0).any():
            frames.update(range(int(affected[affected >= 0].min()), end))
    return sorted(frames)


def _find_gaps(packets: Packets, numbers: Numbers) -> list[int]:
    """Frames after which the times jump, in a video whose times are regular otherwise."""
    order = np.argsort(numbers, kind="stable")[np.count_nonzero(numbers < 0) :]
    times = [packets.times[place] for place in order]
    if len(times) < 4 or None in times:
        return []
    intervals = np.diff(np.array(times, np.float64))
    usual = float(np.median(intervals))
    is_usual = np.abs(intervals - usual) <= 0.1 * usual
    if usual <= 0 or is_usual.mean() < _REGULAR:
        return []
    return list(map(int, np.flatnonzero(intervals > _GAP * usual)))


def _list_ranges(frames: Sequence[int]) -> str:
    """Numbers in words: "frame 3", "frames 3, 7 to 9"."""
    if len(frames) == 1:
        return f"frame {frames[0]}"
    breaks = np.flatnonzero(np.diff(frames) > 1) + 1
    runs = np.split(np.asarray(frames), breaks)
    words = []
    for run in runs[:_MOST_LISTED]:
        words.append(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}")
    if len(runs) > _MOST_LISTED:
        words.append("...")
    return f"frames {', '.join(words)}"

"""Which frames a video has, and when they are shown: the list of packets, checked against the
decoder.

The first and the last frames are decoded to see that the decoder gives what the packets promise.
Where it does not (no times in old AVI files, times in storage order), all frames are decoded once
to learn their order.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import check_declared
from segscope.io.byte_sources import reading
from segscope.io.video.stream import Decoder, Packets, open_video

_HEAD = 48
_SHORT_TAIL, _LONG_TAIL = 64, 2000  # in a file that is as long as it says, and in one that is not


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """What is known of a video before its frames are wanted.

    Attributes:
        size_hw: rows and columns of the upright frames.
        quarter_turns: anticlockwise turns that make stored frames upright.
        packets: all packets.
        numbers: number of the frame of each packet; below 0 when it is not shown.
        keys: numbers of key packets in the list, by the frame they show, ascending.
        key_frames: numbers of their frames, ascending.
        count: number of frames.
        times_s: seconds of each frame from the first, or None.
        meta: codec, pixel format, rate and notes.
    """

    size_hw: tuple[int, int]
    quarter_turns: int
    packets: Packets
    numbers: NDArray[np.int64]
    keys: NDArray[np.int64]
    key_frames: NDArray[np.int64]
    count: int
    times_s: NDArray[np.float64] | None
    meta: dict[str, Any]


def index_video(path: Path) -> VideoIndex:
    """Find the frames of a video.

    Raises:
        ReadError: not a video, no frame decodes, or larger than the limits.
    """
    meta, unit, declared = _describe(path)
    packets = Packets.scan(path)
    notes = list(packets.notes)
    first, numbers = _checked(
        path, packets, _by_times(packets), whole=_is_whole(packets, unit, declared)
    )
    times: NDArray[np.float64] | None
    if numbers is None:
        numbers = _by_decoding(
            path, packets, np.where(packets.shown, np.arange(len(packets.times)), -1)
        )
        notes.append(
            "the file gives no usable times: its frames were put in order by decoding all of them"
        )
        times = _even_times(int(numbers.max()) + 1, meta["fps"])
    else:
        order = np.argsort(numbers)[np.count_nonzero(numbers < 0) :]
        pts = np.array([packets.times[place] for place in order], np.float64)
        times = (pts - pts[0]) * unit
    count = int(numbers.max()) + 1
    lost = int(np.count_nonzero(packets.shown)) - count
    if lost:
        notes.append(f"{lost} frames do not decode and were left out")
    turned = int(first.rotation or 0)
    meta |= {"pixel_format": first.format.name, "notes": tuple(notes)} | (
        {"rotation_deg": turned} if turned else {}
    )
    turns = round(turned / 90) % 4
    if turns % 2:
        size = (first.width, first.height)
    else:
        size = (first.height, first.width)
    keys = np.array(sorted(packets.starts, key=lambda place: (numbers[place], place)), np.int64)
    return VideoIndex(size, turns, packets, numbers, keys, numbers[keys], count, times, meta)


def _describe(path: Path) -> tuple[dict[str, Any], float, tuple[int, float]]:
    """Facts of the stream, the seconds of its unit of time, and how many frames and seconds the
    file declares.

    A stream may not be touched once its container is closed, so all is taken at once.
    """
    container, stream = open_video(path)
    with container, reading(path, "a video"):
        check_declared(
            path, (1, stream.height, stream.width, 3), 1
        )  # frames stream: only one is ever held whole
        rate = stream.average_rate or stream.guessed_rate
        meta = {"codec": stream.codec_context.name, "fps": float(rate) if rate else None}
        aspect = stream.sample_aspect_ratio
        if aspect and aspect != 1:
            meta["pixel_aspect"] = float(aspect)
        declared = (stream.frames, (container.duration or 0) / 1e6)
        return meta, float(stream.time_base), declared


def _is_whole(packets: Packets, unit: float, declared: tuple[int, float]) -> bool:
    """Whether the file is as long as its header says, as far as it says so."""
    times = [time for time in packets.times if time is not None]
    if packets.notes or not times:
        return False
    frames, seconds = declared
    # some containers leave the count of frames unset or filled with nonsense: only a count that is
    # near means something
    fewer = len(packets.times) < frames < 4 * len(packets.times)
    return not fewer and (max(times) - min(times)) * unit > seconds * 0.98 - 1.0


def _by_times(packets: Packets) -> NDArray[np.int64] | None:
    """Number of the frame of each packet by presentation time; None when times are missing or
    doubled.
    """
    shown = [time for time, is_shown in zip(packets.times, packets.shown, strict=True) if is_shown]
    if None in shown or len(set(shown)) != len(shown):
        return None
    numbers = np.full(len(packets.times), -1, np.int64)
    order = np.argsort(np.array(shown, np.int64), kind="stable")
    numbers[np.flatnonzero(packets.shown)[order]] = np.arange(len(shown))
    return numbers


def _checked(
    path: Path, packets: Packets, numbers: NDArray[np.int64] | None, *, whole: bool
) -> tuple[Any, NDArray[np.int64] | None]:
    """The first frame, and the numbers as the decoder confirms them; None when it gives another
    order.

    Frames at both ends that do not decode are dropped. If some are missing among the first ones
    already (damage, or packets that show nothing), everything is decoded to see which.
    """
    decoder = Decoder(path, packets, np.arange(len(packets.times)) if numbers is None else numbers)
    with reading(path, "a video"):
        found = list(islice(decoder.frames_from(None), _HEAD))
    decoder.close()
    if not found:
        raise ReadError(
            f"{path}: no frame of this video decodes; it is damaged, or its codec is unknown here"
        )
    first = found[0][1]
    head = [number for number, _ in found]
    if numbers is None or sorted(set(head)) != head:
        return first, None
    if head[-1] - head[0] == len(head) - 1:
        numbers = np.maximum(numbers - head[0], -1)
        return first, _without_lost_tail(
            path, packets, numbers, _SHORT_TAIL if whole else _LONG_TAIL
        )
    return first, _by_decoding(path, packets, numbers)


def _by_decoding(path: Path, packets: Packets, marks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the frame of each packet, by decoding everything once and seeing in which order the
    marks come out.
    """
    decoder = Decoder(path, packets, marks)
    with reading(path, "a video"):
        order = [mark for mark, _ in decoder.frames_from(None)]
    decoder.close()
    if len(set(order)) != len(order) or not order:
        raise ReadError(
            f"{path}: the decoder does not say which frame is which; convert the video to MP4 first"
        )
    places = {int(mark): place for place, mark in enumerate(marks) if mark >= 0}
    numbers = np.full(len(marks), -1, np.int64)
    numbers[[places[mark] for mark in order]] = np.arange(len(order))
    return numbers


def _even_times(count: int, rate: float | None) -> NDArray[np.float64] | None:
    if rate:
        return np.arange(count) / rate
    return None


def _without_lost_tail(
    path: Path, packets: Packets, numbers: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Drop frames at the end that the decoder does not give (a file that was cut off).

    Args:
        path: the video.
        packets: all its packets.
        numbers: of their frames.
        most: frames to decode for it; more are taken on trust.
    """
    last = int(numbers.max())
    keys = sorted(
        (place for place in packets.starts if numbers[place] >= 0),
        key=lambda place: int(numbers[place]),
    )
    if not keys or last - numbers[keys[-2:][0]] > most:
        return numbers
    decoder = Decoder(path, packets, numbers)
    with reading(path, "a video"):
        found = max((number for number, _ in decoder.frames_from(keys[-2:][0])), default=last)
    decoder.close()
    return np.where(numbers > found, -1, numbers)

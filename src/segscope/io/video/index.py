"""Which frames a video has and when they are shown: the list of packets, checked against the
decoder.

The first and the last frames are decoded to verify that the decoder gives what the packets promise.
Where it does not (no times in old AVI files, times in storage order), all frames are decoded once
to learn their order.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import check_declared, reading
from segscope.io.orientation import SIDEWAYS
from segscope.io.video.damage import describe_damage
from segscope.io.video.display_matrix import read_orientation, upright_size
from segscope.io.video.properties import describe_losses
from segscope.io.video.stream import Packets, VideoDecoder, list_streams, open_video

if TYPE_CHECKING:
    from av import VideoFrame

Numbers = NDArray[np.int64]
"""Number of the frame of each packet; below 0 when it is not shown."""

_HEAD = 48
_SHORT_TAIL = 64  # in a file that is as long as its header says
_LONG_TAIL = 2000  # in one that is not
_TURNS = (3, 6, 8)  # orientations without a mirror
_SMALL_PIXELS = 2**27  # of all frames; decoding them takes about half a second


@dataclass(frozen=True, eq=False)
class VideoIndex:
    """What is known of a video before its frames are decoded.

    Attributes:
        size_hw: rows and columns of the upright frames.
        orientation: EXIF orientation, 1 to 8, by which stored frames are shown.
        packets: all packets.
        numbers: number of the frame of each packet; below 0 when it is not shown.
        keys: numbers of key packets in the list, by the frame they show, ascending.
        key_frames: numbers of their frames, ascending.
        count: number of frames.
        times_s: seconds of each frame from the first, or None.
        meta: codec, pixel format, rate and notes.
    """

    size_hw: tuple[int, int]
    orientation: int
    packets: Packets
    numbers: Numbers
    keys: NDArray[np.int64]
    key_frames: NDArray[np.int64]
    count: int
    times_s: NDArray[np.float64] | None
    meta: dict[str, Any]


@dataclass(frozen=True)
class _Description:
    """What the file declares, as far as it does.

    Attributes:
        meta: codec, rate and the like.
        unit_s: seconds of the stream's unit of time.
        frames: declared number of frames, 0 where unknown.
        is_exact: whether the container counts its frames reliably.
        seconds: declared duration, 0 where unknown.
        notes: what else the file holds.
    """

    meta: dict[str, Any]
    unit_s: float
    frames: int
    is_exact: bool
    seconds: float
    notes: tuple[str, ...]


def index_video(path: Path) -> VideoIndex:
    """List the frames of a video.

    Raises:
        ReadError: not a video, no frame decodes, or larger than the limits.
    """
    description = _describe(path)
    packets = Packets.scan(path)
    notes = [*description.notes, *packets.notes, *_describe_end(packets, description)]
    max_tail = _LONG_TAIL
    if _is_complete(packets, description):
        max_tail = _SHORT_TAIL
    decoding = _Decoding(path, packets)
    first, numbers = decoding.verify(_number_by_times(packets), max_tail)
    if numbers is None:
        stored_order = np.where(packets.is_shown, np.arange(len(packets.times)), -1)
        numbers = decoding.number(stored_order)
        notes.append(
            "the times of the file do not tell the order of its frames: all were decoded to find it"
        )
    times = _presentation_times(packets, numbers, description)
    count = int(numbers.max()) + 1
    lost = int(np.count_nonzero(packets.is_shown)) - count
    if lost:
        notes.append(f"frames that do not decode were left out: {lost}")
    notes += describe_damage(packets, numbers, decoding.damaged)
    orientation = read_orientation(path, first)
    meta = _describe_frames(first, description.meta, orientation, notes)
    keys = np.array(sorted(packets.starts, key=lambda place: (numbers[place], place)), np.int64)
    return VideoIndex(
        size_hw=upright_size(first, orientation),
        orientation=orientation,
        packets=packets,
        numbers=numbers,
        keys=keys,
        key_frames=numbers[keys],
        count=count,
        times_s=times,
        meta=meta,
    )


def _describe_frames(
    first: VideoFrame, stream_meta: dict[str, Any], orientation: int, notes: list[str]
) -> dict[str, Any]:
    """What is known of the stream and, by its first frame, of all frames as they are shown."""
    meta = {**stream_meta, "pixel_format": first.format.name}
    if orientation in SIDEWAYS and "pixel_aspect" in meta:
        meta["pixel_aspect"] = 1 / meta["pixel_aspect"]
    if orientation in _TURNS:
        meta["rotation_deg"] = int(first.rotation)
    losses = describe_losses(first, meta["codec"], meta.get("pixel_aspect"))
    meta["notes"] = (*notes, *losses)
    return meta


# --- what the file declares ----------------------------------------------------------------------


def _describe(path: Path) -> _Description:
    """Facts of the stream, read at once: it may not be touched once its container is closed."""
    container, stream = open_video(path)
    with container, reading(path, "a video"):
        if 0 in (stream.width, stream.height):
            raise ReadError(
                f"{path} holds no key frame that states the size of its frames: it starts or ends "
                "between two. Record or cut it again, from a key frame on."
            )
        # frames are decoded one by one: only one is ever in memory as a whole
        check_declared(path, (1, stream.height, stream.width, 3), 1)
        rate = stream.average_rate or stream.guessed_rate
        meta: dict[str, Any] = {"codec": stream.codec_context.name, "fps": None}
        if rate:
            meta["fps"] = float(rate)
        aspect = stream.sample_aspect_ratio
        if aspect and aspect != 1:
            meta["pixel_aspect"] = float(aspect)
        assert stream.time_base is not None
        seconds = (container.duration or 0) / 1e6
        count = len(list_streams(container))
        notes: tuple[str, ...] = ()
        if count > 1:
            notes = (f"the file holds {count} video streams: the first is read",)
        return _Description(
            meta,
            unit_s=float(stream.time_base),
            frames=stream.frames,
            is_exact="mov" in container.format.name,
            seconds=seconds,
            notes=notes,
        )


def _describe_end(packets: Packets, description: _Description) -> list[str]:
    """A note on a file that holds fewer frames than its header counts, and ends before they would.

    AVI files count repeated frames, which have no packets; so the times decide.
    """
    times = [time for time in packets.times if time is not None]
    rate = description.meta["fps"]
    count = len(packets.times)
    is_plausible = description.is_exact or description.frames < 4 * count
    if packets.notes or not times or not rate or not is_plausible:
        return []
    seconds = (max(times) - min(times)) * description.unit_s + 1 / rate
    if count >= description.frames or seconds > 0.95 * description.frames / rate:
        return []
    return [f"the file ends early: it holds {count} of the {description.frames} frames it declares"]


def _is_complete(packets: Packets, description: _Description) -> bool:
    """Whether the file is as long as its header says, where it says so."""
    times = [time for time in packets.times if time is not None]
    if packets.notes or not times:
        return False
    # some containers leave the count of frames unset or arbitrary: only a plausible count matters
    if len(packets.times) < description.frames < 4 * len(packets.times):
        return False
    duration = (max(times) - min(times)) * description.unit_s
    return duration > description.seconds * 0.98 - 1.0


def _number_by_times(packets: Packets) -> Numbers | None:
    """Numbers by presentation time; None when times are missing or repeated."""
    places = np.flatnonzero(packets.is_shown)
    times = [packets.times[place] for place in places]
    if None in times or len(set(times)) != len(times):
        return None
    numbers = np.full(len(packets.times), -1, np.int64)
    order = np.argsort(np.array(times, np.int64), kind="stable")
    numbers[places[order]] = np.arange(len(times))
    return numbers


def _presentation_times(
    packets: Packets, numbers: Numbers, description: _Description
) -> NDArray[np.float64] | None:
    """Seconds of each frame from the first: the times of the file in ascending order, or even ones
    where it has none.
    """
    times = [packets.times[place] for place in np.flatnonzero(numbers >= 0)]
    if None not in times and len(set(times)) == len(times):
        ascending = np.sort(np.array(times, np.float64))
        return (ascending - ascending[0]) * description.unit_s
    rate = description.meta["fps"]
    if rate:
        return np.arange(len(times)) / rate
    return None


# --- what the decoder gives ----------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoding:
    """Decodes parts of a video, or all of it, to learn what its packets are.

    Attributes:
        path: the video.
        packets: all its packets.
        damaged: those in which the decoder reported errors so far, by number in the list.
    """

    path: Path
    packets: Packets
    damaged: set[int] = field(default_factory=set)

    def verify(self, numbers: Numbers | None, max_tail: int) -> tuple[VideoFrame, Numbers | None]:
        """The first frame, and the numbers as the decoder confirms them; None when its order
        differs.

        Frames at both ends that do not decode are dropped. If some are missing among the first ones
        already (damage, or packets that show nothing), everything is decoded to find out which.
        """
        marks = numbers
        if marks is None:
            marks = np.arange(len(self.packets.times))
        first, head = self._decode_head(marks)
        is_ascending = sorted(set(head)) == head
        if numbers is None or not is_ascending:
            return first, None
        has_gaps = head[-1] - head[0] != len(head) - 1
        if has_gaps:
            return first, self.number(numbers)
        numbers = np.maximum(numbers - head[0], -1)
        return first, self._drop_lost_tail(numbers, max_tail)

    def _decode_head(self, marks: NDArray[np.int64]) -> tuple[VideoFrame, list[int]]:
        """The first frame, and the marks of the first ones; a small video is decoded to its end, to
        find its damage.
        """
        decoder = VideoDecoder(self.path, self.packets, marks, self.damaged)
        with reading(self.path, "a video"):
            frames = decoder.frames_from(None)
            decoded = list(islice(frames, _HEAD))
            if not decoded:
                raise ReadError(
                    f"{self.path}: no frame of this video decodes; it is damaged, or its codec is "
                    "not supported"
                )
            first = decoded[0][1]
            if len(marks) * first.width * first.height <= _SMALL_PIXELS:
                deque(frames, maxlen=0)
        decoder.close()
        return first, [mark for mark, _ in decoded]

    def number(self, marks: NDArray[np.int64]) -> Numbers:
        """Numbers by decoding everything once and noting in which order the marks come out."""
        decoder = VideoDecoder(self.path, self.packets, marks, self.damaged)
        with reading(self.path, "a video"):
            order = [mark for mark, _ in decoder.frames_from(None)]
        decoder.close()
        if len(set(order)) != len(order) or not order:
            raise ReadError(
                f"{self.path}: the decoder does not tell which frame is which; "
                "convert the video to MP4 first"
            )
        places = {int(mark): place for place, mark in enumerate(marks) if mark >= 0}
        numbers = np.full(len(marks), -1, np.int64)
        numbers[[places[mark] for mark in order]] = np.arange(len(order))
        return numbers

    def _drop_lost_tail(self, numbers: Numbers, max_tail: int) -> Numbers:
        """Drop frames at the end that the decoder does not give (a file that was cut off).

        Args:
            numbers: of the frames of all packets.
            max_tail: decode at most so many frames for it; a longer tail is assumed to be whole.
        """
        last = int(numbers.max())
        visible_keys = [place for place in self.packets.starts if numbers[place] >= 0]
        tail_keys = sorted(visible_keys, key=lambda place: int(numbers[place]))[-2:]
        if not tail_keys or last - numbers[tail_keys[0]] > max_tail:
            return numbers
        # without listening: after a seek, whole videos lack references and give errors, too
        decoder = VideoDecoder(self.path, self.packets, numbers)
        with reading(self.path, "a video"):
            decoded = [number for number, _ in decoder.frames_from(tail_keys[0])]
        decoder.close()
        return np.where(numbers > max(decoded, default=last), -1, numbers)

"""Videos in, frame-exact at any place."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError
from segscope.io.base import ReadOptions, check_file, reading, refuse_options, suffix_of
from segscope.io.frame_source import LazyFrames
from segscope.io.orientation import turn_upright
from segscope.io.video.display_matrix import upright_size
from segscope.io.video.index import VideoIndex, index_video
from segscope.io.video.stream import VideoDecoder
from segscope.stack import Stack

if TYPE_CHECKING:
    from av import VideoFrame

CACHE_BYTES = 128 * 2**20
"""Decoded frames that a video holds for the next access, in bytes."""

_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".mts",
    ".m2ts", ".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".dv", ".h264", ".hevc", ".mjpeg", ".mjpg",
)  # fmt: skip
_KEYS_BACK = (0, 1, 3, 7)
"""How many key frames before the nearest one decoding starts, attempt by attempt."""


class Video:
    """A video file. Sound is ignored."""

    name = "video"
    suffixes = _SUFFIXES

    def recognises(self, path: Path) -> bool:
        if not path.is_file():
            return False
        if suffix_of(path, _SUFFIXES) is not None:
            return True
        return path.suffix.lower() == ".gif" and _is_animated_gif(path)

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open a video: frames are decoded when asked for, times are those of the file.

        Raises:
            ReadError: not a video, damaged from the start, or larger than the limits.
        """
        refuse_options(path, options)
        check_file(path)
        frames = VideoFrames(path)
        index = frames.index
        return Stack(frames, "video", None, None, index.times_s, path, meta=index.meta)


def _is_animated_gif(path: Path) -> bool:
    with path.open("rb") as file:
        return b"NETSCAPE2.0" in file.read(4096)


class VideoFrames(LazyFrames):
    """Frames (row, column, 3) uint8 RGB of a video.

    Holds one open decoder and at most `CACHE_BYTES` of decoded frames, whatever the length of the
    video. Safe to use from several threads; a copy sent to another process opens the file again.

    Args:
        path: the video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index: VideoIndex = index_video(path)
        super().__init__((self.index.count, *self.index.size_hw, 3), np.dtype(np.uint8))
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._cache: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._undecodable: set[int] = set()
        self._decoder = VideoDecoder(self.path, self.index.packets, self.index.numbers)
        self._frames: Iterator[tuple[int, VideoFrame]] = iter(())
        self._last_decoded = -1
        self._last_request = -1

    def __getstate__(self) -> dict[str, object]:
        return {
            "path": self.path,
            "index": self.index,
            "_shape": self._shape,
            "_dtype": self._dtype,
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._reset()

    def read_frame(self, index: int) -> NDArray[np.uint8]:
        with self._lock, reading(self.path, "a video"):
            is_stepping_back = index < self._last_request <= index + self._cache_size
            self._last_request = index
            if index in self._cache:
                self._cache.move_to_end(index)
                return self._cache[index].copy()
            keep_from = index
            if is_stepping_back:
                # a video can only be decoded forwards: on the way to a frame, those before it are
                # the ones needed next
                keep_from = index - self._cache_size + 1
            frame = self._find_frame(index, keep_from)
            self._store(index, self._to_array(index, frame))
            return self._cache[index].copy()

    def close(self) -> None:
        """Release the file and the cached frames; the next access opens it again."""
        with self._lock:
            self._decoder.close()
            self._frames = iter(())
            self._last_decoded = -1
            self._cache.clear()

    @property
    def cached_count(self) -> int:
        """How many decoded frames are in memory."""
        return len(self._cache)

    @property
    def _cache_size(self) -> int:
        """How many frames the cache holds."""
        rows, columns = self.index.size_hw
        return max(1, CACHE_BYTES // (3 * rows * columns))

    def _store(self, index: int, array: NDArray[np.uint8]) -> None:
        self._cache[index] = array
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)

    def _to_array(self, index: int, frame: VideoFrame) -> NDArray[np.uint8]:
        orientation = self.index.orientation
        rows, columns = upright_size(frame, orientation)
        if (rows, columns) != self.index.size_hw:
            first_rows, first_columns = self.index.size_hw
            raise ReadError(
                f"{self.path}: frame {index} is {rows} x {columns} (rows x columns), but the first "
                f"is {first_rows} x {first_columns}; the size changes inside the video. "
                "Cut it there."
            )
        pixels = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        return np.ascontiguousarray(turn_upright(pixels, orientation))

    def _find_frame(self, index: int, keep_from: int) -> VideoFrame:
        """The decoded frame: by decoding on if no key frame lies between, else from key frames ever
        further back.
        """
        if index in self._undecodable:
            raise self._undecodable_error(index)
        nearest_key = int(np.searchsorted(self.index.key_frames, index, side="right")) - 1
        if self._can_decode_on(index, nearest_key):
            frame = self._decode_until(index, index)
            if frame is not None:
                return frame
        starts = [
            int(self.index.keys[nearest_key - back]) for back in _KEYS_BACK if back <= nearest_key
        ]
        for start in (*starts, None):
            frame = self._decode_from(start, index, keep_from)
            if frame is not None:
                return frame
        self._undecodable.add(index)
        raise self._undecodable_error(index)

    def _can_decode_on(self, index: int, nearest_key: int) -> bool:
        """Whether the running decoder reaches a frame sooner than a seek would."""
        if not 0 <= self._last_decoded < index:
            return False
        if index == self._last_decoded + 1 or nearest_key < 0:
            return True
        return bool(self.index.key_frames[nearest_key] <= self._last_decoded)

    def _undecodable_error(self, index: int) -> ReadError:
        return ReadError(
            f"{self.path}: frame {index} of {len(self)} cannot be decoded; the video is damaged "
            "there. Repair or convert it, or use the frames before and after."
        )

    def _decode_from(self, key: int | None, index: int, keep_from: int) -> VideoFrame | None:
        self._frames = self._decoder.frames_from(key)
        self._last_decoded = -1
        return self._decode_until(index, keep_from)

    def _decode_until(self, index: int, keep_from: int) -> VideoFrame | None:
        """Decode on until the frame comes; None when it was skipped or the video ended."""
        for number, frame in self._frames:
            self._last_decoded = number
            if number == index:
                return frame
            if number > index:
                return None
            if number >= keep_from and number not in self._cache:
                self._store(number, self._to_array(number, frame))
        self._last_decoded = -1
        return None


FORMATS = (Video(),)

"""Videos in, frame-exact at any place; folders of frames in; overlay videos out."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segscope.errors import ReadError, UsageError, WriteError
from segscope.files import atomic
from segscope.io.base import ReadOptions, check_declared, suffix_of
from segscope.io.byte_sources import check_file, reading, refuse_options
from segscope.io.frame_source import LazyFrames
from segscope.io.video.index import VideoIndex, index_video
from segscope.io.video.stream import Decoder
from segscope.stack import Stack

KEPT_BYTES = 128 * 2**20
"""Decoded frames that a video keeps for the next access, in bytes."""

_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts", ".wmv",
             ".flv", ".ogv", ".3gp", ".mxf", ".dv", ".h264", ".hevc", ".mjpeg")  # fmt: skip
_PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".pnm", ".tif", ".tiff")
_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")


class Video:
    """A video file. Sound is ignored."""

    name = "video"
    suffixes = _SUFFIXES

    def recognises(self, path: Path) -> bool:
        if not path.is_file():
            return False
        return suffix_of(path, _SUFFIXES) is not None or (
            path.suffix.lower() == ".gif" and _is_animated_gif(path)
        )

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open a video: frames are decoded when asked for, times are those of the file.

        Raises:
            ReadError: not a video, damaged from the start, or larger than the limits.
        """
        refuse_options(path, options)
        check_file(path)
        source = VideoFrames(path)
        return Stack(
            source, "video", None, None, source.index.times_s, path, meta=source.index.meta
        )


def _is_animated_gif(path: Path) -> bool:
    with path.open("rb") as file:
        return b"NETSCAPE2.0" in file.read(4096)


class VideoFrames(LazyFrames):
    """Frames (row, column, 3) uint8 RGB of a video as a `FrameSource`.

    Holds one open decoder and at most `KEPT_BYTES` of decoded frames, whatever the length of the
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
        self._kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._bad: set[int] = set()
        self._decoder = Decoder(self.path, self.index.packets, self.index.numbers)
        self._frames: Iterator[tuple[int, Any]] = iter(())
        self._at = -1  # number of the frame that was decoded last
        self._asked = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "index": self.index, "_shape": self.shape, "_dtype": self.dtype}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def read_frame(self, index: int) -> NDArray[np.uint8]:
        with self._lock, reading(self.path, "a video"):
            stepping_back = index < self._asked <= index + self._room
            self._asked = index
            if index in self._kept:
                self._kept.move_to_end(index)
            else:
                # a video can only be decoded forwards: on the way to a frame, those before it are
                # what comes next
                frame = self._find(
                    index, keep_from=index - self._room + 1 if stepping_back else index
                )
                self._keep(index, self._array(index, frame))
            return self._kept[index].copy()

    def close(self) -> None:
        """Let go of the file and of the frames that are kept; the next access opens it again."""
        with self._lock:
            self._decoder.close()
            self._frames = iter(())
            self._at = -1
            self._kept.clear()

    @property
    def _room(self) -> int:
        """How many frames are kept."""
        return max(1, KEPT_BYTES // (3 * self.index.size_hw[0] * self.index.size_hw[1]))

    def _keep(self, index: int, array: NDArray[np.uint8]) -> None:
        self._kept[index] = array
        while len(self._kept) > self._room:
            self._kept.popitem(last=False)

    def _array(self, index: int, frame: Any) -> NDArray[np.uint8]:
        turns = self.index.quarter_turns
        if turns % 2:
            size = (frame.width, frame.height)
        else:
            size = (frame.height, frame.width)
        if size != self.index.size_hw:
            raise ReadError(
                f"{self.path}: frame {index} is {size[0]} x {size[1]} (rows x columns), the first is "
                f"{self.index.size_hw[0]} x {self.index.size_hw[1]}; the size changes inside the video. Cut it there."
            )
        pixels: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
        if turns:
            return np.ascontiguousarray(np.rot90(pixels, turns))
        return pixels

    def _find(self, index: int, keep_from: int) -> Any:
        """The decoded frame: decoding on if no key frame lies between, else from key frames ever
        further back.
        """
        if index in self._bad:
            raise self._missing(index)
        last = int(np.searchsorted(self.index.key_frames, index, side="right")) - 1
        if 0 <= self._at < index and (
            index == self._at + 1 or last < 0 or self.index.key_frames[last] <= self._at
        ):
            frame = self._forward(index, index)
            if frame is not None:
                return frame
        for back in (0, 1, 3, 7):
            if last - back >= 0:
                frame = self._from(int(self.index.keys[last - back]), index, keep_from)
                if frame is not None:
                    return frame
        frame = self._from(None, index, keep_from)
        if frame is None:
            self._bad.add(index)
            raise self._missing(index)
        return frame

    def _missing(self, index: int) -> ReadError:
        return ReadError(
            f"{self.path}: frame {index} of {len(self)} cannot be decoded; the video is damaged there. Repair or "
            "convert it, or use the frames before and after."
        )

    def _from(self, key: int | None, index: int, keep_from: int) -> Any:
        self._frames = self._decoder.frames_from(key)
        self._at = -1
        return self._forward(index, keep_from)

    def _forward(self, index: int, keep_from: int) -> Any:
        """Decode on until the frame comes; None when it was passed or the video ended."""
        for number, frame in self._frames:
            self._at = number
            if number == index:
                return frame
            if number > index:
                return None
            if number >= keep_from and number not in self._kept:
                self._keep(number, self._array(number, frame))
        self._at = -1
        return None


class FrameFolder:
    """A folder with one image file a frame, in the natural order of their names (2 before 10)."""

    name = "folder of frames"
    suffixes = ()

    def recognises(self, path: Path) -> bool:
        return path.is_dir() and any(suffix_of(file, _PICTURES) for file in path.iterdir())

    def read(self, path: Path, options: ReadOptions) -> Stack:
        """Open a folder of frames as a video without times.

        Raises:
            ReadError: frames of different sizes, a damaged file, or two files for one frame.
        """
        refuse_options(path, options)
        files, notes = _frame_files(path)
        source = ImageFrames(files)
        meta = {"frame_files": tuple(file.name for file in files), "notes": notes}
        return Stack(source, "video", None, None, None, path, meta=meta)


def _frame_files(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    found = [file for file in folder.iterdir() if not file.name.startswith(".")]
    files = sorted(
        (file for file in found if file.is_file() and suffix_of(file, _PICTURES)), key=_natural
    )
    for one, other in pairwise(files):
        if one.stem == other.stem:
            raise ReadError(
                f"{folder} holds {one.name} and {other.name} for one frame; keep one file a frame"
            )
    left_out = len(found) - len(files)
    return files, ((f"{left_out} entries left out: not images",) if left_out else ())


def _natural(file: Path) -> tuple[list[tuple[int, int | str]], str]:
    parts = re.split(r"(\d+)", file.stem.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part], file.name


class ImageFrames(LazyFrames):
    """Image files of one size as a `FrameSource`; nothing is held in memory between two accesses."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files
        first = _image(files[0])
        sizes = {files[0]: (first.shape[:2], first.ndim)}
        for file in files[1:]:
            sizes[file] = _size_of(file)
        for file, (size, _) in sizes.items():
            if size != first.shape[:2]:
                raise ReadError(
                    f"{file} is {size[0]} x {size[1]} pixels (rows x columns), {files[0].name} is "
                    f"{first.shape[0]} x {first.shape[1]}; frames of one video have one size. Put others elsewhere."
                )
        self._colour = max(dimensions for _, dimensions in sizes.values()) == 3
        shape = (len(files), *first.shape[:2], *((3,) if self._colour else ()))
        check_declared(files[0], shape, first.dtype.itemsize)
        super().__init__(shape, first.dtype)

    def read_frame(self, index: int) -> NDArray[Any]:
        pixels = _image(self.files[index])
        if self._colour and pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if pixels.shape != self._shape[1:] or pixels.dtype != self._dtype:
            raise ReadError(
                f"{self.files[index]} holds {pixels.shape} of {pixels.dtype}, the first frame {self._shape[1:]} of "
                f"{self._dtype}; frames of one video are of one kind"
            )
        return pixels


def _image(file: Path) -> NDArray[Any]:
    from segscope.io import image_files
    from segscope.io.tiff import reader as tiff_reader

    reader: Any = (
        tiff_reader.FORMATS[0]
        if file.suffix.lower() in (".tif", ".tiff")
        else image_files.ImageFile()
    )
    stack = reader.read(file, ReadOptions())
    if len(stack) != 1:
        raise ReadError(f"{file} holds {len(stack)} pages; a folder of frames has one image a file")
    pixels: NDArray[Any] = stack[0]
    return pixels


def _size_of(file: Path) -> tuple[tuple[int, int], int]:
    """Rows and columns as shown, and 3 for colours or 2 for grey, from the header alone."""
    if file.suffix.lower() in (".tif", ".tiff"):
        pixels = _image(file)
        return (pixels.shape[0], pixels.shape[1]), pixels.ndim
    from PIL import Image

    check_file(file)
    with reading(file, "a image"), Image.open(file) as image:
        if image.getexif().get(274, 1) >= 5:
            size = (image.width, image.height)
        else:
            size = (image.height, image.width)
        return size, 2 if image.mode in ("1", "L", "LA", "F") or image.mode.startswith("I") else 3


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write frames as H.264 in MP4 (yuv420p, plays everywhere); one frame is held at a time.

    Args:
        path: ends in .mp4.
        frames: (row, column, 3) uint8 RGB, all of one size; odd sizes are padded by repeating the
            edge.
        fps: frames a second.

    Raises:
        UsageError: no frames, another layout, or a rate that is none.
        WriteError: the encoder or the file system refuses. Nothing is left behind.
    """
    if not (np.isfinite(fps) and 0 < fps <= 1000):
        raise UsageError(f"frames a second are above 0 and at most 1000, got {fps}")
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"videos are written as .mp4, got {path.name}")
    with atomic(path) as part:
        _encode(path, part, frames, Fraction(fps).limit_denominator(1001))


def _encode(path: Path, part: Path, frames: Iterable[NDArray[np.uint8]], rate: Fraction) -> None:
    import av
    from av.error import FFmpegError

    shape: tuple[int, ...] = ()
    stream: Any = None
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
            for given in frames:
                array = np.asarray(given)
                if (
                    array.dtype != np.uint8
                    or array.ndim != 3
                    or array.shape[2] != 3
                    or shape not in ((), array.shape)
                ):
                    raise UsageError(
                        f"video frames are (row, column, 3) uint8 of one size, got {array.shape} of {array.dtype}"
                    )
                if stream is None:
                    shape = array.shape
                    stream = _stream(container, array.shape, rate)
                padded = np.pad(array, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
            if stream is None:
                raise UsageError(f"{path}: no frames to write")
            container.mux(stream.encode(None))
    except FFmpegError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _stream(container: Any, shape: tuple[int, ...], rate: Fraction) -> Any:
    from av.codec import codecs_available

    encoder = next((name for name in _ENCODERS if name in codecs_available), "mpeg4")
    stream = container.add_stream(encoder, rate=rate)
    stream.height = shape[0] + shape[0] % 2
    stream.width = shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"  # what every player shows
    if encoder == "libx264":
        stream.options = {"crf": "18", "preset": "veryfast"}
    return stream


FORMATS = (Video(), FrameFolder())

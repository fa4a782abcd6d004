"""Overlay videos out."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segscope.arrays import Pixels
from segscope.errors import UsageError, WriteError
from segscope.files import atomic

if TYPE_CHECKING:
    from av.container import OutputContainer

_ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "mpeg4")
_MAX_FPS = 1000


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]], fps: float) -> None:
    """Write frames as H.264 in MP4 (yuv420p, plays everywhere), holding one frame at a time.

    Args:
        path: ends in .mp4.
        frames: (row, column, 3) uint8 RGB, all of one size; odd sizes are padded by repeating the
            edge.
        fps: frames per second.

    Raises:
        UsageError: no frames, another layout, or an impossible rate.
        WriteError: the encoder or the file system refuses. Nothing is left behind.
    """
    if not 0 < fps <= _MAX_FPS:
        raise UsageError(f"frames per second must be above 0 and at most {_MAX_FPS}, got {fps}")
    if path.suffix.lower() != ".mp4":
        raise UsageError(f"videos are written as .mp4, got {path.name}")
    with atomic(path) as part:
        _encode_file(path, part, frames, Fraction(fps).limit_denominator(1001))


def _encode_file(
    path: Path, part: Path, frames: Iterable[NDArray[np.uint8]], rate: Fraction
) -> None:
    import av
    from av.error import FFmpegError

    shape: tuple[int, ...] | None = None
    stream: Any = None
    try:
        with av.open(str(part), "w", format="mp4", options={"movflags": "faststart"}) as container:
            for frame in frames:
                array = np.asarray(frame)
                _check_frame(array, shape)
                if stream is None:
                    shape = array.shape
                    stream = _add_stream(container, array.shape, rate)
                padding = ((0, array.shape[0] % 2), (0, array.shape[1] % 2), (0, 0))
                padded = np.pad(array, padding, mode="edge")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(padded, format="rgb24")))
            if stream is None:
                raise UsageError(f"{path}: no frames to write")
            container.mux(stream.encode(None))
    except FFmpegError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def _check_frame(array: Pixels, shape: tuple[int, ...] | None) -> None:
    is_rgb = array.dtype == np.uint8 and array.shape[2:] == (3,)
    if not is_rgb or shape not in (None, array.shape):
        raise UsageError(
            "video frames must be (row, column, 3) uint8 of one size, "
            f"got {array.shape} of {array.dtype}"
        )


def _add_stream(container: OutputContainer, shape: tuple[int, ...], rate: Fraction) -> Any:
    from av.codec import codecs_available

    available = [name for name in _ENCODERS if name in codecs_available]
    encoder = next(iter(available), "mpeg4")
    stream: Any = container.add_stream(encoder, rate=rate)
    stream.height = shape[0] + shape[0] % 2
    stream.width = shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"  # what every player shows
    if encoder == "libx264":
        stream.options = {"crf": "18", "preset": "veryfast"}
    return stream

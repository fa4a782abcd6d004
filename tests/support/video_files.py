"""Small videos with numbered frames."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec import codecs_available

COUNT, SIZE_HW = 90, (48, 100)


KINDS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"codec": "libx264", "b_frames": 2},
    "variable_rate.mp4": {"codec": "libx264", "b_frames": 2, "variable": True},
    "open_groups.mp4": {
        "codec": "libx264",
        "b_frames": 2,
        "options": {"x264-params": "open-gop=1"},
    },
    "pyramid.ts": {
        "codec": "libx264",
        "form": "mpegts",
        "b_frames": 3,
        "options": {"x264-params": "open-gop=1:ref=6:keyint=9:scenecut=0"},
    },
    "intra_refresh.mp4": {"codec": "libx264", "options": {"x264-params": "intra-refresh=1"}},
    "one_key_frame.mkv": {"codec": "libx264", "group": 250},
    "ten_bit.mkv": {"codec": "libx264", "pixels": "yuv420p10le"},
    "interlaced.ts": {"codec": "libx264", "form": "mpegts", "options": {"flags": "+ildct+ilme"}},
    "hevc.mp4": {"codec": "libx265", "b_frames": 2, "options": {"x265-params": "log-level=none"}},
    "motion_jpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "old.avi": {"codec": "mpeg4", "b_frames": 2},
    "no_times.avi": {"codec": "libx264", "b_frames": 2},
    "program_stream.mpg": {"codec": "mpeg2video", "form": "mpeg", "b_frames": 2},
    "transport_stream.ts": {"codec": "mpeg2video", "form": "mpegts", "b_frames": 2},
    "vp8.webm": {
        "codec": "libvpx",
        "options": {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"},
    },
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "lossless.mkv": {"codec": "ffv1"},
    "raw.mjpeg": {"codec": "mjpeg", "form": "mjpeg", "pixels": "yuvj420p"},
    "animated.gif": {"codec": "gif", "pixels": "rgb8"},
}


def image(number: int, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """A frame that carries its number as bright and dark fields, and something that moves."""
    found = np.zeros((*size_hw, 3), np.uint8)
    for bit in range(12):
        if number >> bit & 1:
            found[4:20, bit * 8 : bit * 8 + 8] = 255
    x = number * 3 % (size_hw[1] - 12)
    found[28:40, x : x + 12] = (200, 100, 50)
    return found


def set_display_matrix(path: Path, matrix: tuple[float, float, float, float]) -> None:
    """Write a display matrix (a, b, c, d) into a MOV or MP4 file."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(number * 65536) for number in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


def number_in(frame: np.ndarray) -> int:
    return sum(1 << bit for bit in range(12) if frame[7:17, bit * 8 + 2 : bit * 8 + 6].mean() > 128)


def make(
    path: Path,
    codec: str,
    *,
    count: int = COUNT,
    form: str | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    variable: bool = False,
    group: int = 12,
    b_frames: int | None = None,
    first_pts: int = 0,
    mux: dict[str, str] | None = None,
) -> Path:
    """A video whose frames are `image`s of their numbers."""
    if codec not in codecs_available:
        pytest.skip(f"this build of PyAV has no {codec}")
    with av.open(str(path), "w", format=form, options=mux or {}) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *SIZE_HW, pixels
        stream.options = options or {}
        stream.codec_context.gop_size = group
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if variable:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(image(number), format="rgb24")
            if variable:
                frame.pts, frame.time_base = 40 * number + 5 * (number % 7), Fraction(1, 1000)
            elif first_pts:
                frame.pts, frame.time_base = number + first_pts, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path

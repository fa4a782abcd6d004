"""What 8-bit RGB frames do not carry is noted."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.video_files import KINDS, image, make, set_display_matrix

from segscope import io


def notes_of(path: Path) -> tuple[str, ...]:
    notes: tuple[str, ...] = io.read(path).meta["notes"]
    return notes


@pytest.mark.parametrize(
    ("pixels", "note"),
    [
        ("yuv420p10le", "10 bits of a colour are read as 8"),
        ("gray16le", "16 bits of a colour are read as 8"),
        ("yuva420p", "transparency is ignored"),
        ("yuv420p", ""),
    ],
)
def test_bits_and_transparency(pixels: str, note: str, tmp_path: Path) -> None:
    notes = notes_of(make(tmp_path / "a.mkv", "ffv1", pixels=pixels, count=5))
    assert " ".join(notes) == note


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG"), (1, "")])
def test_high_dynamic_range(curve: int, name: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 100, "yuv420p10le"
        stream.codec_context.color_trc = curve
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image(0), format="rgb24")))
        container.mux(stream.encode(None))
    found = [note for note in notes_of(tmp_path / "a.mkv") if "high dynamic range" in note]
    assert bool(found) == bool(name)
    assert name in " ".join(found)


def test_interlaced_video(tmp_path: Path) -> None:
    assert "interlaced" in notes_of(make(tmp_path / "a.ts", **KINDS["interlaced.ts"]))[0]


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(12, 11), Fraction(1)])
def test_pixels_that_are_not_square(aspect: Fraction, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 100, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(image(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    stack = io.read(tmp_path / "a.mkv")
    is_square = aspect == 1
    assert stack.meta.get("pixel_aspect", 1) == pytest.approx(float(aspect))
    assert bool(stack.meta["notes"]) != is_square


def test_their_ratio_turns_with_the_video(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 100, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image(0), format="rgb24")))
        container.mux(stream.encode(None))
    set_display_matrix(path, (0, 1, -1, 0))
    assert io.read(path).meta["pixel_aspect"] == pytest.approx(0.5)


def test_a_comment_behind_the_images_of_a_gif_is_no_frame(tmp_path: Path) -> None:
    path = make(tmp_path / "a.gif", "gif", pixels="rgb8", count=8)
    data = path.read_bytes()
    comment = b"\x21\xfe\x05hello\x00"
    assert data.endswith(b"\x3b")
    path.write_bytes(data[:-1] + comment + b"\x3b")
    stack = io.read(path)
    assert len(stack) == 8
    assert stack.meta["notes"] == ()
    np.testing.assert_array_equal(
        stack[7], io.read(make(tmp_path / "b.gif", "gif", pixels="rgb8", count=8))[7]
    )

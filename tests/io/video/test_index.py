"""Which frames a video has, whole or damaged."""

from __future__ import annotations

import re
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.video_files import COUNT, KINDS, SIZE_HW, image, make, number_in

from segscope import io
from segscope.errors import ReadError
from segscope.io.video.reader import VideoFrames


class TestFiles:
    def test_a_rotated_video_is_upright(self, plain: Path, tmp_path: Path) -> None:
        """The matrix of a phone that was held upright: shown turned by 90 degrees clockwise."""
        data = bytearray(plain.read_bytes())
        place = data.index(b"tkhd") + 4
        matrix = place + 40
        assert struct.unpack(">i", data[matrix : matrix + 4]) == (65536,)
        data[matrix : matrix + 36] = struct.pack(
            ">9i", 0, 65536, 0, -65536, 0, 0, SIZE_HW[0] << 16, 0, 1 << 30
        )
        (tmp_path / "turned.mp4").write_bytes(data)
        stack, straight = io.read(tmp_path / "turned.mp4"), io.read(plain)
        assert stack.size_hw == SIZE_HW[::-1]
        assert np.array_equal(stack[7], np.rot90(straight[7], -1))

    def test_frames_that_an_edit_list_cuts_away_are_not_there(self, tmp_path: Path) -> None:
        path = make(tmp_path / "cut.mp4", "libx264", b_frames=2, first_pts=-20)
        with av.open(str(path)) as container:
            shown = [
                number_in(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)
            ]
        stack = io.read(path)
        assert len(shown) == len(stack)
        assert [number_in(stack[index]) for index in range(len(stack))] == shown
        frames = VideoFrames(path)
        assert number_in(frames[len(shown) - 3]) == shown[-3]
        assert number_in(frames[1]) == shown[1]


class TestDamaged:
    @pytest.mark.parametrize(
        ("name", "mux"),
        [
            ("b_frames.mp4", {"movflags": "faststart"}),
            ("one_key_frame.mkv", {}),
            ("program_stream.mpg", {}),
            ("motion_jpeg.avi", {}),
            ("transport_stream.ts", {}),
            ("vp9.webm", {}),
        ],
    )
    def test_a_cut_off_video_gives_the_frames_that_decode(
        self, tmp_path: Path, name: str, mux: dict[str, str]
    ) -> None:
        path = make(tmp_path / name, **KINDS[name], mux=mux)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * 0.6)])
        stack = io.read(path)
        assert 20 < len(stack) < COUNT
        assert stack.times_s is not None
        for index in (
            len(stack) - 1,
            0,
            len(stack) // 2,
        ):  # among the last ones some may be missing
            assert number_in(stack[index]) == round(stack.times_s[index] * 25)
        if name in ("b_frames.mp4", "motion_jpeg.avi"):  # those whose header counts the frames
            note = stack.meta["notes"][0]
            assert re.fullmatch(
                r"the file ends early: it holds \d\d of the 90 frames it declares", note
            )

    def test_a_video_without_its_index_is_refused(self, plain: Path, tmp_path: Path) -> None:
        (tmp_path / "cut.mp4").write_bytes(plain.read_bytes()[: plain.stat().st_size // 2])
        with pytest.raises(ReadError, match=r"cut\.mp4"):
            io.read(tmp_path / "cut.mp4")

    def with_hole(self, path: Path, number: int) -> Path:
        make(path, "mjpeg", pixels="yuvj420p")
        data = bytearray(path.read_bytes())
        with av.open(str(path)) as container:
            packets = [packet for packet in container.demux(video=0) if packet.size]
        place = data.index(bytes(packets[number]))
        data[place : place + packets[number].size] = b"\0" * packets[number].size
        path.write_bytes(data)
        return path

    def test_a_damaged_frame_is_refused_and_others_are_read(self, tmp_path: Path) -> None:
        frames = VideoFrames(self.with_hole(tmp_path / "hole.avi", 70))
        for _ in range(2):
            with pytest.raises(ReadError, match="frame 70 of 90 cannot be decoded"):
                frames[70]
        assert number_in(frames[71]) == 71
        assert number_in(frames[69]) == 69

    def test_a_frame_missing_near_the_start_leaves_the_times_of_others(
        self, tmp_path: Path
    ) -> None:
        stack = io.read(self.with_hole(tmp_path / "hole.avi", 40))
        assert len(stack) == COUNT - 1
        assert stack.times_s is not None
        for index in (39, 40, 88):
            assert number_in(stack[index]) == round(stack.times_s[index] * 25)
        assert any("left out: 1" in note for note in stack.meta["notes"])

    @pytest.mark.parametrize(
        "content", [b"", b"hello", bytes(5000), b"RIFF" + bytes(100), b"#EXTM3U\n/etc/passwd\n"]
    )
    def test_what_is_no_video_is_refused(self, tmp_path: Path, content: bytes) -> None:
        for suffix in (".mp4", ".avi", ".mpg", ".mkv"):
            path = tmp_path / f"bad{suffix}"
            path.write_bytes(content)
            with pytest.raises(ReadError) as refusal:
                io.read(path)
            assert path.name in str(refusal.value)

    def test_a_size_that_changes_inside_is_refused_there(self, tmp_path: Path) -> None:
        path = tmp_path / "two.ts"
        small = make(tmp_path / "a.ts", "mpeg2video", form="mpegts", count=30)
        with av.open(str(tmp_path / "b.ts"), "w", format="mpegts") as container:
            stream: Any = container.add_stream("mpeg2video", rate=25)
            stream.height, stream.width, stream.pix_fmt = 64, 128, "yuv420p"
            for number in range(30):
                frame = av.VideoFrame.from_ndarray(image(number, (64, 128)), format="rgb24")
                frame.pts, frame.time_base = number + 40, Fraction(1, 25)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        path.write_bytes(small.read_bytes() + (tmp_path / "b.ts").read_bytes())
        frames = VideoFrames(path)
        assert number_in(frames[3]) == 3
        with pytest.raises(ReadError, match="size changes"):
            frames[len(frames) - 1]

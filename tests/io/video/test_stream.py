"""Packets: equal frames, other streams, and files that name others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from support.video_files import SIZE_HW, image, number_in

from segscope import io
from segscope.errors import ReadError
from segscope.io.video import reader
from segscope.io.video.reader import VideoFrames


class TestFiles:
    def test_sound_is_ignored(self, tmp_path: Path) -> None:
        path = tmp_path / "sound.mkv"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("mpeg4", rate=25)
            stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
            sound: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            for number in range(10):
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(image(number), format="rgb24"))
                )
                noise = av.AudioFrame.from_ndarray(
                    np.zeros((1, 320), np.int16), format="s16", layout="mono"
                )
                noise.rate, noise.pts = 8000, number * 320
                container.mux(sound.encode(noise))
            container.mux(stream.encode(None))
        stack = io.read(path)
        assert [number_in(stack[index]) for index in (9, 0, 5)] == [9, 0, 5]
        assert stack.meta["notes"] == ()

    def test_of_several_streams_the_first_is_read_with_a_note(self, tmp_path: Path) -> None:
        path = tmp_path / "two.mkv"
        with av.open(str(path), "w") as container:
            streams: list[Any] = [container.add_stream("ffv1", rate=25) for _ in range(2)]
            for stream in streams:
                stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuv420p"
            for number in range(5):
                for shift, stream in enumerate(streams):
                    pixels = image(number + 7 * shift)
                    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                    container.mux(stream.encode(frame))
            for stream in streams:
                container.mux(stream.encode(None))
        stack = io.read(path)
        assert [number_in(stack[index]) for index in range(5)] == list(range(5))
        assert stack.meta["notes"] == ("the file holds 2 video streams: the first is read",)

    def test_equal_frames_are_told_apart_by_their_times(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "still.avi"
        with av.open(str(path), "w") as container:
            stream: Any = container.add_stream("mjpeg", rate=25)
            stream.height, stream.width, stream.pix_fmt = *SIZE_HW, "yuvj420p"
            for number in range(300):
                shown = 1 if 20 <= number < 280 else 2 + number % 5
                container.mux(
                    stream.encode(av.VideoFrame.from_ndarray(image(shown), format="rgb24"))
                )
            container.mux(stream.encode(None))
        monkeypatch.setattr(reader, "CACHE_BYTES", 0)
        frames = VideoFrames(path)
        for index in (150, 285, 3, 279, 280, 20, 19, 299):
            assert number_in(frames[index]) == (1 if 20 <= index < 280 else 2 + index % 5)


class TestDamaged:
    def test_a_playlist_opens_no_other_file(self, plain: Path, tmp_path: Path) -> None:
        path = tmp_path / "list.mp4"
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile:{plain}\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(ReadError):
            io.read(path)
        path.write_text(f"ffconcat version 1.0\nfile {plain}\n")
        with pytest.raises(ReadError):
            io.read(path)

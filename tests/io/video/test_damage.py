"""Damage of videos becomes notes with the numbers of frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from support.video_files import COUNT, KINDS, make, number_in

from segscope import io
from segscope.errors import ReadError
from segscope.io.video.decoder_log import counting_errors

TS_PACKET = 188
Damage = Callable[[bytearray], bytes]


def notes_of(path: Path) -> str:
    return " ".join(io.read(path).meta["notes"])


def lose_packets(data: bytearray) -> bytes:
    third = len(data) // TS_PACKET // 3 * TS_PACKET
    return bytes(data[:third] + data[third + 12 * TS_PACKET :])


def add_noise(data: bytearray) -> bytes:
    third = len(data) // TS_PACKET // 3 * TS_PACKET
    noise = np.random.default_rng(1).bytes(8 * TS_PACKET)
    return bytes(data[:third] + noise + data[third + len(noise) :])


class TestTransportStream:
    @pytest.mark.parametrize("damage", [lose_packets, add_noise])
    @pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
    def test_lost_and_noisy_packets_are_noted(
        self, codec: str, damage: Damage, tmp_path: Path
    ) -> None:
        path = make(tmp_path / "a.ts", codec, form="mpegts", b_frames=2)
        assert notes_of(path) == ""
        path.write_bytes(damage(bytearray(path.read_bytes())))
        stack = io.read(path)
        damaged = [note for note in stack.meta["notes"] if "the video is damaged" in note]
        assert len(damaged) == 1
        assert stack.times_s is not None
        wrong = []
        for index, time in enumerate(stack.times_s):
            try:
                number = number_in(stack[index])
            except ReadError:
                continue
            if number != round(time * 25):
                wrong.append(index)
        listed = listed_frames(damaged[0])
        assert set(wrong) <= listed
        assert len(listed) < COUNT / 2
        if len(stack) < COUNT:
            assert "the times jump" in notes_of(path)

    def test_without_a_key_frame_it_has_no_size(self, tmp_path: Path) -> None:
        options = {"x264-params": "keyint=250:scenecut=0"}
        path = make(tmp_path / "a.ts", "libx264", form="mpegts", options=options, group=250)
        data = path.read_bytes()
        path.write_bytes(data[30 * TS_PACKET :])
        with pytest.raises(ReadError, match="no key frame that states the size"):
            io.read(path)


def listed_frames(note: str) -> set[int]:
    """The numbers that a note lists: "frames 3, 7 to 9"."""
    frames: set[int] = set()
    text = note.partition("frame")[2].lstrip("s ").partition(" may")[0]
    for part in text.split(", "):
        first, _, last = part.partition(" to ")
        frames.update(range(int(first), int(last or first) + 1))
    return frames


class TestDecoder:
    @pytest.mark.parametrize(
        ("codec", "name", "pixels"),
        [
            ("libx264", "a.mp4", "yuv420p"),
            ("mpeg4", "a.avi", "yuv420p"),
            ("mpeg2video", "a.mpg", "yuv420p"),
            ("mjpeg", "a.avi", "yuvj420p"),
            ("ffv1", "a.mkv", "yuv420p"),
        ],
    )
    def test_its_errors_are_noted(self, codec: str, name: str, pixels: str, tmp_path: Path) -> None:
        options = {"slicecrc": "1", "level": "3"} if codec == "ffv1" else {}
        path = make(tmp_path / name, codec, pixels=pixels, options=options)
        with av.open(str(path)) as container:
            packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        data = bytearray(path.read_bytes())
        content = packets[40]
        place = data.index(content[-24:])
        data[place : place + 20] = np.random.default_rng(5).bytes(20)
        path.write_bytes(data)
        assert "the video is damaged" in notes_of(path)

    @pytest.mark.parametrize("name", KINDS)
    def test_a_whole_video_has_no_such_note(self, name: str, tmp_path: Path) -> None:
        notes = notes_of(make(tmp_path / name, **KINDS[name]))
        assert "damaged" not in notes
        assert "jump" not in notes
        assert "early" not in notes

    def test_its_log_is_silent_again_afterwards(self) -> None:
        assert av.logging.get_level() is None
        with counting_errors() as count:
            av.logging.log(av.logging.ERROR, "test", "an error")
            av.logging.log(av.logging.WARNING, "test", "a warning")
        assert count == [1]
        assert av.logging.get_level() is None


class TestTimes:
    def test_a_varying_rate_is_no_damage(self, tmp_path: Path) -> None:
        assert notes_of(make(tmp_path / "a.mp4", **KINDS["variable_rate.mp4"])) == ""

    def test_a_jump_is_noted_with_its_frame(self, plain: Path, tmp_path: Path) -> None:
        path = tmp_path / "jump.mkv"
        with av.open(str(plain)) as source, av.open(str(path), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is None:
                    continue
                if packet.pts >= 48 * packet.duration:
                    packet.pts += 5 * packet.duration
                    packet.dts += 5 * packet.duration
                packet.stream = stream
                target.mux(packet)
        assert "the times jump 1 time, after frame 47:" in notes_of(path)

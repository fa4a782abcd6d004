"""Videos: the right frame at every place, whatever the container says; folders of frames; videos out."""

from __future__ import annotations

import pickle
import random
import struct
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.codec import codecs_available
from PIL import Image
from support.data import data_folder

from segscope import io
from segscope.errors import ReadError, UsageError
from segscope.io.video import reader
from segscope.io.video.reader import VideoFrames
from segscope.io.video.stream import VideoDecoder
from segscope.io.video.writer import write_video

COUNT, SIZE_HW = 90, (48, 100)

KINDS: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"codec": "libx264", "b_frames": 2},
    "variable_rate.mp4": {"codec": "libx264", "b_frames": 2, "variable": True},
    "open_groups.mp4": {
        "codec": "libx264",
        "b_frames": 2,
        "options": {"x264-params": "open-gop=1"},
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


def number_in(frame: np.ndarray) -> int:
    return sum(1 << bit for bit in range(12) if frame[7:17, bit * 8 + 2 : bit * 8 + 6].mean() > 128)


def make(path: Path, codec: str, *, count: int = COUNT, form: str | None = None, pixels: str = "yuv420p",
         options: dict[str, str] | None = None, variable: bool = False, group: int = 12, b_frames: int | None = None,
         first_pts: int = 0, mux: dict[str, str] | None = None) -> Path:  # fmt: skip
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


@pytest.fixture(scope="module", params=KINDS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clips") / request.param, **KINDS[request.param])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("plain") / "plain.mp4", "libx264", b_frames=2)


class TestEveryKind:
    def test_frames_are_right_in_order_and_at_random(
        self, clip: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stack = io.read(clip)
        assert (stack.kind, stack.source.shape, stack.source.dtype) == (
            "video",
            (COUNT, *SIZE_HW, 3),
            np.uint8,
        )
        assert [number_in(stack[index]) for index in range(COUNT)] == list(range(COUNT))
        monkeypatch.setattr(reader, "CACHE_BYTES", 0)
        chance = random.Random(1)
        fresh = VideoFrames(clip)
        for _ in range(40):
            index = chance.randrange(COUNT)
            assert number_in(fresh[index]) == index

    def test_every_frame_is_right_when_it_is_the_first_to_be_asked_for(self, clip: Path) -> None:
        frames = VideoFrames(clip)
        for index in range(0, COUNT, 9):
            frames.close()
            assert number_in(frames[index]) == index

    def test_backwards(self, clip: Path) -> None:
        frames = VideoFrames(clip)
        for index in range(COUNT - 1, -1, -11):
            frames.close()
            assert number_in(frames[index]) == index

    def test_times_are_those_of_the_file(self, clip: Path) -> None:
        stack = io.read(clip)
        wanted = np.arange(COUNT) * 0.04
        if "variable" in clip.name:
            wanted = np.array([40 * number + 5 * (number % 7) for number in range(COUNT)]) / 1000
        assert stack.times_s is not None
        np.testing.assert_allclose(stack.times_s, wanted, atol=2e-3)


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

    def test_many_frames_take_little_memory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make(
            tmp_path / "long.mp4", "libx264", count=3000, options={"preset": "ultrafast"}, group=50
        )
        monkeypatch.setattr(reader, "CACHE_BYTES", 10 * SIZE_HW[0] * SIZE_HW[1] * 3)
        frames = VideoFrames(path)
        for index in range(3000):
            assert number_in(frames[index]) == index
            assert frames.cached_count <= 10

    def test_going_back_decodes_a_group_once_for_many_frames(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = VideoFrames(make(tmp_path / "one_key.mkv", "libx264", group=250))
        monkeypatch.setattr(reader, "CACHE_BYTES", 16 * SIZE_HW[0] * SIZE_HW[1] * 3)
        jumps: list[int | None] = []
        go = VideoDecoder.frames_from
        monkeypatch.setattr(
            VideoDecoder, "frames_from", lambda self, key: jumps.append(key) or go(self, key)
        )
        assert [number_in(frames[index]) for index in range(COUNT - 1, -1, -1)] == list(
            range(COUNT - 1, -1, -1)
        )
        assert len(jumps) < 10
        assert frames.cached_count <= 16

    def test_threads_and_copies_get_the_right_frames(self, plain: Path) -> None:
        frames = pickle.loads(pickle.dumps(VideoFrames(plain)))
        wrong: list[int] = []

        def look(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(40):
                index = chance.randrange(COUNT)
                frames[index][:] = 0  # what is handed out may be written to
                if number_in(frames[index]) != index:
                    wrong.append(index)

        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong

    def test_frames_beyond_the_end_are_an_index_error(self, plain: Path) -> None:
        with pytest.raises(IndexError):
            VideoFrames(plain)[COUNT]


class TestDamaged:
    @pytest.mark.parametrize(
        ("name", "mux"),
        [("b_frames.mp4", {"movflags": "faststart"}), ("one_key_frame.mkv", {}), ("program_stream.mpg", {}),
         ("motion_jpeg.avi", {}), ("transport_stream.ts", {}), ("vp9.webm", {})],
    )  # fmt: skip
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
        assert any("1 frames do not decode" in note for note in stack.meta["notes"])

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


class TestFolders:
    def fill(
        self, folder: Path, names: list[str], mode: str = "L", size: tuple[int, int] = (8, 6)
    ) -> Path:
        folder.mkdir(exist_ok=True)
        for number, name in enumerate(names):
            Image.new(mode, size, number if mode == "L" else (number, 0, 0)).save(folder / name)
        return folder

    def test_frames_come_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        stack = io.read(
            self.fill(tmp_path / "f", ["img1.png", "img2.png", "img10.png", "img11.bmp"])
        )
        assert stack.kind == "video"
        assert stack.times_s is None
        assert [int(stack[index][0, 0]) for index in range(4)] == [0, 1, 2, 3]

    def test_other_files_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        (folder / "labels.csv").write_text("a,b")
        (folder / ".thumbs").write_text("x")
        assert io.read(folder).meta["notes"] == ("1 entries left out: not images",)

    def test_sizes_that_differ_are_refused_with_the_file(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        Image.new("L", (9, 6)).save(folder / "3.png")
        with pytest.raises(ReadError, match=r"3\.png is 6 x 9 .* 1\.png is 6 x 8"):
            io.read(folder)

    def test_grey_frames_among_colours_become_colours(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png"])
        Image.new("RGB", (8, 6), (5, 6, 7)).save(folder / "2.png")
        stack = io.read(folder)
        assert stack.source.shape == (2, 6, 8, 3)
        assert stack[1][0, 0].tolist() == [5, 6, 7]

    def test_two_files_for_one_frame_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ReadError, match=r"1\.bmp and 1\.png"):
            io.read(self.fill(tmp_path / "f", ["1.png", "1.bmp"]))

    def test_a_damaged_frame_is_named(self, tmp_path: Path) -> None:
        folder = self.fill(tmp_path / "f", ["1.png", "2.png"])
        (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
        with pytest.raises(ReadError, match=r"2\.png"):
            io.read(folder)[1]

    def test_real_frames_and_clips(self) -> None:
        frames = data_folder("video_larynx_surgery/seq4")
        assert io.read(frames).source.shape == (66, 512, 512, 3)
        for suffix in (".mp4", ".avi"):
            stack = io.read(data_folder(f"us_heart_cine_unlabelled/patient0500_2CH{suffix}"))
            still = io.read(data_folder("us_heart_cine_unlabelled/patient0500_2CH.dcm"))
            assert len(stack) == 15
            for index in (14, 0, 7):
                near = [
                    np.abs(stack[index][..., 0].astype(int) - still[other]).mean()
                    for other in range(15)
                ]
                assert int(np.argmin(near)) == index


class TestWriting:
    @pytest.mark.parametrize("size_hw", [(48, 100), (47, 99), (2, 2)])
    def test_a_written_video_comes_back(self, tmp_path: Path, size_hw: tuple[int, int]) -> None:
        rows, columns = size_hw
        frames = [np.full((rows, columns, 3), 40 * number, np.uint8) for number in range(6)]
        write_video(tmp_path / "out.mp4", frames, 12.5)
        stack = io.read(tmp_path / "out.mp4")
        assert stack.source.shape == (6, rows + rows % 2, columns + columns % 2, 3)
        assert stack.times_s == pytest.approx(np.arange(6) / 12.5)
        assert stack.meta["pixel_format"] == "yuv420p"
        for number in range(6):
            assert abs(int(stack[number].mean()) - 40 * number) < 6

    def test_frames_are_taken_one_at_a_time(self, tmp_path: Path) -> None:
        alive: list[np.ndarray] = []

        def frames() -> Iterator[np.ndarray]:
            for number in range(200):
                alive[:] = [image(number)]
                yield alive[0]

        write_video(tmp_path / "out.mp4", frames(), 25)
        stack = io.read(tmp_path / "out.mp4")
        assert [number_in(stack[index]) for index in (199, 0, 100)] == [199, 0, 100]

    def test_nothing_is_left_of_a_failure(self, tmp_path: Path) -> None:
        def frames() -> Iterator[np.ndarray]:
            yield image(0)
            raise RuntimeError("stopped")

        (tmp_path / "out.mp4").write_bytes(b"old")
        with pytest.raises(RuntimeError, match="stopped"):
            write_video(tmp_path / "out.mp4", frames(), 25)
        assert (tmp_path / "out.mp4").read_bytes() == b"old"
        assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]

    @pytest.mark.parametrize(
        ("frames", "fps"),
        [([], 25), ([image(0)], 0), ([image(0)], float("nan")), ([image(0).astype(float)], 25),
         ([image(0)[..., 0]], 25), ([image(0), image(0)[:20]], 25)],
    )  # fmt: skip
    def test_what_is_no_video_is_refused(
        self, tmp_path: Path, frames: list[np.ndarray], fps: float
    ) -> None:
        with pytest.raises(UsageError):
            write_video(tmp_path / "out.mp4", frames, fps)
        assert not list(tmp_path.iterdir())

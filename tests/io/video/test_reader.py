"""Videos: the right frame in any order."""

from __future__ import annotations

import pickle
import random
import threading
from pathlib import Path

import numpy as np
import pytest
from support.video_files import COUNT, KINDS, SIZE_HW, make, number_in

from segscope import io
from segscope.io.video import reader
from segscope.io.video.reader import VideoFrames
from segscope.io.video.stream import VideoDecoder


@pytest.fixture(scope="module", params=KINDS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("clips") / request.param, **KINDS[request.param])


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

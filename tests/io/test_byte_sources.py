"""Bytes of untrusted files: exactly as many as asked for, or an error that says why not."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segscope.errors import ReadError
from segscope.io import byte_sources
from segscope.io.byte_sources import (
    InflatedBytes,
    MemoryBytes,
    PlainBytes,
    RawFrames,
    RawLayout,
    measure_inflated,
    open_last_bytes,
    open_plain_bytes,
)

CONTENT = np.random.default_rng(0).integers(0, 50, 5000).astype(np.uint8).tobytes()


class TestPlain:
    def test_bytes_from_an_offset(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(CONTENT)
        assert open_plain_bytes(path, 10, 100).read(5, 7) == CONTENT[15:22]
        with pytest.raises(ReadError, match="cut off"):
            open_plain_bytes(path, 10, len(CONTENT))

    def test_the_last_bytes(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(CONTENT)
        assert open_last_bytes(path, 100).read(5, 7) == CONTENT[-95:-88]
        with pytest.raises(ReadError, match="declared as its last, but it has only 5000"):
            open_last_bytes(path, 5001)

    def test_a_file_that_shrank_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(CONTENT[:20])
        with pytest.raises(ReadError, match="expected 30 bytes at byte 5, got 15"):
            PlainBytes(path, 0).read(5, 30)

    def test_a_file_that_was_replaced_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        for make in (
            lambda: PlainBytes(path, 0),
            lambda: InflatedBytes(path, 0, 0, 40),
        ):
            path.write_bytes(zlib.compress(bytes(40), 0))
            source = make()
            new = tmp_path / "b"
            new.write_bytes(zlib.compress(bytes(range(40)), 0))
            os.utime(new, ns=(1, 1))
            new.replace(path)
            with pytest.raises(ReadError, match="has changed since it was opened"):
                source.read(5, 30)

    def test_memory_ends_too(self) -> None:
        assert MemoryBytes(Path("a"), CONTENT).read(3, 4) == CONTENT[3:7]
        with pytest.raises(ReadError, match="ends early"):
            MemoryBytes(Path("a"), CONTENT).read(len(CONTENT) - 1, 2)


PACK = {
    "gzip": lambda data: gzip.compress(data),
    "zlib": lambda data: zlib.compress(data),
    "two members": lambda data: gzip.compress(data[:1234]) + gzip.compress(data[1234:]),
    "bzip2": lambda data: bz2.compress(data),
}


class TestInflated:
    @pytest.mark.parametrize("in_memory", [True, False])
    @pytest.mark.parametrize("kind", PACK)
    def test_any_part_in_any_order(
        self, kind: str, in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not in_memory:
            monkeypatch.setattr(byte_sources, "MAX_MEMORY_BYTES", 10)
        path = tmp_path / "a"
        path.write_bytes(b"head" + PACK[kind](CONTENT))
        codec: byte_sources.Codec = "bzip2" if kind == "bzip2" else "deflate"
        data = InflatedBytes(path, 4, 7, len(CONTENT) - 7, codec)
        for start, count in ((100, 50), (0, 10), (4900, 93), (1200, 100)):
            assert data.read(start, count) == CONTENT[7 + start : 7 + start + count]
        assert data.inflated_bytes == data.total

    def test_no_more_than_needed_is_inflated(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(1).integers(0, 256, 2**23).astype(np.uint8).tobytes()
        path = tmp_path / "a"
        path.write_bytes(gzip.compress(noise, 1))
        data = InflatedBytes(path, 0, 0, len(noise))
        assert data.read(0, 10) == noise[:10]
        assert data.inflated_bytes < data.total / 2

    def test_a_size_that_cannot_be_is_refused_before_memory_is_taken(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(gzip.compress(CONTENT))
        with pytest.raises(ReadError, match="more than its"):
            InflatedBytes(path, 0, 0, 2**50)

    def test_a_stream_that_ends_early_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(gzip.compress(CONTENT)[:-500])
        with pytest.raises(ReadError, match="ends early"):
            InflatedBytes(path, 0, 0, len(CONTENT)).read(len(CONTENT) - 1, 1)

    def test_a_wrong_checksum_is_noticed_at_the_end(self, tmp_path: Path) -> None:
        packed = bytearray(gzip.compress(CONTENT))
        packed[-6] ^= 1
        path = tmp_path / "a"
        path.write_bytes(packed)
        data = InflatedBytes(path, 0, 0, len(CONTENT))
        with pytest.raises(ReadError):
            data.read(0, len(CONTENT))


class TestMeasure:
    @pytest.mark.parametrize("kind", ["gzip", "two members", "bzip2"])
    def test_all_streams_count(self, kind: str, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_bytes(b"head" + PACK[kind](CONTENT))
        codec: byte_sources.Codec = "bzip2" if kind == "bzip2" else "deflate"
        assert measure_inflated(path, 4, codec) == len(CONTENT)

    def test_a_bomb_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(byte_sources, "MAX_BYTES", 2**22)
        path = tmp_path / "a"
        path.write_bytes(gzip.compress(bytes(2**24)))
        with pytest.raises(ReadError, match="inflates to more than"):
            measure_inflated(path, 0)


class TestRawFrames:
    @given(
        st.sampled_from(["<i2", ">i2", "u1", "<f4", ">f8", "<u4"]),
        st.sampled_from([(3, 2, 4), (1, 5, 2), (2, 3, 2, 3)]),
        st.integers(0, 9),
    )
    @settings(max_examples=40)
    def test_frames_are_those_of_the_array(
        self, stored: str, shape: tuple[int, ...], start: int
    ) -> None:
        array = np.random.default_rng(0).integers(0, 100, shape).astype(stored)
        data = MemoryBytes(Path("a"), bytes(start) + array.tobytes())
        frames = RawFrames(Path("a"), data, RawLayout(array.dtype, shape, start))
        assert frames.shape == shape
        assert frames.dtype.isnative
        for index in range(shape[0]):
            np.testing.assert_array_equal(frames[index], array[index])
            assert frames[index].dtype == frames.dtype

    def test_one_component_of_each_voxel(self) -> None:
        array = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
        data = MemoryBytes(Path("a"), array.tobytes())
        frames = RawFrames(Path("a"), data, RawLayout(array.dtype, array.shape, component=3))
        assert frames.shape == (2, 3, 4)
        np.testing.assert_array_equal(frames[1], array[1, ..., 3])

    @pytest.mark.parametrize(
        ("stored", "scaled"), [("u1", "f4"), ("<i2", "f4"), ("f4", "f4"), ("<i4", "f8")]
    )
    def test_scaled_values_have_the_precision_they_need(self, stored: str, scaled: str) -> None:
        array = np.arange(6).astype(stored).reshape(1, 2, 3)
        data = MemoryBytes(Path("a"), array.tobytes())
        layout = RawLayout(array.dtype, array.shape, slope=0.5, intercept=-1.0)
        frames = RawFrames(Path("a"), data, layout)
        assert frames.dtype == np.dtype(scaled)
        np.testing.assert_array_equal(frames[0], array[0] * 0.5 - 1)

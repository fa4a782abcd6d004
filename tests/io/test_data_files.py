"""Data files that a header names."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.errors import ReadError
from segscope.io.byte_sources import MemoryBytes
from segscope.io.data_files import (
    JoinedBytes,
    expand_pattern,
    names_list,
    resolve_data_file,
    share_bytes,
)


class TestFiles:
    def test_a_data_file_lies_beside_its_header(self, tmp_path: Path) -> None:
        (tmp_path / "below").mkdir()
        (tmp_path / "below/data.raw").write_bytes(b"x")
        header = tmp_path / "a.mhd"
        assert (
            resolve_data_file(header, "below/data.raw") == (tmp_path / "below/data.raw").resolve()
        )
        with pytest.raises(ReadError, match="outside its own folder"):
            resolve_data_file(header, "../data.raw")
        with pytest.raises(ReadError, match="not there"):
            resolve_data_file(header, "data.raw")

    def test_the_unicode_form_of_its_name_does_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / "Scha\u0308del.raw").write_bytes(b"x")
        found = resolve_data_file(tmp_path / "a.mhd", "Sch\u00e4del.raw")
        assert found == tmp_path.resolve() / "Scha\u0308del.raw"

    def test_an_annexed_data_file_is_followed(self, tmp_path: Path) -> None:
        store = tmp_path / ".git/annex/objects/key"
        store.mkdir(parents=True)
        (store / "key.raw").write_bytes(b"x")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub/data.raw").symlink_to("../.git/annex/objects/key/key.raw")
        assert resolve_data_file(tmp_path / "sub/a.mhd", "data.raw") == store / "key.raw"
        with pytest.raises(ReadError, match="outside its own folder"):
            resolve_data_file(tmp_path / "sub/a.mhd", "../.git/annex/objects/key/key.raw")


class TestPattern:
    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("s%02d.raw 8 11 1", ["s08.raw", "s09.raw", "s10.raw", "s11.raw"]),
            ("%d 4 0 -2", ["4", "2", "0"]),
            ("a%3i.raw 1 2 1 2", ["a  1.raw", "a  2.raw"]),
        ],
    )
    def test_names(self, text: str, names: list[str]) -> None:
        assert expand_pattern(Path("a.nhdr"), text) == names

    @pytest.mark.parametrize(
        "text", ["s%02d.raw", "s%s.raw 1 2 1", "%d%d 1 2 1", "%d 1 9 0", "%d 1 99999999 1"]
    )
    def test_others_are_refused(self, text: str) -> None:
        with pytest.raises(ReadError, match=r"a\.nhdr names its data files"):
            expand_pattern(Path("a.nhdr"), text)


class TestSeveralFiles:
    def test_a_list_is_a_word_of_its_own(self) -> None:
        assert names_list("LIST")
        assert names_list("LIST 2")
        assert not names_list("LISTED.raw")
        assert not names_list("")

    def test_their_bytes_are_one_after_the_other(self) -> None:
        parts = [MemoryBytes(Path("a"), text) for text in (b"abc", b"def", b"ghi")]
        joined = JoinedBytes(parts, 3)
        assert joined.read(0, 9) == b"abcdefghi"
        assert joined.read(2, 5) == b"cdefg"
        assert joined.read(3, 3) == b"def"

    @pytest.mark.parametrize(
        ("count", "expected", "message"),
        [(0, 3, "names 0; expected 3"), (2, 3, "names 2; expected 3"), (4, None, "evenly")],
    )
    def test_their_number_must_fit(self, count: int, expected: int | None, message: str) -> None:
        with pytest.raises(ReadError, match=message):
            share_bytes(Path("a.nhdr"), ["x"] * count, 90, expected)
        assert share_bytes(Path("a.nhdr"), ["x"] * 3, 90, 3) == 30

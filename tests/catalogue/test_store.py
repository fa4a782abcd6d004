"""Where records lie: names, files, damaged lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue import Catalogue, load
from segscope.catalogue.store import read, write
from segscope.errors import ReadError, SegscopeError, UnknownName, UsageError


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load(Path("/nowhere"))


@pytest.mark.parametrize(
    "name",
    [
        "arxiv:2304.12306",
        "2304.12306",
        "https://arxiv.org/pdf/2304.12306v2.pdf",
        "10.1038/s41467-024-44824-z",
        "https://doi.org/10.1038/s41467-024-44824-z",
        "doi:10.1038/s41467-024-44824-z",
    ],
)
def test_a_paper_goes_by_every_identifier(name: str, catalogue: Catalogue) -> None:
    assert catalogue.find(name).title == "Segment Anything in Medical Images"


def test_names_that_mean_nothing_or_several_are_refused(catalogue: Catalogue) -> None:
    with pytest.raises(UsageError, match="in their title"):
        catalogue.find("SAM")
    with pytest.raises(UnknownName):
        catalogue.find("arxiv:9999.99999")


def test_a_file_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "deep" / "a.jsonl"
    assert write(path, "one")
    assert not write(path, "one")
    monkeypatch.setattr(
        "os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(SegscopeError, match="No space left"):
        write(path, "two")
    assert path.read_text() == "one"
    assert [each.name for each in path.parent.iterdir()] == ["a.jsonl"]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "arxiv:1", "title": "t"}\n{"id": 3}\n')
    with pytest.raises(ReadError, match=r"a\.jsonl line 2"):
        read(tmp_path / "a.jsonl")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(ReadError):
        read(tmp_path / "b.jsonl")

"""Damage of a log is named; its good part is kept, and so is the rest."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.sessions import same_runs

from segscope.errors import ReadError, WriteError
from segscope.models.engine import Engine
from segscope.prompts import Box, Point
from segscope.session import Interaction, command_log
from segscope.session.command_log import read_log, scan_log
from segscope.session.log_lines import ProjectEntry, without_private
from segscope.stack import Stack

DISC = Box((10, 20, 30, 40))


@pytest.fixture
def log(sam2: Engine, clip: Stack, tmp_path: Path) -> Path:
    """A log with a head and four commands."""
    path = tmp_path / "log.jsonl"
    with Interaction(clip, sam2, log=path) as work:
        work.add(DISC)
        work.rename(1, "disc")
        work.add(Point(12, 22, positive=False))
        work.rename(1, "left disc")
    return path


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def flip_byte(line: bytes, place: int) -> bytes:
    return line[:place] + bytes([line[place] ^ 1]) + line[place + 1 :]


@pytest.mark.parametrize(
    ("harm", "line", "reason"),
    [
        ("lost", 3, "its sequence number is 3, expected 2"),
        ("swapped", 3, "its sequence number is 3, expected 2"),
        ("flipped", 3, "its hash does not match"),
        ("text", 3, "it is not JSON"),
        ("list", 3, "it is not a JSON object"),
        ("cut", 3, "it is not JSON"),
        ("zeros", 3, "it is not JSON"),
    ],
)
def test_damage_in_the_middle_is_named(log: Path, harm: str, line: int, reason: str) -> None:
    head, one, two, three, four = lines_of(log)
    place = two.index(b"disc")
    damaged = {
        "lost": [head, one, three, four],
        "swapped": [head, one, three, two, four],
        "flipped": [head, one, flip_byte(two, place), three, four],
        "text": [head, one, b"rm -rf\n", two, three, four],
        "list": [head, one, b"[1]\n", three, four],
        "cut": [head, one, two[:20] + b"\n", three, four],
        "zeros": [head, one, b"\0" * len(two), three, four],
    }
    log.write_bytes(b"".join(damaged[harm]))
    with pytest.raises(ReadError, match=rf"line {line}: {reason}.*segscope repair"):
        read_log(log)
    content = scan_log(log)
    assert len(content.lines) == 1
    assert content.end.size == len(head + one)
    assert content.damage is not None
    assert content.damage.kind == "middle"
    assert content.damage.size == len(log.read_bytes()) - len(head + one)


@pytest.mark.parametrize("harm", ["flipped", "text"])
def test_a_damaged_last_line_is_moved_aside(
    sam2: Engine, clip: Stack, log: Path, harm: str
) -> None:
    *good, last = lines_of(log)
    damaged = {"flipped": flip_byte(last, last.index(b"left")), "text": b"no line\n"}[harm]
    log.write_bytes(b"".join([*good, damaged]))
    with Interaction.resume(log, clip, sam2) as work:
        assert work.damage is not None
        assert work.damage.kind == "last"
        assert work.objects[1].name == "disc"
        work.rename(1, "again")
    assert log.with_name("log.jsonl.damaged-1").read_bytes() == damaged
    with Interaction.resume(log, clip, sam2) as again:
        assert again.damage is None
        assert again.objects[1].name == "again"


@pytest.mark.parametrize(
    ("torn", "tail"),
    [
        (0, b""),
        (0, b"\0" * 300),
        (0, b"\0" * 300 + b"\n"),
        (0, b"\r\n"),
        (30, b""),
        (30, b"\0" * 300),
    ],
)
def test_what_a_crash_leaves_is_no_damage(
    sam2: Engine, clip: Stack, log: Path, torn: int, tail: bytes
) -> None:
    *good, last = lines_of(log)
    part = last[: len(last) - torn]
    log.write_bytes(b"".join([*good, part]) + tail)
    content = read_log(log)
    assert len(content.lines) == (3 if torn else 4)
    assert content.damage is None or content.damage.kind == "torn"
    with Interaction.resume(log, clip, sam2) as work:
        work.rename(1, "after")
    assert read_log(log).damage is None


def test_a_line_without_its_newline_is_incomplete(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-1])
    content = read_log(log)
    assert len(content.lines) == 3
    assert content.damage is not None
    assert content.damage.kind == "torn"


def test_nothing_is_cut_off_that_cannot_be_kept(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    *good, last = lines_of(log)

    def no_room(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(command_log, "os", SimpleNamespace(fsync=no_room, truncate=os.truncate))
    log.write_bytes(b"".join([*good, b"no line\n"]))
    before = log.read_bytes()
    with pytest.raises(WriteError, match="cannot write"):
        Interaction.resume(log, clip, sam2)
    assert log.read_bytes() == before
    # a line that nobody was told of need not be kept
    log.write_bytes(b"".join([*good, last[:40]]))
    Interaction.resume(log, clip, sam2).close()
    assert log.read_bytes() == b"".join(good)
    assert [path.name for path in log.parent.iterdir()] == ["log.jsonl"]


def test_an_earlier_failure_leaves_no_part_of_a_line(
    sam2: Engine, clip: Stack, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = log.read_bytes()
    with Interaction.resume(log, clip, sam2) as work:
        with monkeypatch.context() as context:
            context.setattr(command_log, "os", SimpleNamespace(fsync=fail, truncate=fail))
            with pytest.raises(WriteError):
                work.rename(1, "lost")
        assert log.read_bytes() != before  # even cutting it off failed
        work.rename(1, "written")
    assert b"lost" not in log.read_bytes()
    assert len(read_log(log).lines) == 5


def test_a_log_that_is_gone_does_not_begin_anew(sam2: Engine, clip: Stack, log: Path) -> None:
    with Interaction.resume(log, clip, sam2) as work:
        masks = work.masks()
        log.unlink()
        with pytest.raises(WriteError, match="cannot write the log"):
            work.rename(1, "lost")
        assert same_runs(work.masks(), masks)
    assert not log.exists()


def test_the_head_names_the_place_in_a_project(sam2: Engine, clip: Stack, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    entry = ProjectEntry("ab12", "ct.nii.gz", "root", {"series": "1.2"}, "mini", None, "/x/ct")
    Interaction(clip, sam2, log=log, annotator="anna", project=entry).close()
    header = read_log(log).header
    assert header.project == entry
    assert header.time
    # clients get the log without the path, and it still verifies
    log.write_bytes(without_private(log.read_bytes()))
    assert b"/x/ct" not in log.read_bytes()
    copy = read_log(log).header.project
    assert copy is not None
    assert (copy.image_id, copy.path) == ("ab12", "")

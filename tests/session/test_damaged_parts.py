"""Files with what was cut off a log, and whether their loss was acknowledged."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.session.damaged_parts import (
    acknowledge,
    damage_kind,
    free_name,
    lost_commands,
    unacknowledged,
)


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        (b"{}\n", "last"),
        (b"{}", "torn"),
        (b"\0\0\0", "torn"),
        (b"\n", "torn"),
        (b"{}\n{}\n", "middle"),
    ],
)
def test_the_kind_of_damage_follows_from_the_bytes(rest: bytes, kind: str) -> None:
    assert damage_kind(rest) == kind


def test_only_complete_lines_are_lost_commands(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    parts = [tmp_path / f"log.jsonl.damaged-{number}" for number in (1, 2, 10)]
    for part, content in zip(parts, (b"{", b"{}\n", b"{}\n"), strict=True):
        part.write_bytes(content)
    assert lost_commands(log) == parts[1:]


def test_an_acknowledgement_does_not_count_for_a_later_loss(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    first = free_name(log)
    first.write_bytes(b"{}\n")
    acknowledge(log)
    assert unacknowledged(log) == []
    first.unlink()
    second = free_name(log)
    second.write_bytes(b"{}\n")
    assert unacknowledged(log) == [second]

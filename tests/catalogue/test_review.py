"""Decisions about the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from segscope.catalogue import store
from segscope.catalogue.record import PaperRecord
from segscope.catalogue.review import queue, review
from segscope.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    waiting = [PaperRecord(f"arxiv:2609.0000{number}", f"Work {number}") for number in range(4)]
    store.write(tmp_path / store.QUEUE, store.lines(waiting))
    return tmp_path


def ids(path: Path) -> list[str]:
    return [record.id[-1] for record in store.read(path)]


def test_accepted_works_enter_the_catalogue_and_rejected_ones_are_remembered(folder: Path) -> None:
    review(folder, ["2609.00000"], ["arxiv:2609.00001"])
    review(folder, ["2609.00002"], [])
    assert ids(folder / store.BROUGHT) == ["0", "2"]
    assert ids(folder / store.REJECTED) == ["1"]
    assert [record.id[-1] for record in queue(folder)] == ["3"]


def test_all_is_the_rest(folder: Path) -> None:
    decided = review(folder, ["all"], ["2609.00003"])
    assert len(decided.accepted) == 3
    assert ids(folder / store.REJECTED) == ["3"]
    assert len(queue(folder)) == 0


@pytest.mark.parametrize(
    ("accept", "reject", "message"),
    [
        (["2609.00009"], [], "not in the queue"),
        ([], ["nothing"], "not in the queue"),
        (["2609.00001"], ["arxiv:2609.00001"], "both accepted and rejected"),
    ],
)
def test_wrong_decisions_change_nothing(
    accept: list[str], reject: list[str], message: str, folder: Path
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=message):
        review(folder, accept, reject)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

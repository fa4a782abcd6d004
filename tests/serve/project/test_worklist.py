"""The work list of a project: order, states, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segscope.errors import UsageError
from segscope.serve.errors import NotFound
from segscope.serve.project.database import Database
from segscope.serve.project.images import Images
from segscope.serve.project.worklist import CaseUpdate, Worklist
from segscope.serve.settings import ServerSettings


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Images]:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(3):
        pixels = np.full((8, 9), 40 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    project = tmp_path / "project"
    project.mkdir()
    database = Database(project / "project.sqlite")
    yield Images(database, ServerSettings(project, (folder,)))
    database.close()


@pytest.fixture
def worklist(images: Images, tmp_path: Path) -> Worklist:
    worklist = Worklist(Database(tmp_path / "project" / "project.sqlite"), images)
    for number in range(3):
        worklist.add(images.resolve(0, f"{number}.png").image_id)
    return worklist


def test_an_image_is_a_case_once(images: Images, worklist: Worklist) -> None:
    first = worklist.list_cases()[0]
    assert worklist.add(first.image_id) == first
    assert [case.name for case in worklist.list_cases()] == ["0.png", "1.png", "2.png"]


def test_states_are_counted(worklist: Worklist) -> None:
    first, second, _ = worklist.list_cases()
    done = worklist.update(first.case_id, CaseUpdate(state="done", annotator="anna"))
    assert (done.state, done.annotator, done.comment) == ("done", "anna", "")
    worklist.update(second.case_id, CaseUpdate(comment="blurred"))
    assert worklist.count_by_state() == {"todo": 2, "done": 1, "skip": 0, "flag": 0}
    assert [case.name for case in worklist.list_cases("done")] == ["0.png"]
    with pytest.raises(UsageError, match="todo, done, skip, flag"):
        worklist.update(first.case_id, CaseUpdate(state="finished"))


def test_the_next_case_starts_over_at_the_end(worklist: Worklist) -> None:
    first, second, third = (case.case_id for case in worklist.list_cases())

    def next_after(case_id: int | None) -> int | None:
        case = worklist.next_after(case_id)
        if case is None:
            return None
        return case.case_id

    assert [next_after(case_id) for case_id in (None, first, third)] == [first, second, first]
    worklist.update(first, CaseUpdate(state="done"))
    worklist.update(second, CaseUpdate(state="skip"))
    assert next_after(first) == third
    assert next_after(third) is None


@pytest.mark.parametrize("case_id", [0, 99, -1, 2**70])
def test_unknown_cases(worklist: Worklist, case_id: int) -> None:
    with pytest.raises(NotFound):
        worklist.get(case_id)

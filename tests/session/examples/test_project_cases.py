"""Accepted masks of an annotation project, from its logs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import segscope as ss
from segscope.errors import UsageError
from segscope.masks import decode_runs
from segscope.models.engine import Engine
from segscope.session.commands import Accept
from segscope.session.examples.sources import open_source
from segscope.session.log_lines import ProjectEntry
from segscope.session.suggestions import Reject

CELL = np.zeros((40, 50), bool)
CELL[10:20, 10:25] = True


class Project:
    """A project folder as the server lays it out."""

    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine

    def begin(self, session: str, image: int = 0) -> ss.Interaction:
        place = self.folder / "sessions" / session
        place.mkdir(parents=True)
        path = self.folder / f"smith_john_{image}.png"
        pixels = np.random.default_rng(image).integers(0, 255, (40, 50), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        entry = ProjectEntry(f"id{image}", path.name, "root", {}, "mini", None, str(path))
        log = place / "log.jsonl"
        return ss.Interaction(ss.read(path), self.engine, log=log, project=entry)

    def accept(self, session: str, image: int = 0, mask: np.ndarray = CELL) -> Path:
        """A session in which one cell was accepted; its log."""
        with self.begin(session, image) as work:
            work.rename(1, "cell")
            work.add(ss.MaskPrompt(mask))
            work.accept(0, [1])
        return self.folder / "sessions" / session / "log.jsonl"


@pytest.fixture
def project(tmp_path: Path, sam2: Engine) -> Project:
    return Project(tmp_path / "project", sam2)


def test_accepted_masks_are_listed(project: Project) -> None:
    project.accept("a")
    project.accept("b", image=1)
    source = open_source(project.folder)
    assert source.labels == ("cell",)
    assert len(source.cases) == 2
    image = source.cases[0].open(0)
    (mask,) = image.masks
    assert np.array_equal(decode_runs(mask.runs, CELL.shape), CELL)
    assert image.stack.shape_zyx == (1, 40, 50)


def test_what_was_undone_or_awaits_review_does_not_teach(project: Project) -> None:
    with project.begin("a") as work:
        work.add(ss.MaskPrompt(CELL))
        work.accept(0, [1])
        work.undo()
    with project.begin("b", image=1) as work:
        work.add(ss.MaskPrompt(CELL))
        work.execute(Accept(0, (1,), unreviewed=(1,)))
    with pytest.raises(UsageError, match="nobody has accepted a mask"):
        open_source(project.folder)


def test_rejected_masks_show_what_the_label_is_not(project: Project) -> None:
    with project.begin("a") as work:
        work.add(ss.MaskPrompt(CELL))
        work.add(ss.MaskPrompt(np.roll(CELL, 20, axis=1), object_id=2))
        work.accept(0, [1])
        work.execute(Reject((2,)))
    (case,) = open_source(project.folder).cases
    masks = case.open(0).masks
    assert [mask.rejected for mask in masks] == [False, True]
    with ss.learn(project.folder, project.engine) as examples:
        assert len(examples) == 2


def test_the_session_used_last_counts(project: Project) -> None:
    project.accept("a")
    other = np.roll(CELL, 5, axis=1)
    project.accept("b", mask=other)
    (case,) = open_source(project.folder).cases
    (mask,) = case.open(0).masks
    assert np.array_equal(decode_runs(mask.runs, CELL.shape), other)


def test_a_log_that_is_being_written_is_read_to_its_last_complete_line(project: Project) -> None:
    log = project.accept("a")
    content = log.read_bytes()
    log.write_bytes(content + content.splitlines()[-1][:30])
    assert len(open_source(project.folder).cases) == 1
    assert log.read_bytes().startswith(content)


def test_a_damaged_log_is_noted(project: Project) -> None:
    log = project.accept("a")
    project.accept("b", image=1)
    log.write_text("{}\n")
    source = open_source(project.folder)
    assert len(source.cases) == 1
    assert source.notes[0].startswith("session a: ")


def test_an_image_that_was_moved_or_changed_is_refused(project: Project) -> None:
    project.accept("a")
    (case,) = open_source(project.folder).cases
    path = project.folder / "smith_john_0.png"
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(path)
    with pytest.raises(ss.UsageError, match="belongs to another image"):
        case.open(0)
    path.unlink()
    with pytest.raises(ss.ReadError, match="no longer at"):
        case.open(0)

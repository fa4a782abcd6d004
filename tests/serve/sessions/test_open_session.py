"""Commands on an open session, and what they change for clients."""

from __future__ import annotations

import numpy as np
import pytest
from support.patches import apply_patch

from segscope.errors import UsageError
from segscope.predict.propagation import PropagationRange
from segscope.prompts import Box, MaskPrompt, Point
from segscope.serve.errors import Busy, NotFound
from segscope.serve.sessions.open_session import OpenSession
from segscope.session.commands import Add, Describe, Remove

BOX = Box((10, 10, 30, 30))


def test_patches_put_together_are_the_masks(session: OpenSession) -> None:
    canvas = np.zeros(session.size_hw, bool)
    for command in (Add((BOX,)), Add((Point(45, 35, positive=False),)), Add((Point(12, 12),))):
        result = session.execute(command)
        assert result.touched == (1,)
        for patch in result.changes:
            apply_patch(canvas, patch)
        assert np.array_equal(canvas, session.mask(0, 1))
    undone = session.undo(0)
    assert undone is not None
    for patch in undone.changes:
        apply_patch(canvas, patch)
    assert np.array_equal(canvas, session.labels(0) == 1)


def test_undo_and_redo_without_commands_do_nothing(session: OpenSession) -> None:
    assert session.undo(None) is None
    assert session.redo(0) is None


def test_a_preview_changes_nothing(session: OpenSession) -> None:
    session.execute(Add((BOX,)))
    labels = session.labels(0)
    result = session.preview([Point(40, 5, object_id=2)], candidates=True)
    assert result.answer is not None
    assert len(result.candidates) == 1 + len(result.answer.candidates)
    assert np.array_equal(session.labels(0), labels)
    assert session.work.can_undo == 1


def test_protected_masks_need_force(session: OpenSession) -> None:
    session.execute(Add((BOX,)))
    session.accept([0], None)
    empty = Add((MaskPrompt(np.zeros(session.size_hw, bool)),))
    with pytest.raises(Busy, match="force"):
        session.execute(empty)
    with pytest.raises(Busy, match="force"):
        session.execute(Remove(1))
    session.execute(empty, force=True)
    with pytest.raises(NotFound, match="no object 7"):
        session.execute(Remove(7), force=True)


def test_frames_without_masks_cannot_be_accepted(session: OpenSession) -> None:
    with pytest.raises(UsageError, match="frame 1 has no mask to accept"):
        session.accept([1], None)
    with pytest.raises(UsageError, match="there is no frame 3; this stack has frames 0 to 2"):
        session.accept([3], None)


def test_a_propagation_keeps_commands_out_until_it_ends(session: OpenSession) -> None:
    session.execute(Add((BOX,)))
    changes = session.propagate(PropagationRange("forward"), None, lambda: False)
    first = next(changes)
    assert first.frame == 0
    with pytest.raises(Busy, match="a propagation is running"):
        session.execute(Describe(1, "block"))
    assert [item.frame for item in changes] == [1, 2]
    session.end_propagation()
    session.execute(Describe(1, "block"))
    assert session.work.can_undo == 3


def test_exported_objects_must_exist(session: OpenSession) -> None:
    session.execute(Add((BOX, Box((40, 2, 48, 8), object_id=2))))
    assert session.masks([2]).object_ids == (2,)
    with pytest.raises(NotFound, match=r"no objects \[5\]"):
        session.masks([2, 5])
    assert session.free_id() == 3

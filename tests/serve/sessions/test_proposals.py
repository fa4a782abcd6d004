"""Masks without prompts become objects where there are none yet."""

from __future__ import annotations

import numpy as np

from segscope.masks import Masks
from segscope.prompts import MaskPrompt
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.proposals import add_classes, add_proposals, unreviewed_mask
from segscope.serve.sessions.review import is_reviewed
from segscope.session.commands import Add, Describe


def proposals(*columns: tuple[int, int], names: dict[int, str] | None = None) -> Masks:
    """Masks over all rows between columns, numbered from 1."""
    labels = np.zeros((1, 40, 50), np.uint16)
    for number, (first, last) in enumerate(columns, start=1):
        labels[0, :, first:last] = number
    return Masks.from_labels(labels, names=names or {})


def test_existing_objects_keep_their_pixels(session: OpenSession) -> None:
    mask = np.zeros(session.size_hw, bool)
    mask[:, :10] = True
    session.execute(Add((MaskPrompt(mask),)))
    result = add_proposals(session, 0, proposals((0, 12), (12, 20), (20, 30)))
    assert result.touched == (2, 3)
    assert np.array_equal(session.labels(0) == 1, mask)
    assert not any(is_reviewed(session.work.objects[number], 0) for number in result.touched)
    assert session.work.can_undo == 2


def test_nothing_new_is_no_command(session: OpenSession) -> None:
    add_proposals(session, 0, proposals((0, 50)))
    assert add_proposals(session, 0, proposals((5, 20))).touched == ()
    assert session.work.can_undo == 1


def test_classes_join_the_object_of_their_name(session: OpenSession) -> None:
    session.execute(Describe(4, "wall"))
    masks = proposals((0, 10), (20, 30), names={1: "wall", 2: "block"})
    result = add_classes(session, {0: masks, 2: masks})
    assert {session.work.objects[number].name for number in result.touched} == {"wall", "block"}
    assert set(session.work.objects[4].answers) == {0, 2}
    assert add_classes(session, {0: masks}).touched == ()


def test_a_score_of_a_network_is_below_one() -> None:
    mask = np.ones((2, 2), bool)
    assert unreviewed_mask(mask, 0, 1, 1.4).score == 0.999
    assert unreviewed_mask(mask, 0, 1, -1.0).score == 0.0

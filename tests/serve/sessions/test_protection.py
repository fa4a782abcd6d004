"""Accepted masks and locked objects are not changed by accident."""

from __future__ import annotations

import pytest

from segscope.errors import PromptError
from segscope.predict.state import ObjectState
from segscope.serve.errors import Busy, NotFound
from segscope.serve.sessions.protection import (
    check_removable,
    check_unprotected,
    choose_tracked,
)

OBJECTS = {
    1: ObjectState(anchors=frozenset({0, 3}), accepted=frozenset({3})),
    2: ObjectState(anchors=frozenset({0}), about={"locked": True}),
    3: ObjectState(),
}


def test_accepted_and_locked_masks_are_refused() -> None:
    check_unprotected(OBJECTS, [(0, 1), (5, 9)])
    with pytest.raises(Busy, match=r'object 1 on frame 3 is accepted; .* "force": true'):
        check_unprotected(OBJECTS, [(0, 1), (3, 1)])
    with pytest.raises(Busy, match=r'object 2 is locked; .* "force": true'):
        check_unprotected(OBJECTS, [(7, 2)])


def test_removal_needs_force() -> None:
    check_removable(OBJECTS, 3, force=False)
    for number in (1, 2):
        with pytest.raises(Busy, match="force"):
            check_removable(OBJECTS, number, force=False)
        check_removable(OBJECTS, number, force=True)
    with pytest.raises(NotFound, match="no object 9"):
        check_removable(OBJECTS, 9, force=True)


def test_what_is_tracked() -> None:
    assert choose_tracked(OBJECTS, None) == [1]
    assert choose_tracked(OBJECTS, [3, 1]) == [3, 1]
    with pytest.raises(Busy, match=r"objects \[2\] are locked"):
        choose_tracked(OBJECTS, [1, 2])
    with pytest.raises(PromptError, match="nothing to propagate"):
        choose_tracked({}, None)

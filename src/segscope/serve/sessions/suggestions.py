"""Suggestions of a session: which ones to accept, and which ones new ones take the place of."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from segscope.errors import UsageError
from segscope.predict.state import ObjectState
from segscope.session.commands import Accept
from segscope.session.suggestions import is_suggestion


def accept_in_bulk(
    objects: Mapping[int, ObjectState],
    above: float,
    frames: Iterable[int] | None,
    label: str | None,
) -> list[Accept]:
    """Commands that accept suggestions, one a frame.

    Args:
        objects: of the session.
        above: least confidence.
        frames: default all.
        label: default all.

    Raises:
        UsageError: there are no such suggestions.
    """
    wanted = None if frames is None else set(frames)
    chosen: dict[int, list[int]] = {}
    for object_id, obj in sorted(objects.items()):
        if not is_suggestion(obj) or label not in (None, obj.name):
            continue
        for frame, answer in obj.answers.items():
            fits = wanted is None or frame in wanted
            if fits and answer.area and answer.score >= above:
                chosen.setdefault(frame, []).append(object_id)
    if not chosen:
        raise UsageError("there are no suggestions of that confidence to accept")
    return [
        Accept(frame, tuple(ids), accepted=True, unreviewed=tuple(ids))
        for frame, ids in sorted(chosen.items())
    ]


def list_replaced(
    objects: Mapping[int, ObjectState], labels: Collection[str], frames: Collection[int]
) -> list[int]:
    """Suggestions of labels with masks on some frames only, which new suggestions replace."""
    return [
        object_id
        for object_id, obj in sorted(objects.items())
        if is_suggestion(obj) and obj.name in labels and obj.answers.keys() <= set(frames)
    ]

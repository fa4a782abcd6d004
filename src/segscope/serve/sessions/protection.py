"""What accepted masks and locked objects forbid, unless a client forces it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from segscope.errors import PromptError
from segscope.predict.state import ObjectState
from segscope.serve.errors import Busy, NotFound
from segscope.session.suggestions import is_suggestion

Objects = Mapping[int, ObjectState]


def check_unprotected(objects: Objects, places: Iterable[tuple[int, int]]) -> None:
    """Raise Busy where a mask at one of the places (frame, object) is accepted or locked."""
    for frame, object_id in sorted(places):
        check_unlocked(objects, object_id)
        obj = objects.get(object_id)
        if obj is not None and frame in obj.accepted:
            raise Busy(
                f"the mask of object {object_id} on frame {frame} is accepted; withdraw the "
                'acceptance, or set "force": true'
            )


def check_unlocked(objects: Objects, object_id: int) -> None:
    """Raise Busy for an object that is locked."""
    obj = objects.get(object_id)
    if obj is not None and obj.locked:
        raise Busy(f'object {object_id} is locked; unlock it, or set "force": true')


def check_removable(objects: Objects, object_id: int, *, force: bool) -> None:
    """Raise Busy for an object that is locked or has accepted masks, NotFound for none."""
    obj = objects.get(object_id)
    if obj is None:
        raise NotFound(f"no object {object_id}; there are {sorted(objects)}")
    if force:
        return
    check_unlocked(objects, object_id)
    if obj.accepted:
        raise Busy(f'object {object_id} has accepted masks; set "force": true to remove it')


def choose_tracked(objects: Objects, requested: Sequence[int] | None) -> list[int]:
    """Ids of the objects to track: those requested, or all that are prompted, not locked, and no
    suggestions.

    Raises:
        Busy: a requested object is locked.
        PromptError: there is nothing to track.
    """
    if requested is None:
        chosen = [
            object_id
            for object_id, obj in objects.items()
            if obj.anchors and not obj.locked and not is_suggestion(obj)
        ]
    else:
        chosen = list(requested)
        locked = sorted(i for i in set(chosen) if i in objects and objects[i].locked)
        if locked:
            raise Busy(f"objects {locked} are locked; unlock them to track them")
    if not chosen:
        raise PromptError("nothing to propagate: prompt an object on some frame first")
    return chosen

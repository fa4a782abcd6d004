"""Labels that MONAI Label's clients store, as masks of a session: so they are in data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from segscope.errors import SegscopeError
from segscope.masks import Masks
from segscope.prompts import MaskPrompt
from segscope.serve.answers import SessionInfo
from segscope.serve.errors import Busy
from segscope.serve.json_object import JsonObject
from segscope.serve.project.project_info import ProjectLabel
from segscope.serve.project.workspace import Workspace
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.session_request import SessionRequest
from segscope.session.commands import Add, Describe

ANNOTATOR = "monailabel"
MODEL = "mini"  # stores a mask without encoding its frame, which takes minutes for other models
_DEFAULT_NAME = "object"


def named_masks(masks: Masks, notes: JsonObject, labels: Sequence[ProjectLabel]) -> Masks:
    """The masks with the names of the file, else of `label_info`, else of the project's label of
    that number, else "object".
    """
    known = {label.number: label.name for label in labels} | _label_names(notes)
    names = {
        object_id: name or known.get(object_id, _DEFAULT_NAME)
        for object_id, name in masks.names.items()
    }
    return replace(masks, names=names)


def _label_names(notes: JsonObject) -> dict[int, str]:
    """The names in `label_info`; an entry without a number `idx` counts by its position."""
    entries = notes.get("label_info")
    if not isinstance(entries, list):
        return {}
    names: dict[int, str] = {}
    for position, entry in enumerate(entries, start=1):
        if not isinstance(entry, Mapping) or not entry.get("name"):
            continue
        number = entry.get("idx")
        if not isinstance(number, int):
            number = position
        names[number] = str(entry["name"])
    return names


@contextmanager
def label_session(workspace: Workspace, image_id: str, masks: Masks) -> Iterator[None]:
    """Make a session of the masks of a label, which remains if the block succeeds.

    The session of an earlier label moves to the trash then.

    Raises:
        Busy: the session of an earlier label is open in a window.
        WriteError: the disk refuses.
    """
    sessions = workspace.sessions
    earlier = _list_closed(workspace, image_id)
    request = SessionRequest(
        image_id=image_id, annotator=ANNOTATOR, model=MODEL, overlap="keep", new=True
    )
    row, _ = sessions.find_or_create(request)
    session_id = row["id"]
    try:
        with sessions.use(session_id) as session:
            _add_masks(session, masks)
            sessions.count_command(session_id, session)
        yield
    except BaseException:
        with suppress(SegscopeError):
            sessions.erase(session_id)
        raise
    for info in earlier:
        sessions.erase(info.session_id)


def _add_masks(session: OpenSession, masks: Masks) -> None:
    prompts = [
        MaskPrompt(masks.mask(frame, object_id), frame, object_id)
        for frame, object_id in sorted(masks.runs)
    ]
    for object_id in masks.object_ids:
        session.execute(Describe(object_id, masks.names[object_id]))
    if prompts:
        session.execute(Add(tuple(prompts)))
        # whoever stores a final label has accepted its masks
        session.accept({prompt.frame for prompt in prompts}, None)


def remove_label_masks(workspace: Workspace, image_id: str) -> None:
    """Move the session for labels of an image to the trash, if there is one.

    Raises:
        Busy: somebody works on the session.
    """
    for info in _list_closed(workspace, image_id):
        workspace.sessions.erase(info.session_id)


def _list_closed(workspace: Workspace, image_id: str) -> list[SessionInfo]:
    """The sessions for labels of an image.

    Raises:
        Busy: one of them is open in a window.
    """
    sessions = workspace.sessions
    labels = sessions.list_sessions(image_id, ANNOTATOR)
    if any(sessions.leases.is_leased(info.session_id) for info in labels):
        raise Busy(
            "the masks of this label are open in a window; close their session there, then try "
            "again"
        )
    return labels

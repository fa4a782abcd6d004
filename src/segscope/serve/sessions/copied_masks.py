"""The masks of one session as the beginning of another."""

from __future__ import annotations

from collections.abc import Mapping

from segscope.errors import UsageError
from segscope.masks import Masks, decode_runs
from segscope.predict.state import ObjectState
from segscope.prompts import MaskPrompt, Prompt
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.proposals import DEFAULT_SCORE, unreviewed_mask
from segscope.serve.sessions.review import is_reviewed
from segscope.session.commands import Add, Describe


def copy_masks(masks: Masks, objects: Mapping[int, ObjectState], session: OpenSession) -> None:
    """Begin a session with masks of another one, and the names and colours of its objects.

    Raises:
        UsageError: the sessions do not have the same frames.
    """
    stack = session.work.stack
    if masks.shape_zyx != stack.shape_zyx or masks.axis != stack.axis:
        raise UsageError("start_from names a session along another axis")
    for object_id, obj in objects.items():
        about = dict(obj.about)
        about.pop("locked", None)
        session.work.execute(Describe(object_id, obj.name, about))
    prompts: list[Prompt] = []
    for (frame, object_id), runs in masks.runs.items():
        mask = decode_runs(runs, session.size_hw)
        if is_reviewed(objects[object_id], frame):
            prompts.append(MaskPrompt(mask, frame, object_id))
            continue
        score = masks.scores.get((frame, object_id), DEFAULT_SCORE)
        prompts.append(unreviewed_mask(mask, frame, object_id, score))
    if prompts:
        session.execute(Add(tuple(prompts)))

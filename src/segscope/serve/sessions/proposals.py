"""Masks that a network computed without prompts, as objects of a session."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from segscope.masks import Masks, decode_runs
from segscope.predict.state import ObjectState
from segscope.prompts import MaskPrompt, Prompt
from segscope.serve.sessions.open_session import OpenSession
from segscope.serve.sessions.result import CommandResult, merge_results
from segscope.session.commands import Add, Describe

DEFAULT_SCORE = 0.5  # of masks that come without one


def unreviewed_mask(
    mask: NDArray[np.bool_], frame: int, object_id: int, score: float
) -> MaskPrompt:
    """A mask that a network computed and nobody has reviewed: its score is below 1."""
    return MaskPrompt(mask, frame, object_id, score=round(min(max(score, 0.0), 0.999), 4))


def add_proposals(session: OpenSession, frame: int, proposals: Masks) -> CommandResult:
    """Make the masks of frame 0 of `proposals` objects on a frame, in one command.

    Existing objects keep their pixels; a mask that mostly lies on them is left out.
    """
    with session.exclusive():
        prompts = _proposal_prompts(session, frame, proposals)
        if not prompts:
            return CommandResult()
        return session.execute(Add(tuple(prompts)))


def _proposal_prompts(session: OpenSession, frame: int, proposals: Masks) -> list[Prompt]:
    free = np.ones(session.size_hw, bool)
    for runs in session.visible_masks(frame).values():
        free &= ~decode_runs(runs, session.size_hw)
    prompts: list[Prompt] = []
    next_id = max([0, *session.work.objects]) + 1
    for number in proposals.object_ids:
        mask = proposals.mask(0, number)
        remaining = mask & free
        if remaining.sum() <= mask.sum() / 2:
            continue
        score = proposals.scores.get((0, number), DEFAULT_SCORE)
        prompts.append(unreviewed_mask(remaining, frame, next_id + len(prompts), score))
    return prompts


def add_classes(session: OpenSession, masks_by_frame: Mapping[int, Masks]) -> CommandResult:
    """Add the masks of classes (frame 0 of each) to the objects of the same name, or to new ones.

    Existing objects keep their pixels. A mask is left out where its object is locked or has one.
    """
    with session.exclusive():
        return _add_classes(session, masks_by_frame)


def _add_classes(session: OpenSession, masks_by_frame: Mapping[int, Masks]) -> CommandResult:
    ids_by_name = {
        obj.name: object_id
        for object_id, obj in sorted(session.work.objects.items(), reverse=True)
        if obj.name
    }
    results: list[CommandResult] = []
    prompts: list[Prompt] = []
    for frame, masks in sorted(masks_by_frame.items()):
        free = session.labels(frame) == 0
        for number in masks.object_ids:
            name = masks.names[number]
            mask = masks.mask(0, number) & free
            obj = session.work.objects.get(ids_by_name.get(name, 0))
            if not mask.any() or (obj is not None and _is_settled(obj, frame)):
                continue
            if name not in ids_by_name:
                ids_by_name[name] = max([0, *session.work.objects]) + 1
                results.append(session.execute(Describe(ids_by_name[name], name)))
            score = masks.scores.get((0, number), DEFAULT_SCORE)
            prompts.append(unreviewed_mask(mask, frame, ids_by_name[name], score))
    if not prompts:
        return CommandResult()
    results.append(session.execute(Add(tuple(prompts))))
    return merge_results(results)


def _is_settled(obj: ObjectState, frame: int) -> bool:
    """Whether an object must not get another mask on a frame."""
    return obj.locked or frame in obj.answers or frame in obj.accepted

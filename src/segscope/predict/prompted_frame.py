"""Answer on a frame that somebody prompted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame, PromptedMasks
from segscope.inference.constants import GIVEN
from segscope.inference.crop import Crop
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.notes import count_learned
from segscope.inference.prompted_masks import combine_prompts, decode_prompts, mask_logits
from segscope.masks import FrameMask
from segscope.predict.state import Candidate, FrameResult, InferenceState, ObjectState
from segscope.prompts import MaskPrompt, Prompt

NEGATIVE_NOTE = "empty: there are only negative prompts, and no mask that they could reduce"
LONGEST_MASK = 1024  # pixels; larger masks are stored reduced, only to be refined later


@torch.inference_mode()
def answer_prompts(
    state: InferenceState,
    track: ObjectState,
    object_id: int,
    frame: int,
    new: Sequence[Prompt],
    head: SessionHead | None = None,
) -> FrameMask:
    """Answer new prompts of one object on one frame, and make the frame an anchor of its track.

    Args:
        new: prompts just made; those made before on this frame still count, and so does the answer
            so far. A frame that tracking has passed is decoded from what memory makes of it, a
            fresh one from the image alone.
        head: what was learned from examples of the object's label.
    """
    before = track.answers.get(frame)
    prompts = (*track.prompts.get(frame, ()), *new)
    combined = combine_prompts(prompts)
    if combined.exact_mask is not None:
        mask = combined.exact_mask
        answer, frame_mask = _take_mask(state, frame, object_id, mask, combined.score)
    elif not combined.marks_object and (before is None or not before.area):
        # a network answers a lone negative click with the object that was clicked
        mask = np.zeros(state.stack.size_hw, bool)
        answer, frame_mask = _take_mask(state, frame, object_id, mask, 1.0, NEGATIVE_NOTE)
    else:
        start = combined.start
        # a mask counts when it is new; later prompts go on from the latest answer
        if before is not None and not any(isinstance(prompt, MaskPrompt) for prompt in new):
            start = None
        if start is None and before is not None and before.note != NEGATIVE_NOTE:
            start = _previous_logits(state, before)
        masks = decode_prompts(_frame(state, track, frame, head), combined.decoder_prompt, start)
        answer, frame_mask = _store(state, frame, object_id, masks)
    track.prompts[frame] = prompts
    if before is not None:
        track.replaced.setdefault(frame, before)
    track.answers[frame] = answer
    track.anchors = track.anchors | {frame}
    return frame_mask


def _take_mask(
    state: InferenceState,
    frame: int,
    object_id: int,
    mask: NDArray[np.bool_],
    score: float,
    note: str = "",
) -> tuple[FrameResult, FrameMask]:
    """A mask that is the answer, and what tracking remembers."""
    memory = None
    presence = -GIVEN
    if mask.any():
        presence = GIVEN
    if state.remembers and state.engine.window_rule is None:
        decoded, (memory,) = state.remember_masks(frame, [mask])
        logits = decoded.logits[0, 0]
        crop = state.view
    else:
        logits = mask_logits(mask)
        crop = Crop.whole(state.stack.size_hw)
        longest = max(mask.shape)
        if longest > LONGEST_MASK:
            size = [max(1, round(side * LONGEST_MASK / longest)) for side in mask.shape]
            logits = F.interpolate(logits[None, None], size, mode="area")[0, 0]
    answer, _ = state.answer(
        logits, crop, score=score, object_score=presence, memory=memory, note=note, given=mask
    )
    exact = np.where(mask, np.float32(GIVEN), np.float32(-GIVEN))
    return answer, state.frame_mask(frame, object_id, answer, exact)


def _previous_logits(state: InferenceState, answer: FrameResult) -> Tensor:
    """Logits to go on from: on the frame where they cover a window, or windows are cut from them;
    else as stored.
    """
    if state.engine.window_rule is not None or not answer.view.is_whole:
        return torch.from_numpy(state.logits(answer))
    return state.stored_logits(answer)


def _frame(
    state: InferenceState, track: ObjectState, frame: int, head: SessionHead | None
) -> PromptedFrame:
    """The frame as the engine is shown it; conditioned by memory where tracking has passed it and
    the engine corrects on whole frames.
    """
    conditioned = None
    before = track.answers.get(frame)
    reverse = track.tracked_direction.get(frame)
    tracked = reverse is not None and state.remembers and bool(track.frozen_anchors)
    if tracked and state.engine.window_rule is None:
        bank = state.bank(track, frame, bool(reverse), track.frozen_anchors)
        conditioned = state.engine.attend(state.encode(frame), [bank])
    return PromptedFrame(
        state.engine,
        state.stack.size_hw,
        lambda crop: state.features.get(frame, crop),
        state.remembers,
        conditioned,
        head,
        before is not None and count_learned(before.note) > 0,
    )


def _store(
    state: InferenceState, frame: int, object_id: int, masks: PromptedMasks
) -> tuple[FrameResult, FrameMask]:
    """Store the best mask as the answer, with the next three, of which one can be chosen later."""
    best, *others = masks.candidates
    memory = None
    if masks.decoded is not None and state.remembers:
        (memory,) = state.engine.remember(state.encode(frame), masks.decoded, prompted=[True])
    elif masks.learned and state.remembers and state.engine.window_rule is None:
        mask = state.on_frame(best.logits, best.crop) > 0
        _, (memory,) = state.remember_masks(frame, [mask])
    answer, full = state.answer(
        best.logits,
        best.crop,
        score=best.score,
        object_score=best.presence,
        memory=memory,
        note=masks.note,
    )
    candidates = tuple((state.on_frame(each.logits, each.crop), each.score) for each in others)
    if others:
        answer = replace(answer, candidates=_store_candidates(state, answer, others))
    return answer, state.frame_mask(frame, object_id, answer, full, candidates)


def _store_candidates(
    state: InferenceState, answer: FrameResult, others: Sequence[MaskCandidate]
) -> tuple[Candidate, ...]:
    assert answer.logits is not None
    first = Candidate(answer.logits, answer.view, answer.score, answer.note)
    rest = [
        Candidate(state.spool.put(each.logits.float()), each.crop, each.score) for each in others
    ]
    return (first, *rest)

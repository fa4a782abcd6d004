"""Which session heads tracking may use: those that agree with what a person marked."""

from __future__ import annotations

from collections.abc import Mapping

from segscope.inference.answers import PromptedFrame
from segscope.inference.crop import Xyxy
from segscope.inference.learning.evidence import agrees_with_box
from segscope.inference.learning.guard import TRACKED, can_help
from segscope.inference.learning.head import SessionHead
from segscope.predict.state import InferenceState, ObjectState
from segscope.prompts import Box


def trust_heads(
    state: InferenceState,
    tracks: Mapping[int, ObjectState],
    heads: Mapping[int, SessionHead],
) -> dict[int, SessionHead]:
    """The heads that tracking may use, by object.

    A head that never gains enough is left out before anything is encoded.
    """
    return {
        object_id: heads[object_id]
        for object_id, track in tracks.items()
        if object_id in heads and _is_trusted(state, track, heads[object_id])
    }


def _is_trusted(state: InferenceState, track: ObjectState, head: SessionHead) -> bool:
    """Whether a head agrees with the first anchor that shows the object."""
    shown = [frame for frame in sorted(track.anchors) if track.answers[frame].area]
    if not shown or not can_help(head, TRACKED):
        return False
    first = shown[0]
    frame = PromptedFrame(
        state.engine,
        state.stack.size_hw,
        lambda crop: state.features.get(first, crop),
    )
    return agrees_with_box(frame, head, _marked_box(state, track, first))


def _marked_box(state: InferenceState, track: ObjectState, frame: int) -> Xyxy:
    """The box that was drawn on an anchor, or that of its mask."""
    for prompt in reversed(track.prompts.get(frame, ())):
        if isinstance(prompt, Box):
            return prompt.xyxy
    return Box.around(state.mask(track.answers[frame])).xyxy

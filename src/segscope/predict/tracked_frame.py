"""One step of tracking for many objects: by memory, or from the mask on the neighbouring frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.answers import MaskCandidate, PromptedFrame
from segscope.inference.constants import CLAMP
from segscope.inference.crop import Crop
from segscope.inference.learning.head import SessionHead
from segscope.inference.learning.tracked_answer import learn_tracked
from segscope.inference.memory_bank import decode_tracked
from segscope.masks import FrameMask
from segscope.models.engine import ABSENT, NO_PROMPT, Decoded, DecoderPrompt, Memory
from segscope.predict.state import FrameResult, InferenceState, ObjectState
from segscope.prompts import Box

MARGIN = 0.05  # by which the box of a mask is widened when it is handed on, of its longer side


class TrackedAnswer(NamedTuple):
    """Answer of one object on a tracked frame.

    Attributes:
        candidate: its mask.
        note: why it is not the network's own, or "".
    """

    candidate: MaskCandidate
    note: str = ""


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """A frame that tracking reaches.

    Attributes:
        state: of the stack.
        frame: its number.
        reverse: whether tracking goes backwards.
        heads: what was learned from examples, by object.
    """

    state: InferenceState
    frame: int
    reverse: bool
    heads: Mapping[int, SessionHead]

    @property
    def previous(self) -> int:
        """The neighbouring frame that tracking comes from."""
        if self.reverse:
            return self.frame + 1
        return self.frame - 1

    @torch.inference_mode()
    def track(self, tracks: Mapping[int, ObjectState]) -> dict[int, FrameMask]:
        """Answers for objects that are not prompted on the frame; stored in their tracks.

        The frame is encoded once; objects go through memory attention and decoder as a batch.
        """
        if not tracks:
            return {}
        if self.state.engine.memory_frames:
            return self._track_by_memory(tracks)
        return {object_id: self._hand_on(object_id, track) for object_id, track in tracks.items()}

    def empty(self, object_id: int, track: ObjectState, note: str) -> FrameMask:
        """Store that an object is not on the frame, with the reason."""
        nothing = torch.full((1, 1), ABSENT)
        answer, full = self.state.answer(
            nothing, self.state.view, score=0.0, object_score=ABSENT, note=note
        )
        return self._put(object_id, track, answer, full)

    def _track_by_memory(self, tracks: Mapping[int, ObjectState]) -> dict[int, FrameMask]:
        """SAM 2's way: attend to what is remembered, decode without prompts, take the best
        candidate.
        """
        state = self.state
        engine = state.engine
        features = state.encode(self.frame)
        banks = [
            state.bank(track, self.frame, self.reverse, track.anchors) for track in tracks.values()
        ]
        conditioned = engine.attend(features, banks)
        previous = list(map(self._previous_logits, tracks.values()))
        decoded = decode_tracked(engine, features, conditioned, previous).best().present()
        answers = [
            self._learn(object_id, _candidate(decoded.pick(row), state.view))
            for row, object_id in enumerate(tracks)
        ]
        grid = (decoded.logits.shape[-2], decoded.logits.shape[-1])
        shown = torch.stack([self._in_view(answer.candidate, grid) for answer in answers])
        memories = engine.remember(
            features, replace(decoded, logits=shown[:, None]), prompted=[False] * len(tracks)
        )
        return {
            object_id: self._put(object_id, track, *self._store(answer, memory))
            for (object_id, track), answer, memory in zip(
                tracks.items(), answers, memories, strict=True
            )
        }

    def _learn(self, object_id: int, plain: MaskCandidate) -> TrackedAnswer:
        """The learned answer of an object where its head promises a better one, else the plain
        one.
        """
        head = self.heads.get(object_id)
        if head is None:
            return TrackedAnswer(plain)
        state = self.state
        frame = PromptedFrame(
            state.engine,
            state.stack.size_hw,
            lambda crop: state.features.get(self.frame, crop),
        )
        mask = state.on_frame(plain.logits, plain.crop) > 0
        learned = learn_tracked(frame, head, plain, mask)
        if learned is None:
            return TrackedAnswer(plain)
        return TrackedAnswer(learned, head.note)

    def _in_view(self, answer: MaskCandidate, grid: tuple[int, int]) -> Tensor:
        """Logits of an answer on a grid (row, column) over the tracking view."""
        view = self.state.view
        if answer.crop == view:
            return answer.logits
        cut = np.ascontiguousarray(view.cut(self.state.on_frame(answer.logits, answer.crop)))
        logits = torch.from_numpy(cut)[None, None].to(answer.logits.device)
        return F.interpolate(logits, grid, mode="bilinear", antialias=True)[0, 0]

    def _previous_logits(self, track: ObjectState) -> Tensor | None:
        """Logits (row, column) of the previous frame in the tracking view, for engines that use
        them.
        """
        before = track.answers.get(self.previous)
        if before is None or not self.state.engine.uses_previous_logits:
            return None
        return self._logits_in(before, self.state.view)

    def _hand_on(self, object_id: int, track: ObjectState) -> FrameMask:
        """Without memory: box and logits of the previous frame become the prompts, in a window for
        engines with a window rule.
        """
        state = self.state
        before = track.answers.get(self.previous)
        if before is None or before.area == 0:
            return self.empty(object_id, track, "")
        prompt = widened_box(state.mask(before))
        crop = state.view
        rule = state.engine.window_rule
        if rule is not None and prompt.box is not None:
            crop = Crop.around(prompt.box, state.stack.size_hw, factor=rule.mask)
        previous = self._logits_in(before, crop).clamp(-CLAMP, CLAMP)
        prompt = replace(crop.shift(prompt), previous=previous)
        features = state.features.get(self.frame, crop)
        decoded = state.engine.decode(features, [prompt], multimask=False)
        answer = self._learn(object_id, _candidate(decoded, crop))
        return self._put(object_id, track, *self._store(answer))

    def _logits_in(self, answer: FrameResult, view: Crop) -> Tensor:
        """Logits (row, column) of an answer in a view."""
        if view == answer.view:
            return self.state.stored_logits(answer)
        cut = np.ascontiguousarray(view.cut(self.state.logits(answer)))
        return torch.from_numpy(cut).to(self.state.engine.device)

    def _store(
        self, answer: TrackedAnswer, memory: Memory | None = None
    ) -> tuple[FrameResult, NDArray[np.float32]]:
        """Store the answer of one object; also its logits (row, column) on the frame."""
        candidate = answer.candidate
        return self.state.answer(
            candidate.logits,
            candidate.crop,
            score=candidate.score,
            object_score=candidate.presence,
            memory=memory,
            note=answer.note,
        )

    def _put(
        self,
        object_id: int,
        track: ObjectState,
        answer: FrameResult,
        full: NDArray[np.float32],
    ) -> FrameMask:
        """Make a stored answer part of a track."""
        track.answers[self.frame] = answer
        track.tracked_direction[self.frame] = self.reverse
        return self.state.frame_mask(self.frame, object_id, answer, full)


def _candidate(decoded: Decoded, crop: Crop) -> MaskCandidate:
    """The mask of the only object of `decoded` (M = 1)."""
    presence = None
    if decoded.object_score is not None:
        presence = float(decoded.object_score[0])
    return MaskCandidate(decoded.logits[0, 0], crop, float(decoded.iou[0, 0]), presence)


def widened_box(mask: NDArray[np.bool_]) -> DecoderPrompt:
    """The box of a mask (row, column), a little widened and cut to the frame."""
    x0, y0, x1, y1 = Box.around(mask).xyxy
    margin = max(MARGIN * max(x1 - x0, y1 - y0), 1.0)
    height, width = mask.shape
    box = (
        max(x0 - margin, 0.0),
        max(y0 - margin, 0.0),
        min(x1 + margin, width),
        min(y1 + margin, height),
    )
    return replace(NO_PROMPT, box=box)

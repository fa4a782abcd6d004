"""SessionState: the objects of a stack, and what answers their prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from segscope.errors import UsageError
from segscope.inference.crop import Crop
from segscope.inference.learning.head import SessionHead
from segscope.masks import FrameMask, Runs, encode_runs
from segscope.memory import MemoryPolicy, policy
from segscope.models.engine import Engine
from segscope.models.segmenter import refuse_segmenter
from segscope.predict.overlaps import Overlap, check_overlap, compose_frame
from segscope.predict.prompted_frame import answer_prompts
from segscope.predict.state import FrameResult, InferenceState, ObjectState
from segscope.prompts import Prompt, is_by_person
from segscope.render import Renderer
from segscope.session.examples.session_examples import ExampleIds, SessionExamples
from segscope.session.examples.store import MissingExample
from segscope.session.scratch_store import ScratchStore
from segscope.stack import Stack
from segscope.wire import JsonObject

Objects = dict[int, ObjectState]
# (object, result, locked, accepted) of a frame: everything that its composed masks depend on
MaskInputs = list[tuple[int, FrameResult, bool, bool]]


@dataclass(frozen=True, slots=True)
class StateCheckpoint:
    """A state to return to. The view belongs to it: later tracking looks through it."""

    objects: Objects
    view: Crop


class SessionState:
    """What commands work on.

    Attributes:
        inference: the stack in front of the engine.
        overlap: how overlapping masks are composed.
        objects: state of each object by id.
        learning: the examples that answers learn from, or None.
    """

    def __init__(
        self,
        inference: InferenceState,
        overlap: Overlap,
        objects: Objects | None = None,
        learning: SessionExamples | None = None,
    ) -> None:
        self.inference = inference
        self.overlap = overlap
        self.learning = learning
        self.objects: Objects = {} if objects is None else objects
        self._composed: dict[int, tuple[MaskInputs, dict[int, Runs]]] = {}

    @classmethod
    def begin(
        cls,
        stack: Stack,
        engine: Engine,
        *,
        window: str | JsonObject | None = None,
        memory: str | MemoryPolicy = "fifo",
        overlap: Overlap = "highest",
    ) -> SessionState:
        """The state before the first command; see `Interaction` for the arguments.

        Raises:
            UsageError: an engine without prompts, or an unknown window, memory or overlap policy.
        """
        refuse_segmenter(engine)
        check_overlap(overlap)
        memory_policy = policy(memory)
        inference = InferenceState.of(stack, engine, Renderer(stack, window), memory_policy)
        return cls(inference, overlap)

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.inference.stack.size_hw

    # --- going back and forth --------------------------------------------------------------------

    def checkpoint(self) -> StateCheckpoint:
        """The present state; commands copy the objects that they change."""
        return StateCheckpoint(dict(self.objects), self.inference.view)

    def restore(self, checkpoint: StateCheckpoint) -> None:
        """Return to a checkpoint."""
        self.inference.view = checkpoint.view
        self.objects = dict(checkpoint.objects)

    def reset(self) -> None:
        """Return to the state before the first command."""
        self.restore(StateCheckpoint({}, Crop.whole(self.size_hw)))

    def unshare(self, object_ids: Iterable[int]) -> None:
        """Copy objects that are about to change: checkpoints share the rest."""
        for object_id in object_ids:
            if object_id in self.objects:
                self.objects[object_id] = self.objects[object_id].copy()

    def scratch_copy(self) -> SessionState:
        """A copy for a preview: what happens in it leaves this state and its disk space alone."""
        # similarities of memories are stored by place in the tensor store, and scratch has its own
        inference = replace(self.inference, spool=ScratchStore(self.inference.spool), pairs={})
        return SessionState(inference, self.overlap, dict(self.objects), self.learning)

    # --- objects and masks -----------------------------------------------------------------------

    def object(self, object_id: int) -> ObjectState:
        """The state of an object.

        Raises:
            UsageError: no such object.
        """
        if object_id not in self.objects:
            raise UsageError(f"no object {object_id}; there are {sorted(self.objects)}")
        return self.objects[object_id]

    def ensure_object(self, object_id: int) -> ObjectState:
        """The state of an object, a new one if need be."""
        return self.objects.setdefault(object_id, ObjectState())

    def result(self, frame: int, object_id: int) -> FrameResult:
        """The mask of an object on a frame.

        Raises:
            UsageError: no such object, or it has no mask there.
        """
        result = self.object(object_id).answers.get(frame)
        if result is None:
            raise UsageError(f"object {object_id} has no mask on frame {frame} to confirm")
        return result

    def compose_masks(self, objects: Mapping[int, ObjectState], frame: int) -> dict[int, Runs]:
        """Masks of objects on a frame as they are displayed and written: overlaps resolved.

        The latest of each frame is cached, since logging and display both need it.
        """
        inputs = [
            (object_id, state.answers[frame], state.locked, frame in state.accepted)
            for object_id, state in objects.items()
            if frame in state.answers
        ]
        cached = self._composed.get(frame)
        if cached is not None and cached[0] == inputs:
            return cached[1]
        composed = compose_frame(self.inference, objects, frame, self.overlap)
        self._composed[frame] = (inputs, composed)
        return composed

    # --- learning --------------------------------------------------------------------------------

    def choose_examples(self, object_ids: Iterable[int]) -> ExampleIds:
        """Ids of the examples that the next answers of objects learn from."""
        if self.learning is None:
            return {}
        return self.learning.choose(self.objects, object_ids)

    def head(self, ids: Sequence[str]) -> SessionHead | None:
        """The head of examples; None without any.

        Raises:
            MissingExample: one of them is not in the store.
        """
        if not ids:
            return None
        if self.learning is None:
            raise MissingExample(
                "these answers were learned from examples that are not at hand; open the session "
                "with them"
            )
        return self.learning.examples.head(ids)

    def heads(self, examples: ExampleIds) -> dict[int, SessionHead]:
        """The heads of examples by object.

        Raises:
            MissingExample: one of them is not in the store.
        """
        heads = {object_id: self.head(ids) for object_id, ids in examples.items()}
        return {object_id: head for object_id, head in heads.items() if head is not None}

    # --- changes; the objects must not be shared --------------------------------------------------

    def answer(self, prompts: Sequence[Prompt], examples: ExampleIds) -> FrameMask:
        """Answer prompts, those of one object on one frame together; the last prompt's answer.

        Args:
            examples: ids of the examples to learn from, by object.

        Raises:
            MissingExample: one of them is not in the store.
        """
        groups: dict[tuple[int, int], list[Prompt]] = {}
        for prompt in prompts:
            groups.setdefault((prompt.frame, prompt.object_id), []).append(prompt)
        answers: dict[tuple[int, int], FrameMask] = {}
        for (frame, object_id), group in groups.items():
            obj = self.ensure_object(object_id)
            head = self.head(examples.get(object_id, ()))
            answer = answer_prompts(self.inference, obj, object_id, frame, group, head)
            answers[frame, object_id] = answer
            obj.accepted -= {frame}  # the mask that was accepted has been replaced
        return answers[prompts[-1].frame, prompts[-1].object_id]

    def review_prompted(self, prompts: Iterable[Prompt]) -> None:
        """What a person prompts, that person has reviewed."""
        for object_id in {prompt.object_id for prompt in prompts if is_by_person(prompt)}:
            obj = self.objects[object_id]
            if obj.unreviewed:
                obj.mark_reviewed(True)

    def withdraw_prompts(self, frame: int, object_id: int) -> None:
        """Remove the prompts on a frame; where tracking had passed, its mask returns."""
        obj = self.ensure_object(object_id)
        tracked = obj.replaced.get(frame)
        if tracked is None or obj.tracked(frame) is None:
            self.clear_frame(frame, object_id)
            return
        obj.prompts.pop(frame, None)
        obj.answers[frame] = tracked
        del obj.replaced[frame]
        obj.anchors -= {frame}
        obj.accepted -= {frame}

    def clear_frame(self, frame: int, object_id: int) -> None:
        """Remove everything of an object on a frame."""
        obj = self.objects[object_id]
        obj.prompts.pop(frame, None)
        obj.answers.pop(frame, None)
        obj.tracked_direction.pop(frame, None)
        obj.replaced.pop(frame, None)
        obj.anchors -= {frame}
        obj.frozen_anchors -= {frame}
        obj.accepted -= {frame}

    def freeze_composed(self, frame: int, object_ids: Iterable[int]) -> None:
        """Store masks as they are displayed, so that accepting them changes no pixel on screen."""
        composed = self.compose_masks(self.objects, frame)
        empty = encode_runs(np.zeros(self.size_hw, bool))
        for object_id in object_ids:
            result = self.objects[object_id].answers[frame]
            runs = composed.get(object_id, empty)
            if result.area and not np.array_equal(runs, result.runs):
                area = int(runs[1::2].sum())
                changed = replace(result, runs=runs, area=area)
                self.objects[object_id].answers[frame] = changed

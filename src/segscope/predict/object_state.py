"""ObjectState: prompts and answers of one object on a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from segscope.inference.crop import Crop
from segscope.masks import Runs
from segscope.memory.tensor_store import TensorHandle
from segscope.prompts import Prompt


@dataclass(frozen=True, slots=True, eq=False)
class StoredMemory:
    """Memory of one frame whose tensors are in the tensor store.

    Attributes:
        map, pointer: tensors, see `segscope.models.engine.Memory`.
        iou: predicted IoU of the mask.
        object_score: logit of presence.
        view: the crop that it was made in.
    """

    map: TensorHandle
    pointer: TensorHandle
    iou: float
    object_score: float
    view: Crop


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of the masks that prompts may mean.

    Attributes:
        logits: (row, column), low-resolution, in the tensor store.
        view: the crop that they cover.
        score: predicted IoU.
    """

    logits: TensorHandle
    view: Crop
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """Stored mask of an object on a frame.

    Attributes:
        runs: run lengths of the mask.
        area: pixels inside.
        logits: low-resolution logits (row, column) in the tensor store; None where only the mask is
            known.
        view: the crop that the logits cover.
        score: predicted IoU, 0 to 1.
        object_score: logit of presence, or None.
        memory: what tracking may attend to, or None (families without memory).
        note: why the mask is not the network's own.
        candidates: all masks that the prompts may mean, best first; empty without a choice.
        chosen: index of this mask among them.
    """

    runs: Runs
    area: int
    logits: TensorHandle | None
    view: Crop
    score: float
    object_score: float | None
    memory: StoredMemory | None
    note: str = ""
    candidates: tuple[Candidate, ...] = ()
    chosen: int = 0


@dataclass(slots=True)
class ObjectState:
    """One object.

    Attributes:
        name: label from the user, or "".
        prompts: all prompts by frame, in the order they were made.
        answers: masks by frame.
        anchors: conditioning frames, which tracking never overwrites: prompted and confirmed ones.
        frozen_anchors: the anchors when tracking last began; corrections attend to their memories.
        replaced: answers that prompts have replaced since then; corrections of other frames still
            attend to their memories.
        tracked_direction: direction in which tracking last passed a frame: True for backwards.
        accepted: anchors that a person has reviewed and accepted; their masks win over other
            objects where they overlap.
        about: other properties of the object (colour, code, comment ...); with `locked` all of its
            masks win where they overlap.
    """

    name: str = ""
    prompts: dict[int, tuple[Prompt, ...]] = field(default_factory=dict)
    answers: dict[int, FrameResult] = field(default_factory=dict)
    anchors: frozenset[int] = frozenset()
    frozen_anchors: frozenset[int] = frozenset()
    replaced: dict[int, FrameResult] = field(default_factory=dict)
    tracked_direction: dict[int, bool] = field(default_factory=dict)
    accepted: frozenset[int] = frozenset()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def locked(self) -> bool:
        """Whether the object is finished: its masks win over other objects where they overlap."""
        return bool(self.about.get("locked"))

    def copy(self) -> ObjectState:
        """A copy that shares answers, which never change."""
        return replace(
            self,
            prompts=dict(self.prompts),
            answers=dict(self.answers),
            replaced=dict(self.replaced),
            tracked_direction=dict(self.tracked_direction),
        )

    def freeze_anchors(self) -> None:
        """Tracking begins: from here on it attends to every answer as it is now."""
        self.frozen_anchors = self.anchors
        self.replaced = {}

    def known(self, frame: int) -> FrameResult | None:
        """The answer on a frame as tracking last used or made it."""
        return self.replaced.get(frame, self.answers.get(frame))

    def tracked(self, frame: int) -> FrameResult | None:
        """The answer that tracking made on a frame, or None on anchors and on frames that it has
        not passed.
        """
        if frame in self.tracked_direction and frame not in self.frozen_anchors:
            return self.known(frame)
        return None

"""ObjectState: everything known of one object on a stack."""

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
    """Memory of one frame: the map lies in the spool, the small parts here."""

    map: TensorHandle
    pointer: TensorHandle
    iou: float
    object_score: float
    view: Crop


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """One of the masks that prompts may mean: logits in the spool, what they show, predicted IoU."""

    logits: TensorHandle
    view: Crop
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """Mask of an object on a frame, as it is kept.

    Attributes:
        runs: run lengths of the mask.
        area: pixels inside.
        logits: low-resolution logits (row, column) in the spool; None where only the mask is known.
        view: what the logits show.
        score: predicted IoU, 0 to 1.
        object_score: logit of presence, or None.
        memory: what tracking may attend to, or None (families without memory).
        note: why the answer is not the network's own.
        candidates: all masks that the prompts may mean, best first; empty where there was no
            choice.
        chosen: which of them this is.
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
        name: label that the user gave, or "".
        prompts: all prompts by frame, in the order they were made.
        answers: masks by frame.
        anchors: frames that tracking never overwrites: prompted and confirmed ones.
        settled: the anchors when tracking last began; corrections are decoded from what these say.
        replaced: answers that prompts have replaced since then; for corrections of other frames
            they still count.
        passed: direction in which tracking last went over a frame: True for backwards.
        accepted: anchors that a person has looked at and accepted; they win over other objects
            where masks overlap.
        about: what else is said of the object (colour, code, comment ...); `locked` is heeded as
            `accepted` is.
    """

    name: str = ""
    prompts: dict[int, tuple[Prompt, ...]] = field(default_factory=dict)
    answers: dict[int, FrameResult] = field(default_factory=dict)
    anchors: frozenset[int] = frozenset()
    settled: frozenset[int] = frozenset()
    replaced: dict[int, FrameResult] = field(default_factory=dict)
    passed: dict[int, bool] = field(default_factory=dict)
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
            passed=dict(self.passed),
        )

    def settle(self) -> None:
        """Tracking begins: from here on every answer counts as it is now."""
        self.settled = self.anchors
        self.replaced = {}

    def known(self, frame: int) -> FrameResult | None:
        """The answer on a frame as tracking last saw or left it."""
        return self.replaced.get(frame, self.answers.get(frame))

    def tracked(self, frame: int) -> FrameResult | None:
        """The answer that tracking left on a frame, or None where it went by a prompt or never
        came.
        """
        if frame in self.passed and frame not in self.settled:
            return self.known(frame)
        return None

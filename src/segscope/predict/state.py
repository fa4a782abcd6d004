"""InferenceState: a stack and an engine, with the features, logits and memories computed so far;
and ObjectState: prompts and answers of one object.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.constants import GIVEN
from segscope.inference.crop import Crop, EncodedFrames
from segscope.inference.memory_bank import TrackingStep, build_bank
from segscope.masks import FrameMask, Runs, decode_runs, encode_runs
from segscope.memory import MemoryPolicy, Past
from segscope.memory.tensor_store import TensorHandle, TensorStore
from segscope.models.engine import Bank, Decoded, Engine, Features, Memory
from segscope.prompts import Prompt
from segscope.render import Renderer
from segscope.stack import Stack

GRID = 8  # features are compared as means of this many cells a side: 64 KiB a frame
COARSE_FRAMES = 256  # frames whose means stay in memory
PAIRS = 20_000  # similarities of memories that stay in memory


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
        note: why it is not the network's own.
    """

    logits: TensorHandle
    view: Crop
    score: float
    note: str = ""


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
            masks win where they overlap; with `unreviewed` nobody has looked at them.
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

    @property
    def unreviewed(self) -> bool:
        """Whether a network found the object, and nobody has reviewed it yet."""
        return bool(self.about.get("unreviewed"))

    def mark_reviewed(self, reviewed: bool) -> None:
        """State whether somebody has reviewed the object."""
        about = {key: value for key, value in self.about.items() if key != "unreviewed"}
        if not reviewed:
            about["unreviewed"] = True
        self.about = about

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


@dataclass(slots=True)
class InferenceState:
    """What answering prompts needs besides the prompts.

    Attributes:
        stack: whose frames are segmented.
        engine: segments them.
        frames: the stack as the network and the annotator see it.
        features: encoded frames.
        spool: store of logits and memories.
        policy: which tracked frames are attended to.
        view: the crop that tracking is shown; the whole frame unless the engine has a window rule.
        coarse: features of past frames as means of a few cells, by frame and view.
        pairs: similarity of two memories, by their offsets in the store.
    """

    stack: Stack
    engine: Engine
    frames: Renderer
    features: EncodedFrames
    spool: TensorStore
    policy: MemoryPolicy
    view: Crop
    coarse: dict[tuple[int, Crop], Tensor] = field(default_factory=dict)
    pairs: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        stack: Stack,
        engine: Engine,
        frames: Renderer,
        policy: MemoryPolicy,
        features: EncodedFrames | None = None,
    ) -> InferenceState:
        """A state without answers; `features` in place of an empty cache."""
        if features is None:
            features = EncodedFrames(engine, frames, video=len(stack) > 1)
        whole = Crop.whole(stack.size_hw)
        return cls(stack, engine, frames, features, TensorStore(), policy, whole)

    @property
    def remembers(self) -> bool:
        """Whether answers become memories: a sequence, and an engine that tracks by memory."""
        return self.engine.memory_frames > 0 and len(self.stack) > 1

    # --- answers ---------------------------------------------------------------------------------

    def answer(
        self,
        low: Tensor,
        view: Crop,
        *,
        score: float,
        object_score: float | None,
        memory: Memory | None = None,
        note: str = "",
        given: NDArray[np.bool_] | None = None,
    ) -> tuple[FrameResult, NDArray[np.float32]]:
        """Store an answer; it, and its logits (row, column) on the frame.

        Args:
            low: (row, column) logits of the decoder.
            view: the crop that they cover.
            given: the exact mask where a person drew it; else the mask is where the logits are
                above 0.
        """
        full = self.on_frame(low, view)
        runs = encode_runs(full > 0 if given is None else given)
        stored = None
        if memory is not None:
            stored = self.keep(memory)
        area = int(runs[1::2].sum())
        logits = self.spool.put(low.float())
        return FrameResult(runs, area, logits, view, score, object_score, stored, note), full

    def keep(self, memory: Memory) -> StoredMemory:
        """Store a memory made in the tracking view."""
        map_ = self.spool.put(memory.map)
        pointer = self.spool.put(memory.pointer)
        return StoredMemory(map_, pointer, memory.iou, memory.object_score, self.view)

    def on_frame(self, low: Tensor, view: Crop) -> NDArray[np.float32]:
        """Logits (row, column) on the frame, from a decoder's logits for a view."""
        if low.numel() == 1:  # a constant, for frames without the object
            return np.full(self.stack.size_hw, float(low), np.float32)
        return np.asarray(
            view.paste(self.engine.to_frame(low, view.size_hw)).float().cpu().numpy(), np.float32
        )

    def logits(self, answer: FrameResult) -> NDArray[np.float32]:
        """Logits (row, column) on the frame of a stored answer."""
        if answer.logits is None:
            return np.where(self.mask(answer), np.float32(GIVEN), np.float32(-GIVEN))
        return self.on_frame(self.spool.get(answer.logits, self.engine.device), answer.view)

    def stored_logits(self, answer: FrameResult) -> Tensor:
        """Logits (row, column) of an answer as they were stored, in its view."""
        if answer.logits is None:
            return torch.from_numpy(self.logits(answer)).to(self.engine.device)
        return self.spool.get(answer.logits, self.engine.device)

    def mask(self, answer: FrameResult) -> NDArray[np.bool_]:
        return decode_runs(answer.runs, self.stack.size_hw)

    def frame_mask(
        self,
        frame: int,
        object_id: int,
        answer: FrameResult,
        full: NDArray[np.float32] | None = None,
        candidates: tuple[tuple[NDArray[np.float32], float], ...] = (),
    ) -> FrameMask:
        """A stored answer as users see it."""
        if full is None:
            full = self.logits(answer)
        return FrameMask(
            frame,
            object_id,
            self.mask(answer),
            full,
            answer.score,
            answer.object_score,
            candidates,
            answer.note,
        )

    # --- memory ----------------------------------------------------------------------------------

    def remember_masks(
        self, frame: int, masks: Sequence[NDArray[np.bool_]]
    ) -> tuple[Decoded, list[Memory]]:
        """Memories of masks (row, column) of a frame, in the tracking view."""
        features = self.features.get(frame, self.view)
        cut = np.stack(list(map(self.view.cut, masks)))[:, None]
        return self.engine.remember_masks(features, torch.from_numpy(cut).float())

    def bank(
        self,
        track: ObjectState,
        frame: int,
        reverse: bool,
        anchors: frozenset[int],
    ) -> Bank:
        """What one object's tracking attends to on a frame.

        Args:
            anchors: the prompted frames that count; all of them take part in the maps, those
                already passed in the pointers.
        """
        step = TrackingStep(frame, -1 if reverse else 1, len(self.stack))
        memories = TrackMemories(self, track, step, anchors)
        return build_bank(self.engine, memories, step, self.policy)

    def coarse_features(self, frame: int) -> Tensor:
        """Features of a frame in the tracking view, averaged in cells; computed while the frame is
        at hand.
        """
        key = (frame, self.view)
        if key not in self.coarse:
            while len(self.coarse) >= COARSE_FRAMES:
                self.coarse.pop(next(iter(self.coarse)))
            cells = F.adaptive_avg_pool2d(self.encode(frame).maps[-1].float(), GRID)
            self.coarse[key] = cells.flatten()
        return self.coarse[key]

    def similarity(self, one: StoredMemory, other: StoredMemory) -> float:
        """Cosine similarity of two memory maps, mean over positions."""
        low, high = sorted((one, other), key=lambda memory: memory.map.offset)
        key = (low.map.offset, high.map.offset)
        if key not in self.pairs:
            if len(self.pairs) >= PAIRS:
                self.pairs.clear()
            first = self.spool.get(one.map, self.engine.device).float()
            second = self.spool.get(other.map, self.engine.device).float()
            self.pairs[key] = float(torch.cosine_similarity(first, second, dim=-1).mean())
        return self.pairs[key]

    def encode(self, frame: int) -> Features:
        """Features of a frame in the tracking view."""
        return self.features.get(frame, self.view)


class TrackMemories:
    """Stored memories of one object that show the tracking view; see
    `segscope.inference.memory_bank.ObjectMemories`.
    """

    def __init__(
        self,
        state: InferenceState,
        track: ObjectState,
        step: TrackingStep,
        anchors: frozenset[int],
    ) -> None:
        self.state = state
        self.track = track
        self.step = step
        self._anchors = {
            at: memory for at in anchors if (memory := self._in_view(track.known(at))) is not None
        }
        state.coarse_features(step.frame)  # later frames may be compared with it

    @property
    def anchors(self) -> Collection[int]:
        return self._anchors.keys()

    def is_tracked(self, frame: int) -> bool:
        return self._tracked(frame) is not None

    def describe(self, frame: int, distance: int) -> Past:
        memory = self._tracked(frame)
        assert memory is not None

        def similarity(other: Past) -> float:
            there = self._tracked(self.step.passed(other.distance))
            assert there is not None
            return self.state.similarity(memory, there)

        def likeness() -> float:
            here = self.state.coarse_features(self.step.frame)
            return float(torch.cosine_similarity(here, self.state.coarse_features(frame), dim=0))

        return Past(distance, memory.iou, memory.object_score, similarity, likeness)

    def load(self, frame: int, *, pointer_only: bool = False) -> Memory:
        memory = self._anchors.get(frame) or self._tracked(frame)
        assert memory is not None
        spool = self.state.spool
        device = self.state.engine.device
        pointer = spool.get(memory.pointer, device)
        map_ = pointer
        if not pointer_only:
            map_ = spool.get(memory.map, device)
        return Memory(map_, pointer, memory.iou, memory.object_score)

    def _tracked(self, frame: int) -> StoredMemory | None:
        return self._in_view(self.track.tracked(frame))

    def _in_view(self, answer: FrameResult | None) -> StoredMemory | None:
        """The memory of an answer, if it shows what tracking is shown now."""
        if answer is None or answer.memory is None or answer.memory.view != self.state.view:
            return None
        return answer.memory

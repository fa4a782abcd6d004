"""InferenceState: a stack in front of an engine, with what both need kept: features, past frames, the view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segscope.inference.crop import Crop, FeatureCache
from segscope.masks import FrameMask, decode_runs, encode_runs
from segscope.memory import MemoryPolicy, Past
from segscope.memory.tensor_store import TensorStore
from segscope.models.engine import Bank, Decoded, Engine, Features, Memory
from segscope.predict.object_state import FrameResult, ObjectState, StoredMemory
from segscope.render import Renderer
from segscope.stack import Stack

GIVEN = 10.0
"""Logit inside a mask of which nothing else is known; outside, minus that: as SAM 2 writes masks
into its logits.
"""
ABSENT = -1024.0
"""Logit of every pixel of an object that is not on a frame (SAM 2's value)."""

GRID = 8  # features are compared as their means on a grid of so many cells a side: 64 KiB a frame
LOOKS = 256  # frames of which these means are kept
PAIRS = 20_000  # similarities of memories that are kept


@dataclass(slots=True)
class InferenceState:
    """What answering needs besides the prompts.

    Attributes:
        stack, engine: the two it joins.
        frames: what the network sees of the stack, and the annotator too.
        features: encoded frames.
        spool: logits and memories of past frames.
        policy: which tracked frames are attended to.
        view: what tracking looks at; the whole frame unless the engine zooms.
        looks: features of past frames in few numbers, by frame and view.
        pairs: how similar two memories are, by their places in the spool.
    """

    stack: Stack
    engine: Engine
    frames: Renderer
    features: FeatureCache
    spool: TensorStore
    policy: MemoryPolicy
    view: Crop
    looks: dict[tuple[int, Crop], Tensor] = field(default_factory=dict)
    pairs: dict[tuple[int, int], float] = field(default_factory=dict)

    @classmethod
    def of(
        cls, stack: Stack, engine: Engine, frames: Renderer, policy: MemoryPolicy
    ) -> InferenceState:
        cache = FeatureCache(engine, frames, video=len(stack) > 1)
        return cls(stack, engine, frames, cache, TensorStore(), policy, Crop.whole(stack.size_hw))

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
        """Keep an answer, and give its logits (row, column) on the frame.

        Args:
            low: (row, column) logits as the decoder gives them.
            given: the exact mask where a person gave it; else the mask is where the logits are
                above 0.
        """
        full = self.on_frame(low, view)
        mask = given
        if given is None:
            mask = full > 0
        runs = encode_runs(mask)
        kept = None
        if memory is not None:
            kept = self.keep(memory)
        ticket = self.spool.put(low.float())
        return FrameResult(
            runs, int(runs[1::2].sum()), ticket, view, score, object_score, kept, note
        ), full

    def keep(self, memory: Memory) -> StoredMemory:
        """Put a memory made in the tracking view into the spool."""
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
        """Logits (row, column) on the frame of a kept answer."""
        if answer.logits is None:
            return np.where(self.mask(answer), np.float32(GIVEN), np.float32(-GIVEN))
        return self.on_frame(self.spool.get(answer.logits, self.engine.device), answer.view)

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
        """A kept answer as users see it."""
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
        """Memories of masks (row, column) of a frame, seen in the tracking view."""
        features = self.features.get(frame, self.view)
        cut = np.stack([self.view.cut(mask) for mask in masks])[:, None]
        return self.engine.remember_masks(features, torch.from_numpy(cut).float())

    def bank(self, track: ObjectState, frame: int, reverse: bool, anchors: frozenset[int]) -> Bank:
        """What one object's tracking attends to on a frame.

        Args:
            anchors: the prompted frames that count; all of them take part in the maps, those
                already passed in the pointers.
        """
        step = 1
        if reverse:
            step = -1
        slots = self.engine.memory_frames - 1
        held = {at: memory for at in sorted(anchors) if (memory := self._seen(track.known(at)))}
        maps = [(0, self._memory(memory, with_map=True)) for memory in held.values()]
        past = self._past(track, frame, step, slots * self.policy.reach)
        chosen = self.policy.choose([item for item, _ in past], slots)
        by_distance = {item.distance: kept for item, kept in past}
        maps += [
            (age, self._memory(by_distance[item.distance], with_map=True)) for age, item in chosen
        ]
        longest = min(len(self.stack), self.engine.pointer_limit)
        pointers = [
            ((frame - at) * step, self._memory(memory))
            for at, memory in held.items()
            if (frame - at) * step >= 0
        ]
        for distance in range(1, longest if self.policy.ordered else 1):
            memory = self._seen(track.tracked(frame - step * distance))
            if memory is not None:
                pointers.append((distance, self._memory(memory)))
        return Bank(maps, pointers, longest)

    def _seen(self, answer: FrameResult | None) -> StoredMemory | None:
        """The memory of an answer, if it shows what tracking looks at now."""
        memory = None
        if answer is not None:
            memory = answer.memory
        if memory is not None and memory.view == self.view:
            return memory
        return None

    def _past(
        self, track: ObjectState, frame: int, step: int, reach: int
    ) -> list[tuple[Past, StoredMemory]]:
        found: list[tuple[Past, StoredMemory]] = []
        kept: dict[int, StoredMemory] = {}
        now = self._look(frame)

        def similarity(a: int, b: Past) -> float:
            places = sorted((kept[a].map.offset, kept[b.distance].map.offset))
            key = (places[0], places[1])
            if key not in self.pairs:
                if len(self.pairs) >= PAIRS:
                    self.pairs.clear()
                one, other = (
                    self.spool.get(kept[d].map, self.engine.device).float() for d in (a, b.distance)
                )
                self.pairs[key] = float(torch.cosine_similarity(one, other, dim=-1).mean())
            return self.pairs[key]

        for distance in range(1, reach + 1):
            memory = self._seen(track.tracked(frame - step * distance))
            if memory is not None:
                kept[distance] = memory
                compare = lambda other, d=distance: similarity(d, other)  # noqa: E731
                alike = lambda at=frame - step * distance: float(  # noqa: E731
                    torch.cosine_similarity(now, self._look(at), dim=0)
                )
                found.append(
                    (Past(distance, memory.iou, memory.object_score, compare, alike), memory)
                )
        return found

    def _look(self, frame: int) -> Tensor:
        """Features of a frame in the tracking view, averaged in cells; taken while the frame is
        there.
        """
        key = (frame, self.view)
        if key not in self.looks:
            while len(self.looks) >= LOOKS:
                self.looks.pop(next(iter(self.looks)))
            self.looks[key] = F.adaptive_avg_pool2d(
                self.encode(frame).maps[-1].float(), GRID
            ).flatten()
        return self.looks[key]

    def _memory(self, kept: StoredMemory, *, with_map: bool = False) -> Memory:
        device = self.engine.device
        pointer = self.spool.get(kept.pointer, device)
        return Memory(
            self.spool.get(kept.map, device) if with_map else pointer,
            pointer,
            kept.iou,
            kept.object_score,
        )

    def encode(self, frame: int) -> Features:
        """Features of a frame in the tracking view."""
        return self.features.get(frame, self.view)

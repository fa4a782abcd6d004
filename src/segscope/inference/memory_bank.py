"""Memory bank: which memories of an object tracking attends to on a frame, and what it decodes.

Prompted frames count from both sides; of tracked frames, a policy chooses among those that were
passed on the way. Object pointers come from prompted frames that were passed, and from the tracked
frames nearest to the current one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from segscope.memory import MemoryPolicy, Past
from segscope.models.engine import ABSENT, NO_PROMPT, Bank, Decoded, Engine, Features, Memory


@dataclass(frozen=True, slots=True)
class TrackingStep:
    """One step of tracking.

    Attributes:
        frame: the frame that is reached.
        direction: 1 forwards, -1 backwards.
        length: frames of the stack or clip.
    """

    frame: int
    direction: int
    length: int

    @property
    def previous(self) -> int:
        """The neighbouring frame that tracking comes from."""
        return self.frame - self.direction

    def passed(self, distance: int) -> int:
        """The frame that was passed so many frames ago."""
        return self.frame - distance * self.direction


class ObjectMemories(Protocol):
    """Memories of one object, by frame."""

    @property
    def anchors(self) -> Collection[int]:
        """Frames with a memory that were prompted or confirmed."""

    def is_tracked(self, frame: int) -> bool:
        """Whether tracking on this way left a memory on a frame."""

    def describe(self, frame: int, distance: int) -> Past:
        """What a policy may know of a tracked frame."""

    def load(self, frame: int, *, pointer_only: bool = False) -> Memory:
        """The memory of a frame; with `pointer_only` its map may be anything."""


def build_bank(
    engine: Engine, memories: ObjectMemories, step: TrackingStep, policy: MemoryPolicy
) -> Bank:
    """What tracking of one object attends to on a frame."""
    places = engine.memory_frames - 1
    anchors = sorted(memories.anchors)
    maps: list[tuple[int | None, Memory]] = [(0, memories.load(at)) for at in anchors]
    past = [
        memories.describe(step.passed(distance), distance)
        for distance in range(1, places * policy.reach + 1)
        if memories.is_tracked(step.passed(distance))
    ]
    for age, chosen in policy.choose(past, places):
        maps.append((age, memories.load(step.passed(chosen.distance))))
    longest = min(step.length, engine.pointer_limit)
    distances = [(step.frame - at) * step.direction for at in anchors]
    distances = [distance for distance in distances if distance >= 0]
    if policy.ordered:
        distances += [
            distance for distance in range(1, longest) if memories.is_tracked(step.passed(distance))
        ]
    pointers = [
        (distance, memories.load(step.passed(distance), pointer_only=True))
        for distance in distances
    ]
    return Bank(maps, pointers, longest)


def decode_tracked(
    engine: Engine,
    features: Features,
    conditioned: Tensor,
    previous: Sequence[Tensor | None],
) -> Decoded:
    """All candidates for objects on a frame that none of them is prompted on.

    Args:
        features: of the frame.
        conditioned: (O, channel, row, column) last map, from `Engine.attend`.
        previous: (row, column) logits of each object on the neighbouring frame; None where it has
            no answer there.
    """
    prompts = [NO_PROMPT] * len(conditioned)
    if engine.uses_previous_logits:
        absent = torch.full((1, 1), ABSENT, device=engine.device)
        lasts = [absent if logits is None else logits for logits in previous]
        prompts = [replace(NO_PROMPT, last=last) for last in lasts]
    multimask = engine.multimask(0, tracking=True)
    return engine.decode(features, prompts, multimask=multimask, conditioned=conditioned)

"""MaskDelta: what a command changed, stored with its line in the log: masks as they are displayed.

With it a log can be opened when its network no longer exists: the masks stay, byte for byte, and
later prompts start from them as from masks that a person drew.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypedDict

import numpy as np

from segscope.errors import PromptError
from segscope.inference.crop import Crop
from segscope.masks import Runs, encode_runs
from segscope.predict.state import FrameResult, ObjectState
from segscope.prompts import Prompt
from segscope.session.commands import SessionCommand
from segscope.session.state import Objects, SessionState
from segscope.wire import JsonObject, prompt_from_json, prompt_to_json

LIMIT = 2**29  # bytes of masks that one command may have changed

PromptsDelta = tuple[int, list[JsonObject] | None]  # prompts that stay, and the rest
ResultDelta = tuple[int, float, float | None, str]  # run lengths, score, object score, note


class ObjectDelta(TypedDict, total=False):
    """What changed of an object; frames are text because JSON wants text as keys.

    `prompts` has None for the prompts of the command itself, which the line holds already.
    """

    name: str
    about: JsonObject
    anchors: list[int]
    accepted: list[int]
    removed: list[int]
    unprompted: list[int]
    prompts: dict[str, PromptsDelta]
    results: dict[str, ResultDelta]


@dataclass(frozen=True, slots=True)
class MaskDelta:
    """What a command changed.

    Attributes:
        whole: it holds everything, because the lines before it hold no masks.
        objects: changes by object id; None for an object that was removed.
        runs: run lengths of all masks in the order of `objects`, deflated, base64.
    """

    whole: bool
    objects: Mapping[str, ObjectDelta | None]
    runs: str

    def to_json(self) -> JsonObject:
        return {"whole": self.whole, "objects": self.objects, "runs": self.runs}

    @classmethod
    def from_json(cls, item: JsonObject) -> MaskDelta:
        return cls(item["whole"], item["objects"], item["runs"])

    def same_masks(self, other: MaskDelta) -> bool:
        """Whether two deltas have the same masks."""
        return bool(np.array_equal(self.run_lengths(), other.run_lengths()))

    def run_lengths(self) -> Runs:
        """Run lengths of all masks, one after the other.

        Raises:
            PromptError: more than a command can have changed.
        """
        inflater = zlib.decompressobj()
        data = inflater.decompress(base64.b64decode(self.runs), LIMIT)
        if inflater.unconsumed_tail:
            raise PromptError(
                f"a command of the log holds more than {LIMIT // 2**20} MiB of masks; "
                "the log is damaged"
            )
        return np.frombuffer(data, "<u4").astype(np.uint32)


def pack_runs(masks: Sequence[Runs]) -> str:
    """Run lengths as text: deflated, base64."""
    data = np.concatenate([np.zeros(0, np.uint32), *masks]).astype("<u4").tobytes()
    return base64.b64encode(zlib.compress(data, 1)).decode()


# --- making one ----------------------------------------------------------------------------------


def mask_delta(
    before: Mapping[int, ObjectState], state: SessionState, command: SessionCommand, *, whole: bool
) -> MaskDelta:
    """What a command changed between `before` and the present state.

    Args:
        whole: hold everything, because the lines before hold no masks.
    """
    if whole:
        before = {}
    after = state.objects
    frames = sorted(changed_frames(before, after))
    composed_before = _compose_frames(state, before, frames)
    composed_after = _compose_frames(state, after, frames)
    masks: list[Runs] = []
    objects: dict[str, ObjectDelta | None] = {}
    for object_id in sorted({*before, *after}):
        if object_id not in after:
            objects[str(object_id)] = None
            continue
        old = before.get(object_id)
        new = after[object_id]
        delta = ObjectDelta()
        if new is not old:
            prompts = command.prompts_by_object.get(object_id, ())
            delta = _properties_delta(old or ObjectState(), new, prompts)
        results: dict[str, ResultDelta] = {}
        for frame in frames:
            result = new.answers.get(frame)
            runs = composed_after[frame].get(object_id)
            unchanged = (
                old is not None
                and result is old.answers.get(frame)
                and _same_runs(runs, composed_before[frame].get(object_id))
            )
            if result is None or unchanged:
                continue
            masks.append(np.zeros(0, np.uint32) if runs is None else runs)
            results[str(frame)] = (
                len(masks[-1]),
                result.score,
                result.object_score,
                result.note,
            )
        if results:
            delta["results"] = results
        if delta or old is None:
            objects[str(object_id)] = delta
    return MaskDelta(whole, objects, pack_runs(masks))


def _compose_frames(
    state: SessionState, objects: Mapping[int, ObjectState], frames: Iterable[int]
) -> dict[int, dict[int, Runs]]:
    """Run lengths by object of each frame, overlaps resolved."""
    return {frame: state.compose_masks(objects, frame) for frame in frames}


def changed_frames(before: Mapping[int, ObjectState], after: Mapping[int, ObjectState]) -> set[int]:
    """Frames on which masks may look different.

    Commands copy the objects that they change, so what is identical did not change.
    """
    frames: set[int] = set()
    missing = ObjectState()
    for object_id in {*before, *after}:
        old = before.get(object_id, missing)
        new = after.get(object_id, missing)
        if old is new:
            continue
        answered = {*old.answers, *new.answers}
        if new.locked != old.locked:
            frames |= answered
        frames |= new.accepted ^ old.accepted
        frames |= {at for at in answered if old.answers.get(at) is not new.answers.get(at)}
    return frames


def _properties_delta(
    old: ObjectState, new: ObjectState, command_prompts: Sequence[Prompt]
) -> ObjectDelta:
    """Everything that changed of an object but its masks."""
    delta = ObjectDelta()
    if new.name != old.name:
        delta["name"] = new.name
    if new.about != old.about:
        delta["about"] = dict(new.about)
    if new.anchors != old.anchors:
        delta["anchors"] = sorted(new.anchors)
    if new.accepted != old.accepted:
        delta["accepted"] = sorted(new.accepted)
    if removed := {*old.answers} - {*new.answers}:
        delta["removed"] = sorted(removed)
    if unprompted := {*old.prompts} - {*new.prompts}:
        delta["unprompted"] = sorted(unprompted)
    prompts = {}
    for frame, present in new.prompts.items():
        previous = old.prompts.get(frame, ())
        if present is not previous:
            own = tuple(prompt for prompt in command_prompts if prompt.frame == frame)
            prompts[str(frame)] = _prompts_delta(previous, present, own)
    if prompts:
        delta["prompts"] = prompts
    return delta


def _prompts_delta(
    old: Sequence[Prompt], new: Sequence[Prompt], command_prompts: Sequence[Prompt]
) -> PromptsDelta:
    count = 0
    while count < min(len(old), len(new)) and old[count] is new[count]:
        count += 1
    rest = new[count:]
    if tuple(rest) == tuple(command_prompts):
        return count, None
    return count, list(map(prompt_to_json, rest))


def _same_runs(one: Runs | None, other: Runs | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or np.array_equal(one, other)


# --- applying one --------------------------------------------------------------------------------


def apply_delta(
    objects: Objects, command: SessionCommand, delta: MaskDelta, size_hw: tuple[int, int]
) -> None:
    """Make the changes of a delta; objects that change are copied."""
    if delta.whole:
        objects.clear()
    runs = delta.run_lengths()
    start = 0
    empty = encode_runs(np.zeros(size_hw, bool))
    for key, changes in delta.objects.items():
        object_id = int(key)
        if changes is None:
            objects.pop(object_id, None)
            continue
        obj = ObjectState()
        if object_id in objects:
            obj = objects[object_id].copy()
        objects[object_id] = obj
        _apply_properties(obj, changes)
        prompts = command.prompts_by_object.get(object_id, ())
        _apply_prompts(obj, object_id, changes, prompts)
        for frame, (length, score, object_score, note) in changes.get("results", {}).items():
            mask = runs[start : start + length] if length else empty
            start += length
            obj.answers[int(frame)] = mask_result(mask, size_hw, score, object_score, note)


def _apply_properties(obj: ObjectState, changes: ObjectDelta) -> None:
    obj.name = changes.get("name", obj.name)
    obj.about = changes.get("about", obj.about)
    obj.anchors = frozenset(changes.get("anchors", obj.anchors))
    obj.accepted = frozenset(changes.get("accepted", obj.accepted))
    for frame in changes.get("removed", ()):
        obj.answers.pop(frame, None)
    for frame in changes.get("unprompted", ()):
        obj.prompts.pop(frame, None)


def _apply_prompts(
    obj: ObjectState, object_id: int, changes: ObjectDelta, command_prompts: Iterable[Prompt]
) -> None:
    own = list(command_prompts)
    for key, (count, rest) in changes.get("prompts", {}).items():
        frame = int(key)
        if rest is None:
            added = [prompt for prompt in own if prompt.frame == frame]
        else:
            added = [prompt_from_json(item, object_id) for item in rest]
        obj.prompts[frame] = (*obj.prompts.get(frame, ())[:count], *added)


def mask_result(
    runs: Runs,
    size_hw: tuple[int, int],
    score: float,
    object_score: float | None,
    note: str,
) -> FrameResult:
    """A result of which only the mask is known."""
    area = int(runs[1::2].sum())
    return FrameResult(runs, area, None, Crop.whole(size_hw), score, object_score, None, note)


def keep_masks_only(state: SessionState) -> None:
    """Reduce objects to what `apply_delta` would have made of them: masks as they are displayed,
    and nothing that only their network understands.
    """
    size_hw = state.size_hw
    empty = encode_runs(np.zeros(size_hw, bool))
    frames = chain.from_iterable(obj.answers for obj in state.objects.values())
    composed = _compose_frames(state, state.objects, set(frames))
    for object_id, obj in state.objects.items():
        answers = {}
        for frame, result in obj.answers.items():
            runs = composed[frame].get(object_id, empty)
            answers[frame] = mask_result(
                runs, size_hw, result.score, result.object_score, result.note
            )
        state.objects[object_id] = ObjectState(
            obj.name,
            dict(obj.prompts),
            answers,
            obj.anchors,
            accepted=obj.accepted,
            about=obj.about,
        )
    state.inference.view = Crop.whole(size_hw)

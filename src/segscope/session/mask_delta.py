"""What a command led to, as its line in the log says it: masks as they were shown.

With it a log can be opened when the network that made it is gone: the masks stay, byte for byte,
and later prompts start from them as from masks that a person gave.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from segscope.errors import PromptError
from segscope.inference.crop import Crop
from segscope.masks import Runs, encode_runs
from segscope.predict.object_state import FrameResult, ObjectState
from segscope.prompts import Prompt
from segscope.session.command_log import Command, command_prompts
from segscope.wire import prompt_from_json, prompt_to_json

LIMIT = 2**29  # bytes of masks that one command may have led to

Tracks = dict[int, ObjectState]
Shown = Callable[[Mapping[int, ObjectState], int], Mapping[int, Runs]]


def difference(
    before: Mapping[int, ObjectState],
    after: Mapping[int, ObjectState],
    command: Command,
    shown: Shown,
    *,
    whole: bool,
) -> dict[str, Any]:
    """What a command changed.

    Args:
        shown: masks of tracks on a frame, overlaps settled.
        whole: say everything that is there now, because the lines before do not say what they led
            to.
    """
    if whole:
        before = {}
    was: dict[int, Mapping[int, Runs]] = {}
    now: dict[int, Mapping[int, Runs]] = {}
    for frame in changed_frames(before, after):
        was[frame], now[frame] = shown(before, frame), shown(after, frame)
    runs: list[Runs] = []
    objects: dict[str, Any] = {}
    for object_id in sorted({*before, *after}):
        if object_id not in after:
            objects[str(object_id)] = None
            continue
        old = before.get(object_id)
        new = after[object_id]
        if new is old:
            item = {}
        else:
            item = _about(old or ObjectState(), new, _prompts_of(command, object_id))
        answers = {}
        for frame in sorted(now):
            answer = new.answers.get(frame)
            here = now[frame].get(object_id)
            same = (
                old is not None
                and answer is old.answers.get(frame)
                and _equal(here, was[frame].get(object_id))
            )
            if answer is not None and not same:
                runs.append(np.zeros(0, np.uint32) if here is None else here)
                answers[str(frame)] = [
                    len(runs[-1]),
                    answer.score,
                    answer.object_score,
                    answer.note,
                ]
        if answers:
            item["answers"] = answers
        if item or old is None:
            objects[str(object_id)] = item
    data = np.concatenate([np.zeros(0, np.uint32), *runs]).astype("<u4").tobytes()
    return {
        "whole": whole,
        "objects": objects,
        "runs": base64.b64encode(zlib.compress(data, 1)).decode(),
    }


def apply(
    tracks: Tracks, command: Command, kept: Mapping[str, Any], size_hw: tuple[int, int]
) -> None:
    """Make the changes of `difference`; tracks that change are copied."""
    if kept["whole"]:
        tracks.clear()
    runs = _runs(kept)
    at = 0
    nothing = encode_runs(np.zeros(size_hw, bool))
    for key, item in kept["objects"].items():
        object_id = int(key)
        if item is None:
            tracks.pop(object_id, None)
            continue
        track = tracks[object_id] = (
            tracks[object_id].copy() if object_id in tracks else ObjectState()
        )
        track.name = item.get("name", track.name)
        track.about = item.get("about", track.about)
        track.anchors = frozenset(item.get("anchors", track.anchors))
        track.accepted = frozenset(item.get("accepted", track.accepted))
        for frame in item.get("gone", ()):
            track.answers.pop(frame, None)
        for frame in item.get("unprompted", ()):
            track.prompts.pop(frame, None)
        for text, (count, more) in item.get("prompts", {}).items():
            frame = int(text)
            said = [prompt for prompt in _prompts_of(command, object_id) if prompt.frame == frame]
            if more is not None:
                said = [prompt_from_json(one, object_id) for one in more]
            track.prompts[frame] = (*track.prompts.get(frame, ())[:count], *said)
        for text, (length, score, presence, note) in item.get("answers", {}).items():
            mine = nothing
            if length:
                mine = runs[at : at + length]
            at += length
            track.answers[int(text)] = masked(mine, size_hw, score, presence, note)


def masked(
    runs: Runs, size_hw: tuple[int, int], score: float, presence: float | None, note: str
) -> FrameResult:
    """An answer of which only the mask is known."""
    return FrameResult(
        runs, int(runs[1::2].sum()), None, Crop.whole(size_hw), score, presence, None, note
    )


def bare(tracks: Tracks, size_hw: tuple[int, int], shown: Shown) -> None:
    """Leave of tracks what `apply` would have made: masks as shown, nothing that only their network
    understands.
    """
    nothing = encode_runs(np.zeros(size_hw, bool))
    frames = {frame: shown(tracks, frame) for track in tracks.values() for frame in track.answers}
    for object_id, track in tracks.items():
        answers = {
            frame: masked(
                frames[frame].get(object_id, nothing),
                size_hw,
                item.score,
                item.object_score,
                item.note,
            )
            for frame, item in track.answers.items()
        }
        tracks[object_id] = ObjectState(
            track.name,
            dict(track.prompts),
            answers,
            track.anchors,
            accepted=track.accepted,
            about=track.about,
        )


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two differences have the same masks."""
    return bool(np.array_equal(_runs(one), _runs(other)))


def changed_frames(before: Mapping[int, ObjectState], after: Mapping[int, ObjectState]) -> set[int]:
    """Frames on which masks may look different; a track that a command left alone is the same
    object.
    """
    frames: set[int] = set()
    nothing = ObjectState()
    for object_id in {*before, *after}:
        old = before.get(object_id, nothing)
        new = after.get(object_id, nothing)
        if old is new:
            continue
        if new.locked != old.locked:
            frames |= {*new.answers, *old.answers}
        frames |= new.accepted ^ old.accepted
        frames |= {
            at
            for at in {*old.answers, *new.answers}
            if old.answers.get(at) is not new.answers.get(at)
        }
    return frames


def _about(old: ObjectState, new: ObjectState, said: Sequence[Prompt]) -> dict[str, Any]:
    """All of a track that changed but its answers."""
    item: dict[str, Any] = {}
    if new.name != old.name:
        item["name"] = new.name
    if new.about != old.about:
        item["about"] = dict(new.about)
    if new.anchors != old.anchors:
        item["anchors"] = sorted(new.anchors)
    if new.accepted != old.accepted:
        item["accepted"] = sorted(new.accepted)
    if gone := {*old.answers} - {*new.answers}:
        item["gone"] = sorted(gone)
    if unprompted := {*old.prompts} - {*new.prompts}:
        item["unprompted"] = sorted(unprompted)
    prompts = {
        str(frame): _more(old.prompts.get(frame, ()), mine, frame, said)
        for frame, mine in new.prompts.items()
        if mine is not old.prompts.get(frame)
    }
    if prompts:
        item["prompts"] = prompts
    return item


def _more(
    old: Sequence[Prompt], new: Sequence[Prompt], frame: int, said: Sequence[Prompt]
) -> list[Any]:
    """How many of the prompts on a frame were there before, and the rest; None for those of the
    command.
    """
    count = 0
    while count < min(len(old), len(new)) and old[count] is new[count]:
        count += 1
    rest = [prompt_to_json(prompt) for prompt in new[count:]]
    mine = [prompt_to_json(prompt) for prompt in said if prompt.frame == frame]
    return [count, None if rest == mine else rest]


def _prompts_of(command: Command, object_id: int) -> list[Prompt]:
    items: Iterable[Any] = [
        item for item in command.get("prompts", ()) if item["object"] == object_id
    ]
    return list(command_prompts({"prompts": items}))


def _runs(kept: Mapping[str, Any]) -> Runs:
    packed = zlib.decompressobj()
    data = packed.decompress(base64.b64decode(kept["runs"]), LIMIT)
    if packed.unconsumed_tail:
        raise PromptError(
            f"a command of the log holds more than {LIMIT // 2**20} MiB of masks; the log is damaged"
        )
    return np.frombuffer(data, "<u4").astype(np.uint32)


def _equal(one: Runs | None, other: Runs | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))

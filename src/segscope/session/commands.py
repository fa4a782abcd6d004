"""Commands: what a line of the log does to the tracks, when a person asks for it and when a log is
replayed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from segscope.errors import UsageError
from segscope.masks import FrameMask, encode_runs
from segscope.predict.object_state import ObjectState
from segscope.predict.overlaps import Overlap, settled
from segscope.predict.prompted_frame import answer_prompts
from segscope.predict.propagation import PropagationRange, propagate
from segscope.predict.state import InferenceState
from segscope.predict.stop_rules import StopRules
from segscope.prompts import Prompt
from segscope.session.command_log import Command, command_prompts

Tracks = dict[int, ObjectState]


def run(
    scene: InferenceState, tracks: Tracks, command: Command, overlap: Overlap
) -> FrameMask | None:
    """Do what a command says; the answer to its last prompt, if it had any.

    Raises:
        UsageError: a command that this version does not know.
    """
    found = None
    _own(tracks, command)
    match command["do"]:
        case "add":
            found = answer(scene, tracks, command_prompts(command))
        case "replace":
            take_back(tracks.setdefault(command["object"], ObjectState()), command["frame"])
            if command["prompts"]:
                found = answer(scene, tracks, command_prompts(command))
        case "choose":
            found = _choose(scene, tracks, command["frame"], command["object"], command["index"])
        case "remove":
            tracks.pop(command["object"])
        case "rename":
            tracks.setdefault(command["object"], ObjectState()).name = command["name"]
        case "describe":
            _describe(scene, tracks, command, overlap)
        case "clear":
            _clear(tracks[command["object"]], command["frame"])
        case "confirm":
            tracks[command["object"]].anchors |= {command["frame"]}
        case "accept":
            _accept(
                scene, tracks, command["frame"], command["objects"], command["accepted"], overlap
            )
        case "propagate":
            _propagate(scene, tracks, command)
        case other:
            raise UsageError(
                f"the log holds an unknown command {other!r}; it was written by another version"
            )
    return found


def _own(tracks: Tracks, command: Command) -> None:
    """Copy what a command may change: earlier states share the rest."""
    touched = {item["object"] for item in command.get("prompts", ())} | set(
        command.get("objects", ())
    )
    for object_id in touched | {command.get("object")}:
        if object_id in tracks:
            tracks[object_id] = tracks[object_id].copy()


def answer(scene: InferenceState, tracks: Tracks, prompts: Sequence[Prompt]) -> FrameMask:
    """Answer prompts, those of one object on one frame together; gives the answer to the last
    one's.
    """
    groups: dict[tuple[int, int], list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault((prompt.frame, prompt.object_id), []).append(prompt)
    answers = {}
    for (frame, object_id), group in groups.items():
        track = tracks.setdefault(object_id, ObjectState())
        answers[frame, object_id] = answer_prompts(scene, track, object_id, frame, group)
        track.accepted -= {frame}  # what was accepted is no longer what is there
    return answers[prompts[-1].frame, prompts[-1].object_id]


def span_of(command: Command) -> PropagationRange:
    """What a `propagate` command asks for."""
    within = command["within"]
    rules = command["rules"]
    return PropagationRange(
        command["direction"],
        command["start"],
        None if within is None else (within[0], within[1]),
        None if rules is None else StopRules(*rules),
    )


def _propagate(scene: InferenceState, tracks: Tracks, command: Command) -> None:
    """As many frames as were done, stopped where `cancel` stopped them."""
    chosen = {object_id: tracks[object_id] for object_id in command["objects"]}
    asked = itertools.count()
    for _ in propagate(scene, chosen, span_of(command), lambda: next(asked) >= command["frames"]):
        pass


def take_back(track: ObjectState, frame: int) -> None:
    """Forget the prompts on a frame; where tracking had come by, its answer shows again."""
    left = track.replaced.get(frame)
    if left is None or track.tracked(frame) is None:
        _clear(track, frame)
        return
    track.prompts.pop(frame, None)
    track.answers[frame] = left
    del track.replaced[frame]
    track.anchors -= {frame}
    track.accepted -= {frame}


def _clear(track: ObjectState, frame: int) -> None:
    for kept in (track.prompts, track.answers, track.passed, track.replaced):
        kept.pop(frame, None)  # type: ignore[attr-defined]
    track.anchors -= {frame}
    track.settled -= {frame}
    track.accepted -= {frame}


@torch.inference_mode()
def _choose(
    scene: InferenceState, tracks: Tracks, frame: int, object_id: int, index: int
) -> FrameMask:
    """Another of the masks that the prompts may mean becomes the answer."""
    track = tracks[object_id]
    before = track.answers[frame]
    candidate = before.candidates[index]
    low = scene.spool.get(candidate.logits, scene.engine.device)
    memory = None
    if scene.remembers and not scene.engine.card.zoom:
        _, (memory,) = scene.remember_masks(frame, [scene.on_frame(low, candidate.view) > 0])
    made, full = scene.answer(
        low, candidate.view, score=candidate.score, object_score=before.object_score, memory=memory
    )
    track.answers[frame] = replace(made, candidates=before.candidates, chosen=index)
    track.accepted -= {frame}
    return scene.frame_mask(frame, object_id, track.answers[frame], full)


def _describe(scene: InferenceState, tracks: Tracks, command: Command, overlap: Overlap) -> None:
    object_id = command["object"]
    about = command["about"]
    track = tracks.setdefault(object_id, ObjectState())
    track.name = track.name if command["name"] is None else command["name"]
    if about.get("locked") and not track.locked:
        for frame in track.answers:
            _keep_as_shown(scene, tracks, frame, [object_id], overlap)
    merged = {**track.about, **about}
    track.about = {key: value for key, value in merged.items() if value is not None}


def _accept(
    scene: InferenceState,
    tracks: Tracks,
    frame: int,
    object_ids: Sequence[int],
    accepted: bool,
    overlap: Overlap,
) -> None:
    if accepted:
        _keep_as_shown(scene, tracks, frame, object_ids, overlap)
    for object_id in object_ids:
        track = tracks[object_id]
        if accepted:
            track.anchors |= {frame}
            track.accepted |= {frame}
        else:
            track.accepted -= {frame}
            if frame not in track.prompts:
                track.anchors -= {frame}


def _keep_as_shown(
    scene: InferenceState, tracks: Tracks, frame: int, object_ids: Iterable[int], overlap: Overlap
) -> None:
    """Pixels that were shown as another object's stay that object's: accepting a mask does not
    change the image.
    """
    shown = settled(scene, tracks, frame, overlap)
    nothing = encode_runs(np.zeros(scene.stack.size_hw, bool))
    for object_id in object_ids:
        kept = tracks[object_id].answers[frame]
        runs = shown.get(object_id, nothing)
        if not np.array_equal(runs, kept.runs) and kept.area:
            tracks[object_id].answers[frame] = replace(kept, runs=runs, area=int(runs[1::2].sum()))

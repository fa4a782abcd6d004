"""Acceptance: a mask that a person accepted, as an example is tied to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segscope.masks import Runs
from segscope.predict.state import ObjectState

MOST_FRAMES = 8  # of one object in one volume or video
REJECTED = "rejected"
"""Property of an object with its rejected masks: pairs of a frame and run lengths."""


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An accepted mask, or a rejected one.

    Attributes:
        image: opaque id of the image.
        frame: number of the frame.
        object_id: of the session's object; 0 for an example that no session can undo.
        label: of the object, or "".
        mask: hash of its run lengths.
        rejected: whether it shows what the label is not.
    """

    image: str
    frame: int
    object_id: int
    label: str
    mask: str
    rejected: bool = False


def list_acceptances(image: str, objects: Mapping[int, ObjectState]) -> list[Acceptance]:
    """The accepted and rejected masks of an image that teach: not empty ones, and not those
    accepted in bulk that nobody has reviewed yet.
    """
    acceptances = []
    for object_id, obj in sorted(objects.items()):
        for frame, runs in list_rejected(obj):
            digest = hash_mask(runs)
            acceptances.append(Acceptance(image, frame, object_id, obj.name, digest, True))
        if obj.unreviewed:
            continue
        frames = [frame for frame in sorted(obj.accepted) if obj.answers[frame].area]
        for frame in spread_frames(frames):
            digest = hash_mask(obj.answers[frame].runs)
            acceptances.append(Acceptance(image, frame, object_id, obj.name, digest))
    return acceptances


def find_runs(obj: ObjectState, acceptance: Acceptance) -> Runs:
    """Run lengths of the mask of an acceptance that `list_acceptances` gave."""
    if acceptance.rejected:
        return dict(list_rejected(obj))[acceptance.frame]
    return obj.answers[acceptance.frame].runs


def reject_object(obj: ObjectState) -> ObjectState:
    """An object without masks, which remembers those that it had as rejected."""
    frames = [frame for frame, answer in sorted(obj.answers.items()) if answer.area]
    masks = [[frame, obj.answers[frame].runs.tolist()] for frame in spread_frames(frames)]
    return ObjectState(name=obj.name, about={REJECTED: masks})


def is_rejected(obj: ObjectState) -> bool:
    """Whether all that is left of an object are its rejected masks."""
    return REJECTED in obj.about and not obj.answers


def list_rejected(obj: ObjectState) -> list[tuple[int, Runs]]:
    """Frames and run lengths of the rejected masks of an object."""
    return [(frame, np.array(runs, np.uint32)) for frame, runs in obj.about.get(REJECTED, ())]


def hash_mask(runs: Runs) -> str:
    """16 hex digits of a hash of run lengths."""
    return hashlib.sha256(runs.tobytes()).hexdigest()[:16]


def spread_frames(frames: Sequence[int]) -> list[int]:
    """At most `MOST_FRAMES` frames, evenly spread."""
    if len(frames) <= MOST_FRAMES:
        return list(frames)
    places = np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)
    return [frames[place] for place in places]

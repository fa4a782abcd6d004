"""Acceptance: a mask that a person accepted, as an example is tied to it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from segscope.masks import Runs
from segscope.predict.state import ObjectState

MOST_FRAMES = 8  # of one object in one volume or video


@dataclass(frozen=True, slots=True)
class Acceptance:
    """An accepted mask.

    Attributes:
        image: opaque id of the image.
        frame: number of the frame.
        object_id: of the session's object; 0 for an example that no session can undo.
        label: of the object, or "".
        mask: hash of its run lengths.
    """

    image: str
    frame: int
    object_id: int
    label: str
    mask: str


def list_acceptances(image: str, objects: Mapping[int, ObjectState]) -> list[Acceptance]:
    """The accepted masks of an image that teach: not empty ones, and not those accepted in bulk
    that nobody has reviewed yet.
    """
    acceptances = []
    for object_id, obj in sorted(objects.items()):
        if obj.about.get("unreviewed"):
            continue
        frames = [frame for frame in sorted(obj.accepted) if obj.answers[frame].area]
        for frame in _spread(frames):
            digest = hash_mask(obj.answers[frame].runs)
            acceptances.append(Acceptance(image, frame, object_id, obj.name, digest))
    return acceptances


def hash_mask(runs: Runs) -> str:
    """16 hex digits of a hash of run lengths."""
    return hashlib.sha256(runs.tobytes()).hexdigest()[:16]


def _spread(frames: list[int]) -> list[int]:
    """At most `MOST_FRAMES` frames, evenly spread."""
    if len(frames) <= MOST_FRAMES:
        return frames
    places = np.linspace(0, len(frames) - 1, MOST_FRAMES).round().astype(int)
    return [frames[place] for place in places]

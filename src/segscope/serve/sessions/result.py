"""What commands lead to, and what can be said of objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segscope.errors import UsageError
from segscope.geometry import Geometry
from segscope.io.dicom.snomed import codes_for
from segscope.masks import FrameMask
from segscope.models.identity import engine_identity
from segscope.overlay import colour_of
from segscope.predict import StopRules
from segscope.predict.object_state import ObjectState
from segscope.serve.sessions import mask_patch
from segscope.serve.sessions.mask_patch import Piece
from segscope.session import Interaction


@dataclass(frozen=True)
class Outcome:
    """What a command led to.

    Attributes:
        found: the answer to its last prompt, if it had any.
        changes: masks that look different now.
        stale: further frames with such masks.
        candidates: pieces with other masks that could be chosen, where they were asked for.
        touched: objects of which something changed, also those that are gone now.
        waited_s, worked_s: time for the device, and on it.
        job: one that the command started.
    """

    found: FrameMask | None = None
    changes: tuple[Piece, ...] = ()
    stale: tuple[int, ...] = ()
    candidates: tuple[Piece, ...] = ()
    touched: tuple[int, ...] = ()
    waited_s: float = 0.0
    worked_s: float = 0.0
    job: str | None = None


def together(outcomes: Sequence[Outcome]) -> Outcome:
    """Several steps as one answer; a later change of the same mask is sent after the earlier one."""
    return Outcome(
        next((outcome.found for outcome in reversed(outcomes) if outcome.found is not None), None),
        tuple(piece for outcome in outcomes for piece in outcome.changes),
        tuple(sorted({frame for outcome in outcomes for frame in outcome.stale})),
        (),
        tuple(sorted({number for outcome in outcomes for number in outcome.touched})),
        sum(outcome.waited_s for outcome in outcomes),
        sum(outcome.worked_s for outcome in outcomes),
    )


def candidates_of(found: FrameMask) -> tuple[Piece, ...]:
    masks = [
        (found.mask, found.score),
        *((logits > 0, score) for logits, score in found.candidates),
    ]
    return tuple(
        mask_patch.whole(
            found.frame, found.object_id, mask, score=round(float(score), 4), candidate=index
        )
        for index, (mask, score) in enumerate(masks)
    )


def network_row(work: Interaction) -> dict[str, Any] | None:
    """What clients are told where another network made what is shown; None where it is all the
    present one's.
    """
    if not work.foreign_steps:
        return None
    here = engine_identity(work.engine)
    others = [f"{one.get('model')} {str(one.get('weights'))[:8]}" for one in work.earlier_engines]
    steps = work.foreign_steps
    anew = work.answered_anew
    detail = (
        f"The network has changed: {steps} step{'s' * (steps != 1)} of this session {'were' if steps != 1 else 'was'} "
        f"made by {', '.join(others)}. What was drawn is as it was; new prompts are answered by {here['model']} "
        f"{here['weights'][:8]}."
    )
    if anew:
        detail += (
            f" The log of an earlier version holds no masks of {anew} step{'s' * (anew != 1)}; they were answered anew "
            "and may look different: please check them."
        )
    return {
        "detail": detail,
        "model": here["model"],
        "weights": here["weights"],
        "steps": steps,
        "anew": anew,
    }


def stop_rules(said: str | Mapping[str, Any] | None, kind: str) -> StopRules | None:
    """Rules as clients name them: "auto" (those of volumes, none for videos), None, or values by
    name.
    """
    if said == "auto":
        if kind == "volume":
            return StopRules()
        return None
    if said is None:
        return None
    if isinstance(said, str):
        raise UsageError(f'stop rules are "auto", null or values by name, got {said!r}')
    try:
        return StopRules(**said)
    except TypeError as error:
        raise UsageError(
            f"stop rules have absent_frames, absent_mm, vanish and doubt: {error}"
        ) from error


def object_row(
    object_id: int, track: ObjectState, geometry: Geometry | None, *, with_frames: bool
) -> dict[str, Any]:
    """What clients are told of an object; `geometry` where its pixels are voxels."""
    about = track.about
    pixels = sum(answer.area for answer in track.answers.values())
    row: dict[str, Any] = {
        "object_id": object_id,
        "label": track.name,
        "colour": about.get("colour") or _colour(object_id),
        "code": about.get("code") or _code(track.name),
        "locked": track.locked,
        "visible": bool(about.get("visible", True)),
        "comment": about.get("comment") or "",
        "pixels": pixels,
    }
    if geometry is not None:
        row["millilitres"] = round(pixels * float(np.prod(geometry.spacing_zyx_mm)) / 1000, 4)
    if with_frames:
        row["frames"] = [
            [
                frame,
                answer.area,
                round(answer.score, 4),
                _kind(track, frame),
                frame in track.accepted,
            ]
            for frame, answer in sorted(track.answers.items())
        ]
    return row


def _kind(track: ObjectState, frame: int) -> str:
    if frame in track.prompts:
        return "prompted"
    if frame in track.anchors:
        return "confirmed"
    return "tracked"


def _colour(object_id: int) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour_of(object_id))


def _code(label: str) -> dict[str, str] | None:
    if not label:
        return None
    _, (value, meaning) = codes_for(label)
    return {"scheme": "SCT", "value": value, "meaning": meaning}

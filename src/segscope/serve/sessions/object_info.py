"""Descriptions of objects, and of a change of the network, for clients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from segscope.geometry import Geometry
from segscope.io.dicom.snomed import codes_for
from segscope.models.engine import engine_identity
from segscope.overlay import colour_of
from segscope.predict.state import ObjectState
from segscope.serve.answers import NetworkChange, ObjectCode, ObjectInfo
from segscope.session import Interaction
from segscope.session.suggestions import is_suggestion


def describe_object(
    object_id: int, obj: ObjectState, geometry: Geometry | None, *, with_frames: bool
) -> ObjectInfo:
    """Describe an object.

    Args:
        geometry: of the image, where pixels are voxels.
        with_frames: list its masks frame by frame, too.
    """
    about = obj.about
    pixels = sum(result.area for result in obj.answers.values())
    info = ObjectInfo(
        object_id=object_id,
        label=obj.name,
        colour=about.get("colour") or "#" + bytes(colour_of(object_id)).hex(),
        code=_code(obj.name, about),
        locked=obj.locked,
        visible=bool(about.get("visible", True)),
        comment=about.get("comment") or "",
        pixels=pixels,
        suggested=is_suggestion(obj),
        unreviewed=obj.unreviewed,
    )
    if geometry is not None:
        voxel_mm3 = float(np.prod(geometry.spacing_zyx_mm))
        info.millilitres = round(pixels * voxel_mm3 / 1000, 4)
    if with_frames:
        info.frames = [
            (frame, result.area, round(result.score, 4), _origin(obj, frame), frame in obj.accepted)
            for frame, result in sorted(obj.answers.items())
        ]
    return info


def describe_network(interaction: Interaction) -> NetworkChange | None:
    """Describe which networks computed the masks; None if the present one computed all."""
    history = interaction.history
    count = history.from_other_engines
    if not count:
        return None
    present = engine_identity(interaction.engine)
    others = ", ".join(
        f"{engine.get('model')} {str(engine.get('weights'))[:8]}"
        for engine in history.earlier_engines
    )
    detail = (
        f"The model has changed: {_steps(count)} of this session used {others}; new prompts use "
        f"{present['model']} {present['weights'][:8]}. Stored masks are unchanged."
    )
    recomputed = history.recomputed
    if recomputed:
        detail += (
            f" The log contains no masks for {_steps(recomputed)}; these masks were recomputed and "
            "may differ from the originals. Please review them."
        )
    return NetworkChange(
        detail=detail,
        model=present["model"],
        weights=present["weights"],
        steps=count,
        anew=recomputed,
    )


def _steps(count: int) -> str:
    return "1 step" if count == 1 else f"{count} steps"


def _origin(obj: ObjectState, frame: int) -> str:
    if frame in obj.prompts:
        return "prompted"
    if frame in obj.anchors:
        return "confirmed"
    return "tracked"


def _code(label: str, about: Mapping[str, Any]) -> ObjectCode | None:
    """The code that was set, or the one that follows from the label."""
    if about.get("code"):
        return ObjectCode(**about["code"])
    if not label:
        return None
    _, (value, meaning) = codes_for(label)
    return ObjectCode(scheme="SCT", value=value, meaning=meaning)

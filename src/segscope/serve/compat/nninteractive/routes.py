"""nnInteractive's HTTP protocol, so that its viewers' plug-ins find a server here.

Arrays come and go packed as that protocol packs them; its own client package does the packing.
"""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response
from numpy.typing import NDArray

from segscope._optional import require
from segscope.errors import UsageError
from segscope.serve.compat.nninteractive.service import IDLE_S, LIVENESS_S, Desk, Visit
from segscope.serve.errors import TooLarge

router = APIRouter(include_in_schema=False)

# --- arrays --------------------------------------------------------------------------------------


def _codec() -> Any:
    return require(
        "nnInteractive.inference.remote.serialization",
        "nninteractive",
        "speak nnInteractive's protocol",
    )


def unpacked(data: bytes, most_bytes: int) -> NDArray[Any]:
    """An array as the protocol packs it, after a look at the size that it declares.

    Raises:
        UsageError, TooLarge: damaged, or too large.
    """
    try:
        magic, _, _, axes, name_length = struct.unpack_from("<4sBBBB", data, 0)
        dtype = np.dtype(data[8 : 8 + name_length].decode("ascii"))
        shape = struct.unpack_from(f"<{axes}q", data, 8 + name_length)
        size = math.prod(shape) * dtype.itemsize
        if (
            magic != b"NNIA"
            or dtype.kind not in "buif"
            or any(length < 0 for length in shape)
            or axes > 4
        ):
            raise ValueError("not a packed array of numbers")
    except (struct.error, TypeError, ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"the body is no packed array: {error}") from None
    if size > most_bytes:
        raise TooLarge(f"the array holds {size} bytes; at most {most_bytes} are taken")
    try:
        return np.asarray(_codec().unpack_array(data))
    except (ValueError, RuntimeError, struct.error) as error:
        raise UsageError(f"the packed array is damaged: {error}") from None


def _packed(array: NDArray[np.uint8]) -> bytes:
    return bytes(_codec().pack_array(array))


# --- routes --------------------------------------------------------------------------------------


def desk(request: Request) -> Desk:
    """The clients of the server."""
    found: Desk = request.app.state.nninteractive
    return found


async def body(request: Request) -> bytes:
    """The raw body."""
    return await request.body()


async def said(request: Request) -> dict[str, Any]:
    """The body as JSON."""
    try:
        found = json.loads(await request.body() or b"{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no JSON: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise UsageError("the body is a JSON object")
    return found


def meta(x_meta: Annotated[str | None, Header()] = None) -> dict[str, Any]:
    """The header that comes with an array."""
    try:
        found = json.loads(x_meta or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the header X-Meta is no JSON: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise UsageError("the header X-Meta is a JSON object")
    return found


At = Annotated[Desk, Depends(desk)]
Token = Annotated[str | None, Header(alias="X-Lease-Token")]
Said = Annotated[dict[str, Any], Depends(said)]
Data = Annotated[bytes, Depends(body)]
Meta = Annotated[dict[str, Any], Depends(meta)]


@router.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/capabilities")
def capabilities(at: At) -> dict[str, Any]:
    """What this server can be asked: all but windows that grow by themselves."""
    _codec()
    model = next(row for row in at.workspace.engines.list_models() if row.default)
    return {
        "supported_interactions": {
            "points": True, "bbox2d": True, "bbox3d": True, "bbox": True, "scribble": True, "lasso": True,
        },
        "channel_mapping": {"initial_seg": 0, "bbox": [1, 2], "lasso": [1, 2], "point": [3, 4], "scribble": [5, 6]},
        "num_interaction_channels": 7,
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": True,
        "supports_undo": True,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 1.0,
        "inference_session_version": "segscope",
        "license": model.licence or "!!MISSING!!",
        "do_autozoom": False,
    }  # fmt: skip


@router.post("/claim")
def claim(at: At) -> dict[str, Any]:
    visit = at.claim()
    return {
        "lease_token": visit.token,
        "idle_timeout_seconds": IDLE_S,
        "liveness_timeout_seconds": LIVENESS_S,
    }


@router.post("/release")
def release(at: At, token: Token = None) -> dict[str, Any]:
    at.release(token)
    return {}


@router.post("/heartbeat")
def heartbeat(at: At, token: Token = None) -> dict[str, float]:
    return {"remaining_seconds": _left(at.visit(token, acts=False))}


@router.get("/lease_status")
def lease_status(at: At, token: Token = None) -> dict[str, float]:
    return {"remaining_seconds": _left(at.visit(token, acts=False)), "idle_timeout_seconds": IDLE_S}


@router.post("/set_image")
def set_image(at: At, data: Data, about: Meta, token: Token = None) -> dict[str, Any]:
    visit = at.visit(token)
    properties = about.get("image_properties")
    spacing = None
    if isinstance(properties, Mapping):
        spacing = properties.get("spacing")
    array = unpacked(data, at.workspace.settings.ram_bytes)
    with visit.lock:
        at.set_image(visit, array, spacing if isinstance(spacing, list) else None)
    return {"original_image_shape": list(array.shape)}


@router.post("/set_target_buffer")
def set_target_buffer(at: At, asked: Said, token: Token = None) -> dict[str, Any]:
    visit = at.visit(token)
    with visit.lock:
        shape = None
        if visit.shown is not None:
            shape = list(visit.shown.shape)
        if asked.get("shape") != shape:
            raise UsageError(
                f"the target has the shape of the image {shape}, got {str(asked.get('shape'))[:60]}"
            )
        assert visit.shown is not None
        visit.shown[:] = False
    return {}


@router.post("/set_do_autozoom")
def set_do_autozoom(at: At, token: Token = None) -> dict[str, Any]:
    """The engine chooses its window itself."""
    at.visit(token)
    return {}


@router.post("/reset_interactions")
def reset_interactions(at: At, token: Token = None) -> dict[str, Any]:
    visit = at.visit(token)
    with visit.lock:
        at.reset(visit)
    return {}


@router.post("/add_point_interaction")
def add_point(at: At, asked: Said, token: Token = None) -> Response:
    visit = at.visit(token)
    return _answered(at, visit, lambda: at.add(
        visit,
        [at.point(visit, asked.get("coordinates"), positive=bool(asked.get("include_interaction", True)))],
        run=bool(asked.get("run_prediction", True)),
    ))  # fmt: skip


@router.post("/add_bbox_interaction")
def add_bbox(at: At, asked: Said, token: Token = None) -> Response:
    visit = at.visit(token)
    return _answered(at, visit, lambda: at.add(
        visit,
        [at.box(visit, asked.get("bbox_coords"), positive=bool(asked.get("include_interaction", True)))],
        run=bool(asked.get("run_prediction", True)),
    ))  # fmt: skip


@router.post("/add_initial_seg_interaction")
def add_initial(at: At, data: Data, about: Meta, token: Token = None) -> Response:
    """Taken as it is; the client has drawn it already, so only what a prediction changes comes
    back.
    """
    visit = at.visit(token)
    labels = unpacked(data, at.workspace.settings.ram_bytes)

    def work() -> bool:
        with at.document(visit):
            prompts = at.initial(visit, labels)
        visit.shown = labels > 0
        return at.add(visit, prompts, run=True, track=bool(about.get("run_prediction", False)))

    return _answered(at, visit, work)


@router.post("/add_scribble_interaction")
def add_scribble(at: At, data: Data, about: Meta, token: Token = None) -> Response:
    """A stroke as a mask."""
    return _drawn(at, at.visit(token), data, about, lasso=False)


@router.post("/add_lasso_interaction")
def add_lasso(at: At, data: Data, about: Meta, token: Token = None) -> Response:
    """A region as a mask, filled or its outline."""
    return _drawn(at, at.visit(token), data, about, lasso=True)


def _drawn(
    at: Desk, visit: Visit, data: bytes, about: Mapping[str, Any], *, lasso: bool
) -> Response:
    mask = unpacked(data, at.workspace.settings.ram_bytes) > 0
    positive = bool(about.get("include_interaction", True))
    run = bool(about.get("run_prediction", True))

    def work() -> bool:
        drawn = at.placed(visit, mask, about.get("interaction_bbox"))
        return at.add(visit, at.drawn(visit, drawn, positive=positive, lasso=lasso), run=run)

    return _answered(at, visit, work)


@router.post("/predict")
def predict(at: At, token: Token = None) -> Response:
    visit = at.visit(token)
    return _answered(at, visit, lambda: at.add(visit, [], run=True))


@router.post("/undo")
def undo(at: At, token: Token = None) -> Response:
    visit = at.visit(token)
    return _answered(at, visit, lambda: at.undo(visit))


def _answered(at: Desk, visit: Visit, work: Callable[[], bool]) -> Response:
    """Whether something was predicted, and the changed box of the mask."""
    with visit.lock, at.document(visit):
        ran = work()
        bbox, changed = at.changed(visit) if ran else (None, np.zeros(0, bool))
    about: dict[str, Any] = {
        "ran_prediction": ran,
        "bbox": bbox,
        "dtype": "uint8",
        "shape": list(changed.shape),
    }
    if bbox is None:
        content = b""
    else:
        content = _packed(changed.astype(np.uint8))
    return Response(
        content, media_type="application/octet-stream", headers={"X-Meta": json.dumps(about)}
    )


def _left(visit: Visit) -> float:
    return max(0.0, IDLE_S - (time.monotonic() - visit.acted))

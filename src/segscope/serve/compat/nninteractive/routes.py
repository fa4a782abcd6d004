"""nnInteractive's HTTP protocol, for the viewers that have a client of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Header, Request, Response

from segscope.errors import UsageError
from segscope.prompts import Prompt
from segscope.serve.compat.nninteractive.client_prompts import (
    Bounds,
    box_prompt,
    initial_prompts,
    place_drawing,
    point_prompt,
)
from segscope.serve.compat.nninteractive.packed_arrays import (
    pack_array,
    require_codec,
    unpack_drawing,
)
from segscope.serve.compat.nninteractive.service import (
    IDLE_TIMEOUT_S,
    LIVENESS_S,
    NnInteractiveService,
    VolumeClient,
)
from segscope.serve.errors import TooLarge
from segscope.serve.json_object import JsonObject, abbreviate, parse_object

router = APIRouter(include_in_schema=False)


def get_service(request: Request) -> NnInteractiveService:
    """The service of the running server."""
    service: NnInteractiveService = request.app.state.nninteractive
    return service


async def read_body(request: Request) -> bytes:
    """The raw body of a request that is no upload of an image.

    Raises:
        TooLarge: it is longer than such bodies may be.
    """
    limit = get_service(request).workspace.settings.limits.body_bytes
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body of this request may have at most {limit} bytes")
    return bytes(body)


async def save_body(request: Request) -> AsyncIterator[Path]:
    """The raw body as a file, which exists until the response is sent."""
    service = get_service(request)
    with service.workspace.images.uploads.scratch() as folder:
        path = folder / "packet"
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
        yield path


async def read_json(request: Request) -> JsonObject:
    """The body as JSON."""
    return parse_object(await request.body(), "the body")


def read_meta(x_meta: Annotated[str | None, Header()] = None) -> JsonObject:
    """The header that accompanies an array."""
    return parse_object(x_meta, "the header X-Meta")


Service = Annotated[NnInteractiveService, Depends(get_service)]
Token = Annotated[str | None, Header(alias="X-Lease-Token")]
Json = Annotated[JsonObject, Depends(read_json)]
Data = Annotated[bytes, Depends(read_body)]
DataFile = Annotated[Path, Depends(save_body)]
Meta = Annotated[JsonObject, Depends(read_meta)]


# --- the server and its clients ------------------------------------------------------------------


@router.get("/healthz")
def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/capabilities")
def capabilities(service: Service) -> JsonObject:
    """What this server supports: everything but windows that grow by themselves."""
    require_codec()
    model = next(model for model in service.workspace.engines.list_models() if model.default)
    return {
        "supported_interactions": {
            "points": True,
            "bbox2d": True,
            "bbox3d": True,
            "bbox": True,
            "scribble": True,
            "lasso": True,
        },
        "channel_mapping": {
            "initial_seg": 0,
            "bbox": [1, 2],
            "lasso": [1, 2],
            "point": [3, 4],
            "scribble": [5, 6],
        },
        "num_interaction_channels": 7,
        "supports_initial_label": True,
        "supports_zero_shot_label_refinement": True,
        "supports_undo": True,
        "preferred_scribble_thickness": [2, 2, 2],
        "interaction_decay": 1.0,
        "inference_session_version": "segscope",
        "license": model.licence or "!!MISSING!!",
        "do_autozoom": False,
    }


@router.post("/claim")
def claim(service: Service) -> JsonObject:
    client = service.claim()
    return {
        "lease_token": client.token,
        "idle_timeout_seconds": IDLE_TIMEOUT_S,
        "liveness_timeout_seconds": LIVENESS_S,
    }


@router.post("/release")
def release(service: Service, token: Token = None) -> JsonObject:
    service.release(token)
    return {}


@router.post("/heartbeat")
def heartbeat(service: Service, token: Token = None) -> dict[str, float]:
    client = service.get_client(token, is_command=False)
    return {"remaining_seconds": client.idle_left_s()}


@router.get("/lease_status")
def lease_status(service: Service, token: Token = None) -> dict[str, float]:
    client = service.get_client(token, is_command=False)
    return {
        "remaining_seconds": client.idle_left_s(),
        "idle_timeout_seconds": IDLE_TIMEOUT_S,
    }


# --- images --------------------------------------------------------------------------------------


@router.post("/set_image")
def set_image(service: Service, packet: DataFile, meta: Meta, token: Token = None) -> JsonObject:
    client = service.get_client(token)
    properties = meta.get("image_properties")
    spacing: object = None
    if isinstance(properties, dict):
        spacing = properties.get("spacing")
    if not isinstance(spacing, list):
        spacing = None
    with client.lock:
        shape = service.set_image(client, packet, spacing)
    return {"original_image_shape": list(shape)}


@router.post("/set_target_buffer")
def set_target_buffer(service: Service, body: Json, token: Token = None) -> JsonObject:
    client = service.get_client(token)
    with client.lock:
        shape = client.shape
        if body.get("shape") != list(shape):
            requested = abbreviate(body.get("shape"), 60)
            raise UsageError(
                f"the target must have the shape of the image {list(shape)}, got {requested}"
            )
        assert client.client_mask is not None
        client.client_mask[:] = False
    return {}


@router.post("/set_do_autozoom")
def set_do_autozoom(service: Service, token: Token = None) -> JsonObject:
    """Accepted without effect: the engine chooses its window itself."""
    service.get_client(token)
    return {}


# --- interactions --------------------------------------------------------------------------------


@router.post("/reset_interactions")
def reset_interactions(service: Service, token: Token = None) -> JsonObject:
    client = service.get_client(token)
    with client.lock:
        service.start_object(client)
    return {}


@router.post("/add_point_interaction")
def add_point(service: Service, body: Json, token: Token = None) -> Response:
    client = service.get_client(token)

    def work() -> bool:
        target = client.target(positive=_is_positive(body))
        prompt = point_prompt(body.get("coordinates"), target)
        return _add(service, client, [prompt], body)

    return _respond(service, client, work)


@router.post("/add_bbox_interaction")
def add_bbox(service: Service, body: Json, token: Token = None) -> Response:
    client = service.get_client(token)

    def work() -> bool:
        target = client.target(positive=_is_positive(body))
        prompt = box_prompt(body.get("bbox_coords"), target)
        return _add(service, client, [prompt], body)

    return _respond(service, client, work)


@router.post("/add_initial_seg_interaction")
def add_initial(service: Service, data: Data, meta: Meta, token: Token = None) -> Response:
    """Adopt a segmentation; the client has it already, so only what prediction changes is sent."""
    client = service.get_client(token)

    def work() -> bool:
        labels = unpack_drawing(data, client.shape)
        prompts = initial_prompts(labels, client.shape, client.target())
        client.client_mask = labels > 0
        track = bool(meta.get("run_prediction", False))
        return service.add_interaction(client, prompts, track=track)

    return _respond(service, client, work)


@router.post("/add_scribble_interaction")
def add_scribble(service: Service, data: Data, meta: Meta, token: Token = None) -> Response:
    """A stroke, sent as a mask."""
    return _add_drawing(service, service.get_client(token), data, meta, is_lasso=False)


@router.post("/add_lasso_interaction")
def add_lasso(service: Service, data: Data, meta: Meta, token: Token = None) -> Response:
    """A region, sent as a mask that is filled or only its outline."""
    return _add_drawing(service, service.get_client(token), data, meta, is_lasso=True)


def _add_drawing(
    service: NnInteractiveService,
    client: VolumeClient,
    data: bytes,
    meta: JsonObject,
    *,
    is_lasso: bool,
) -> Response:

    def work() -> bool:
        mask = unpack_drawing(data, client.shape) > 0
        drawing = place_drawing(mask, meta.get("interaction_bbox"), client.shape)
        target = client.target(positive=_is_positive(meta))
        prompts = service.drawing_prompts(client, drawing, target, is_lasso=is_lasso)
        return _add(service, client, prompts, meta)

    return _respond(service, client, work)


@router.post("/predict")
def predict(service: Service, token: Token = None) -> Response:
    client = service.get_client(token)
    return _respond(service, client, lambda: service.add_interaction(client, []))


@router.post("/undo")
def undo(service: Service, token: Token = None) -> Response:
    client = service.get_client(token)
    return _respond(service, client, lambda: service.undo(client))


def _is_positive(options: JsonObject) -> bool:
    return bool(options.get("include_interaction", True))


def _add(
    service: NnInteractiveService,
    client: VolumeClient,
    prompts: list[Prompt],
    options: JsonObject,
) -> bool:
    """Answer prompts now, or with later ones if the client says so; whether they were answered."""
    if options.get("run_prediction", True):
        return service.add_interaction(client, prompts)
    service.defer_interaction(client, prompts)
    return False


def _respond(
    service: NnInteractiveService, client: VolumeClient, work: Callable[[], bool]
) -> Response:
    """Do some work; whether it predicted, and the part of the mask that it changed."""
    bbox: list[Bounds] | None = None
    shape = [0]
    content = b""
    with client.lock, service.open_session(client):
        has_predicted = work()
        change = None
        if has_predicted:
            change = service.take_change(client)
    if change is not None:
        bbox = change.bounds
        shape = list(change.mask.shape)
        content = pack_array(change.mask.astype(np.uint8))
    meta = {"ran_prediction": has_predicted, "bbox": bbox, "dtype": "uint8", "shape": shape}
    headers = {"X-Meta": json.dumps(meta)}
    return Response(content, media_type="application/octet-stream", headers=headers)

"""MONAI Label's description of the server, login, image sessions and inference."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from itertools import chain
from typing import Annotated

import numpy as np
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from segscope._version import __version__
from segscope.errors import UsageError
from segscope.masks import Masks
from segscope.serve import tokens
from segscope.serve.compat.monailabel import routes_datastore
from segscope.serve.compat.monailabel.asap_xml import asap_annotations
from segscope.serve.compat.monailabel.dependencies import (
    Name,
    Service,
    Text,
    image_response,
    parse_params,
    receive_files,
    save_uploads,
)
from segscope.serve.compat.monailabel.infer_params import number_pair
from segscope.serve.compat.monailabel.service import ImageSessionInfo, MonaiLabelService
from segscope.serve.errors import NotFound, Unauthorised
from segscope.serve.json_object import JsonObject, is_number, text_field
from segscope.serve.project.image_records import StoredImage

router = APIRouter(include_in_schema=False)
router.include_router(routes_datastore.router)


# --- the server ----------------------------------------------------------------------------------


@router.get("/info", response_model=None)
@router.get("/info/", response_model=None)
def info(service: Service) -> dict[str, object]:
    """Describe the server. There is no top-level `config`: 3D Slicer rejects servers with one."""
    models = service.models()
    labels = dict.fromkeys(chain.from_iterable(model["labels"] for model in models.values()))
    strategies = {
        name: {"description": description}
        for name, description in routes_datastore.STRATEGIES.items()
    }
    return {
        "name": "segscope",
        "description": "Promptable segmentation with the SAM family",
        "version": __version__,
        "labels": list(labels),
        "models": models,
        "trainers": {},
        "strategies": strategies,
        "scoring": {},
        "train_stats": {},
        "datastore": service.labels.count(),
    }


@router.get("/auth")
@router.get("/auth/")
def auth(service: Service) -> JsonObject:
    """404 means that no login is needed; otherwise the token is the password."""
    settings = service.workspace.settings
    if settings.token is None or settings.compat_open:
        raise NotFound("this server requires no token")
    return {"enabled": True, "client_id": "segscope", "realm": "segscope"}


@router.post("/auth/token")
def token(
    request: Request,
    service: Service,
    password: Annotated[str, Form(max_length=500)],
    username: Annotated[str, Form(max_length=200)] = "",  # noqa: ARG001 - clients send it
) -> dict[str, str]:
    message = "wrong password; it is the token that the server printed when it started"
    tokens.require_token(request, service.workspace.settings, password, message)
    return {"access_token": password, "token_type": "bearer"}


@router.get("/auth/token/valid")
def token_valid(request: Request, service: Service) -> JsonObject:
    header = request.headers.get("authorization") or ""
    if not tokens.is_token(service.workspace.settings, header.partition(" ")[2]):
        raise Unauthorised("wrong token; the server printed it when it started")
    return {"username": "", "roles": ["*"]}


# --- image sessions ------------------------------------------------------------------------------


@router.put("/session", response_model=None)
@router.put("/session/", response_model=None)
async def open_session(
    service: Service,
    request: Request,
    uncompress: bool = False,  # noqa: ARG001 - archives are always unpacked
    expiry: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, str | ImageSessionInfo]:
    """Take an image for some time; 3D Slicer sends its volumes this way."""
    async with receive_files(service, request, "files") as form:
        session = await run_in_threadpool(service.open_session, form.files, expiry)
    return {"session_id": session.session_id, "session_info": session.info()}


@router.get("/session/{session_id}", response_model=None)
def get_session(
    service: Service, session_id: str, update_ts: bool = False, image: bool = False
) -> ImageSessionInfo | Response:
    session = service.get_session(session_id, touch=update_ts)
    if not image:
        return session.info()
    return image_response(service, service.workspace.images.get(session.image_id))


@router.delete("/session/{session_id}", response_model=None)
def close_session(service: Service, session_id: str) -> ImageSessionInfo:
    return service.close_session(session_id).info()


# --- inference -----------------------------------------------------------------------------------


@router.post("/infer/{model}")
def infer(
    service: Service,
    model: str,
    image: Name = "",
    session_id: Name = "",
    output: Name = "none",
    params: Text = None,
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,  # noqa: ARG001 - masks are no prompts here
) -> Response:
    """A mask of the whole image from all prompts.

    There is a file even for the output "none", which 3D Slicer needs.
    """
    options = parse_params(params)
    stored = _requested_image(service, image, session_id, file)
    start = time.perf_counter()
    masks = service.infer(model, stored, options)
    summary: JsonObject = {
        "label_names": {name or "object": number for number, name in masks.names.items()},
        "latencies": {"total": time.perf_counter() - start},
    }
    if output == "json":
        return Response(json.dumps(summary), media_type="application/json")
    if output == "dicom_seg":
        if not options.get("label_info"):
            raise UsageError(
                "output dicom_seg requires params.label_info: a list of labels with their names"
            )
        _, data = service.write_masks(masks, stored, ".dcm")
        return Response(data, media_type="application/dicom")
    extension = text_field(options, "result_extension", ".nrrd")
    compress = options.get("result_compress") is not False
    name, data = service.write_masks(masks, stored, extension, compress=compress)
    if output == "image":
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type="application/octet-stream", headers=headers)
    return _multipart(summary, name, data)


def _requested_image(
    service: MonaiLabelService, image: str, session_id: str, file: UploadFile | None
) -> StoredImage:
    """The image of a request: the file it brings, that of its session, or one by name."""
    images = service.workspace.images
    if file is not None:
        with save_uploads(service, [file]) as saved:
            return images.get(images.upload(saved).image_id)
    if session_id:
        return images.get(service.get_session(session_id).image_id)
    if image:
        return service.find_image(image)
    raise UsageError("name an image or a session, or send a file")


def _multipart(params: JsonObject, name: str, data: bytes) -> Response:
    """The parts "params" and "image"; clients choose a reader by the suffix of the name."""
    boundary = uuid.uuid4().hex
    safe_name = name.replace('"', "_")
    params_part = (
        f"--{boundary}\r\n"
        'Content-Disposition: form-data; name="params"\r\n'
        "Content-Type: application/json\r\n\r\n"
        f"{json.dumps(params)}\r\n"
    )
    image_head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="image"; filename="{safe_name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    end = f"\r\n--{boundary}--\r\n"
    content = params_part.encode() + image_head.encode() + data + end.encode()
    return Response(content, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


# --- slides --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _SlideRequest:
    """Polygons to draw.

    Attributes:
        offset_xy: position of the image in the slide.
        min_pixels: smaller components are left out.
    """

    model: str
    stored: StoredImage
    params: JsonObject
    offset_xy: tuple[float, float]
    min_pixels: int


@router.post("/infer/wsi/{model}")
def infer_slide(
    service: Service,
    model: str,
    options: JsonObject,
    image: Name = "",
    output: Name = "asap",
) -> Response:
    """Polygons in a region of an image of the project."""
    stored = service.find_image(image)
    _check_slide_output(output)
    params = _merged_params(options)
    left, top = number_pair(options.get("location"), (0, 0))
    width, height = number_pair(options.get("size"), (0, 0))
    if width and height and not params.get("foreground"):
        params["roi"] = [left, top, left + width, top + height]
    request = _SlideRequest(model, stored, params, (0, 0), _min_pixels(options))
    return _draw_polygons(service, request)


@router.post("/infer/wsi_v2/{model}")
def infer_patch(
    service: Service,
    model: str,
    file: Annotated[UploadFile, File()],
    wsi: Text = None,
    output: Name = "asap",
) -> Response:
    """Polygons in a patch that the request brings; clicks are relative to the patch's corner."""
    options = parse_params(wsi)
    stored = _requested_image(service, "", "", file)
    _check_slide_output(output)
    corner = number_pair(options.get("location"), (0, 0))
    params = _merged_params(options)
    request = _SlideRequest(model, stored, params, corner, _min_pixels(options))
    return _draw_polygons(service, request)


def _check_slide_output(output: str) -> None:
    if output != "asap":
        raise UsageError("regions of slides are available as output=asap only")


def _merged_params(options: JsonObject) -> JsonObject:
    """The parameters of a slide request, which clients send at two levels."""
    params = options.get("params")
    if isinstance(params, dict):
        return {**options, **params}
    return dict(options)


def _min_pixels(options: JsonObject) -> int:
    smallest = options.get("min_poly_area")
    if is_number(smallest):
        return int(smallest)
    return 0


def _draw_polygons(service: MonaiLabelService, request: _SlideRequest) -> Response:
    model = request.model
    if model not in service.models():
        model = f"{model}_2d"
    masks = service.infer(model, request.stored, request.params)
    content = asap_annotations(
        text_field(request.params, "label", "object"),
        _first_mask(masks),
        offset_xy=request.offset_xy,
        min_pixels=request.min_pixels,
    )
    return Response(content, media_type="text/xml")


def _first_mask(masks: Masks) -> NDArray[np.bool_]:
    """The mask of the first object on the first frame."""
    if (0, 1) in masks.runs:
        return masks.mask(0, 1)
    return np.zeros(masks.shape_zyx[1:], bool)

"""MONAI Label's REST protocol, as far as 3D Slicer, OHIF and QuPath use it."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, File, Form, Query, Request, Response, UploadFile

from segscope._version import __version__
from segscope.errors import UsageError
from segscope.serve import security
from segscope.serve.compat.monailabel import routes_datastore
from segscope.serve.compat.monailabel.asap_xml import asap
from segscope.serve.compat.monailabel.dependencies import At, Name, Text, file_answer, said, saved
from segscope.serve.compat.monailabel.service import Desk
from segscope.serve.errors import NotFound, Unauthorised
from segscope.serve.project.database import Row

router = APIRouter(include_in_schema=False)
router.include_router(routes_datastore.router)


# --- what there is -------------------------------------------------------------------------------


@router.get("/info")
@router.get("/info/")
def info(at: At) -> dict[str, Any]:
    """What clients look at first. Without a top-level `config`: 3D Slicer refuses servers with one."""
    models = at.models()
    labels = list(dict.fromkeys(label for model in models.values() for label in model["labels"]))
    return {
        "name": "segscope",
        "description": "Promptable segmentation with the SAM family",
        "version": __version__,
        "labels": labels,
        "models": models,
        "trainers": {},
        "strategies": {
            name: {"description": text} for name, text in routes_datastore.STRATEGIES.items()
        },
        "scoring": {},
        "train_stats": {},
        "datastore": at.labels.counts(),
    }


@router.get("/auth")
@router.get("/auth/")
def auth(at: At) -> dict[str, Any]:
    """404 is read as "no auth"; otherwise the token is the password."""
    if at.workspace.settings.token is None or not at.workspace.settings.facade_token:
        raise NotFound("no token is wanted here")
    return {"enabled": True, "client_id": "segscope", "realm": "segscope"}


@router.post("/auth/token")
def token(
    request: Request,
    at: At,
    password: Annotated[str, Form(max_length=500)],
    username: Annotated[str, Form(max_length=200)] = "",  # noqa: ARG001 - clients send it
) -> dict[str, str]:
    who = "?"
    if request.client:
        who = request.client.host
    failures: security.Failures = request.app.state.failures
    failures.check(who)
    if not security.is_token(at.workspace.settings, password):
        failures.note(who)
        raise Unauthorised("the password is the token that was printed when the server started")
    return {"access_token": password, "token_type": "bearer"}


@router.get("/auth/token/valid")
def token_valid(request: Request, at: At) -> dict[str, Any]:
    given = (request.headers.get("authorization") or "").partition(" ")[2]
    if not security.is_token(at.workspace.settings, given):
        raise Unauthorised("this is not the token of the server")
    return {"username": "", "roles": ["*"]}


# --- images for a while --------------------------------------------------------------------------


@router.put("/session")
@router.put("/session/")
def enter(
    at: At,
    files: Annotated[list[UploadFile], File()],
    uncompress: bool = False,  # noqa: ARG001 - archives are always unpacked
    expiry: Annotated[int, Query(ge=0)] = 0,
) -> dict[str, Any]:
    """Take an image; 3D Slicer sends its volumes this way."""
    with saved(at, files) as found:
        visit = at.enter(found, expiry)
    return {"session_id": visit.session_id, "session_info": visit.info()}


@router.get("/session/{session_id}", response_model=None)
def session(
    at: At, session_id: str, update_ts: bool = False, image: bool = False
) -> dict[str, Any] | Response:
    visit = at.visit(session_id, touch=update_ts)
    if not image:
        return visit.info()
    return file_answer(Path(at.workspace.images.row(visit.image_id)["path"]))


@router.delete("/session/{session_id}")
def leave(at: At, session_id: str) -> dict[str, Any]:
    return at.leave(session_id).info()


# --- inference -----------------------------------------------------------------------------------


@router.post("/infer/{model}")
def infer(
    at: At,
    model: str,
    image: Name = "",
    session_id: Name = "",
    output: Name = "none",
    params: Text = None,
    file: Annotated[UploadFile | None, File()] = None,
    label: Annotated[UploadFile | None, File()] = None,  # noqa: ARG001 - masks are not started from
) -> Response:
    """A mask of the whole image from all prompts; always with a file, since 3D Slicer cannot do
    without one.
    """
    asked = said(params)
    row = _image(at, image, session_id, file)
    start = time.perf_counter()
    masks = at.infer(model, row, asked)
    more = {
        "label_names": {name or "object": number for number, name in masks.names.items()},
        "latencies": {"total": time.perf_counter() - start},
    }
    if output == "json":
        return Response(json.dumps(more), media_type="application/json")
    if output == "dicom_seg":
        if not asked.get("label_info"):
            raise UsageError("dicom_seg wants params.label_info: a list of labels with their names")
        _, data = at.written(masks, row, {"result_extension": ".dcm"})
        return Response(data, media_type="application/dicom")
    name, data = at.written(masks, row, asked)
    if output == "image":
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, media_type="application/octet-stream", headers=headers)
    return _parts(more, name, data)


def _image(at: Desk, image: str, session_id: str, file: UploadFile | None) -> Row:
    if file is not None:
        with saved(at, [file]) as found:
            return at.workspace.images.row(at.workspace.images.upload(found)["image_id"])
    if session_id:
        return at.workspace.images.row(at.visit(session_id).image_id)
    if image:
        return at.image(image)
    raise UsageError("name an image, a session, or send a file")


def _parts(params: Mapping[str, Any], name: str, data: bytes) -> Response:
    """params and image as multipart/form-data; the ending of the name tells the reader."""
    boundary = uuid.uuid4().hex
    dash = f"--{boundary}\r\n".encode()
    head = (
        b'Content-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
    )
    safe = name.replace('"', "_")
    second = (
        f'Content-Disposition: form-data; name="image"; filename="{safe}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    content = (
        dash
        + head
        + json.dumps(params).encode()
        + b"\r\n"
        + dash
        + second.encode()
        + data
        + f"\r\n--{boundary}--\r\n".encode()
    )
    return Response(content, headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})


@router.post("/infer/wsi/{model}")
def infer_slide(
    at: At, model: str, asked: dict[str, Any], image: Name = "", output: Name = "asap"
) -> Response:
    """Polygons in a region of a image of the project."""
    return _polygons(at, model, at.image(image), asked, output)


@router.post("/infer/wsi_v2/{model}")
def infer_patch(
    at: At,
    model: str,
    file: Annotated[UploadFile, File()],
    wsi: Text = None,
    output: Name = "asap",
) -> Response:
    """Polygons in a patch that was sent, its clicks counted from the patch's corner."""
    asked = said(wsi)
    with saved(at, [file]) as found:
        row = at.workspace.images.row(at.workspace.images.upload(found)["image_id"])
    return _polygons(at, model, row, {**asked, "_patch": True}, output)


def _polygons(at: Desk, model: str, row: Row, asked: Mapping[str, Any], output: str) -> Response:
    if output != "asap":
        raise UsageError("regions of slides are answered as asap")
    inner = asked.get("params")
    params = {**asked, **(inner if isinstance(inner, dict) else {})}
    places = [_pair(asked.get("location"), (0, 0)), _pair(asked.get("size"), (0, 0))]
    (left, top), (wide, high) = places
    patch = bool(asked.get("_patch"))
    if not patch and wide and high and not params.get("foreground"):
        params["roi"] = [left, top, left + wide, top + high]
    masks = at.infer(model if model in at.models() else f"{model}_2d", row, params)
    if (0, 1) in masks.runs:
        mask = masks.mask(0, 1)
    else:
        mask = np.zeros(masks.shape_zyx[1:], bool)
    least = asked.get("min_poly_area")
    content = asap(
        {str(params.get("label") or "object"): mask},
        offset_xy=(left, top) if patch else (0, 0),
        scale=1.0,
        least=int(least) if isinstance(least, (int, float)) else 0,
    )
    return Response(content, media_type="text/xml")


def _pair(value: Any, otherwise: tuple[float, float]) -> tuple[float, float]:
    good = (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(item, (int, float)) for item in value)
    )
    if good:
        return (float(value[0]), float(value[1]))
    return otherwise

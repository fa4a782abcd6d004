"""The HTTP interface of QuPath's extension for SAM, below the URL in the extension's settings."""

from __future__ import annotations

import shutil
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from starlette.responses import JSONResponse, PlainTextResponse

from segscope.serve.compat.qupath.schemas import AutomaticMaskRequest, PromptRequest, VideoRequest
from segscope.serve.compat.qupath.service import WEIGHTS, QuPathService
from segscope.serve.json_object import JsonObject

router = APIRouter(include_in_schema=False)
VERSION = "0.7.0"  # of the interface


def get_service(request: Request) -> QuPathService:
    """The service of the running server."""
    service: QuPathService = request.app.state.qupath
    return service


Service = Annotated[QuPathService, Depends(get_service)]


@router.get("/version/", response_class=PlainTextResponse)
def version() -> str:
    return VERSION


@router.get("/weights/")
def weights(service: Service, type: str = "") -> list[dict[str, str]]:  # noqa: A002 - the protocol
    """The models of this server, which are offered as weights of every type."""
    return [
        {"name": name, "url": f"{WEIGHTS}{name}", "type": type} for name in service.list_models()
    ]


@router.post("/weights/", response_class=PlainTextResponse)
def register_weights() -> str:
    """Nothing is downloaded at the request of a client."""
    return "Not registered: this server downloads no weights; start it with --add-model NAME=PATH."


@router.get("/weights/cancel/", response_class=PlainTextResponse)
def cancel_download() -> str:
    return "Nothing is being downloaded."


@router.get("/progress/")
def progress() -> JsonObject:
    """The progress of downloads, of which there are none."""
    return {"message": None, "percent": -1}


@router.post("/")
def segment(service: Service, body: PromptRequest) -> list[JsonObject]:
    return service.segment(body)


@router.post("/automask/")
def segment_everything(service: Service, body: AutomaticMaskRequest) -> list[JsonObject]:
    return service.segment_everything(body)


@router.post("/upload/")
def upload(
    service: Service,
    dirname: Annotated[str, Form(max_length=200)],
    file: Annotated[UploadFile, File()],
) -> dict[str, str]:
    """Store a frame of a sequence that is tracked by a later request."""
    name = file.filename or "frame.png"
    with service.workspace.images.uploads.scratch() as folder:
        path = folder / "frame"
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        service.add_frame(dirname, name, path)
    return {"filename": name}


@router.post("/video/")
def track(service: Service, body: VideoRequest) -> list[JsonObject]:
    return service.track(body)


@router.post("/sam3/")
@router.post("/sam3video/")
def segment_by_text() -> JSONResponse:
    detail = "this server segments by points, boxes and masks, not by text"
    return JSONResponse({"detail": detail, "kind": "UsageError"}, 501)

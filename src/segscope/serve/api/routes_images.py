"""Images: what there is, new ones, and their pixels."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from segscope.serve.api import schemas
from segscope.serve.api.dependencies import ServedWorkspace, array_response, resolve_reference
from segscope.serve.api.upload_form import receive_form
from segscope.serve.project.image_encoding import MEDIA_TYPES
from segscope.serve.project.image_records import Image, ReadChoice
from segscope.serve.project.images import FolderEntry, check_frame

router = APIRouter()

FOR_EVER = "private, max-age=31536000, immutable"  # an image is named by its content
Axis = Annotated[int, Query(ge=0, le=2, description="axis of (z, y, x) that frames run along")]
Window = Annotated[
    str | None, Query(max_length=100, description="preset, WIDTH,LEVEL or pLOW,HIGH")
]


class UploadFields(BaseModel):
    """The fields of an upload besides its files."""

    series: Annotated[str | None, Field(max_length=200)] = None
    volume: Annotated[int | None, Field(ge=0)] = None
    channel: Annotated[int | None, Field(ge=0)] = None


_UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "array",
                        "items": {"type": "string", "contentMediaType": "application/octet-stream"},
                        "description": "one file, the files of a series, or a zip",
                    },
                    **UploadFields.model_json_schema()["properties"],
                },
            }
        }
    },
}


@router.get("/images")
def images(workspace: ServedWorkspace) -> list[Image]:
    """Images of the project."""
    return [stored.image for stored in workspace.images.list_stored()]


@router.post("/images", status_code=201, openapi_extra={"requestBody": _UPLOAD_BODY})
async def upload(request: Request, workspace: ServedWorkspace) -> Image:
    """Take an image and make it a case; the same content gives the same `image_id` and case."""
    with workspace.images.uploads.scratch() as folder:
        form = await receive_form(request, folder, workspace.settings.limits)
        try:
            fields = UploadFields.model_validate(form.fields)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error
        choice = ReadChoice(fields.series, fields.volume, fields.channel)
        image = await run_in_threadpool(workspace.images.upload, form.files, choice)
        await run_in_threadpool(workspace.cases.add, image.image_id)
        return image


@router.post("/images/reference", status_code=201)
def refer(body: schemas.Reference, workspace: ServedWorkspace) -> Image:
    """An image below a root, where it lies, or a copy of one in a DICOMweb archive, made a case."""
    image = resolve_reference(workspace, body)
    workspace.cases.add(image.image_id)
    return image


@router.get("/roots/{root}/files")
def files(
    root: int, workspace: ServedWorkspace, path: Annotated[str, Query(max_length=4000)] = ""
) -> list[FolderEntry]:
    """What a folder below a root holds that can be opened."""
    return workspace.images.list_folder(root, path)


@router.get("/images/{image_id}")
def image(image_id: str, workspace: ServedWorkspace) -> Image:
    """One image."""
    return workspace.images.get(image_id).image


@router.get("/images/{image_id}/frames/{frame}", response_class=Response)
def frame_image(
    image_id: str,
    frame: int,
    workspace: ServedWorkspace,
    axis: Axis = 0,
    window: Window = None,
    format: Annotated[Literal["png", "jpeg", "webp"], Query()] = "png",  # noqa: A002 - in the URL
) -> Response:
    """A frame as the network sees it, through one window for the whole stack."""
    data = workspace.images.encode_frame(image_id, frame, axis, window, format)
    return Response(data, media_type=MEDIA_TYPES[format], headers={"Cache-Control": FOR_EVER})


@router.get("/images/{image_id}/raw/{frame}", response_class=Response)
def raw(
    image_id: str,
    frame: int,
    request: Request,
    workspace: ServedWorkspace,
    axis: Axis = 0,
) -> Response:
    """Stored numbers of a frame."""
    stack = workspace.images.stack(image_id, axis)
    return array_response(stack[check_frame(frame, len(stack))], request, FOR_EVER)


@router.get("/images/{image_id}/volume", response_class=Response)
def volume(
    image_id: str,
    request: Request,
    workspace: ServedWorkspace,
    step: Annotated[int, Query(ge=1, le=64)] = 1,
) -> Response:
    """Stored numbers of the whole stack, every `step`-th along each axis."""
    return array_response(workspace.images.volume(image_id, step), request, FOR_EVER, step=step)


@router.get("/images/{image_id}/thumbnail", response_class=Response)
def thumbnail(
    image_id: str, workspace: ServedWorkspace, size: Annotated[int, Query(ge=16, le=1024)] = 128
) -> Response:
    """A small image of the middle frame."""
    return Response(
        workspace.images.encode_thumbnail(image_id, size),
        media_type="image/png",
        headers={"Cache-Control": FOR_EVER},
    )

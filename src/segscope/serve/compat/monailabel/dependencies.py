"""What the routes of MONAI Label's protocol share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response, UploadFile
from starlette.background import BackgroundTask
from starlette.responses import FileResponse

from segscope.serve.api.upload_form import FormLayout, UploadForm, receive_form
from segscope.serve.compat.monailabel.nifti_copy import fits_nifti, write_nifti
from segscope.serve.compat.monailabel.service import MonaiLabelService
from segscope.serve.errors import NotFound
from segscope.serve.json_object import JsonObject, parse_object
from segscope.serve.project.image_records import StoredImage
from segscope.serve.project.safe_paths import safe_name
from segscope.serve.project.uploads import UploadedFile

_CHUNK = 2**20
DEFAULT_NAME = "image.nii.gz"  # of a file that was sent without a name


def get_service(request: Request) -> MonaiLabelService:
    """The service of the running server."""
    service: MonaiLabelService = request.app.state.monailabel
    return service


Service = Annotated[MonaiLabelService, Depends(get_service)]
Name = Annotated[str, Query(max_length=300)]
LONGEST_TEXT = 2**24
Text = Annotated[str | None, Form(max_length=LONGEST_TEXT)]


def parse_params(text: str | None) -> JsonObject:
    """The JSON object in a form field."""
    return parse_object(text, "params")


@contextmanager
def save_uploads(
    service: MonaiLabelService, files: list[UploadFile]
) -> Iterator[list[UploadedFile]]:
    """Uploaded files on disk, until the block ends."""
    with service.workspace.images.uploads.scratch() as folder:
        saved: list[UploadedFile] = []
        for number, upload in enumerate(files):
            target = folder / str(number)
            with target.open("wb") as file:
                shutil.copyfileobj(upload.file, file, _CHUNK)
            saved.append((upload.filename or DEFAULT_NAME, target))
        yield saved


@asynccontextmanager
async def receive_files(
    service: MonaiLabelService, request: Request, file_field: str
) -> AsyncIterator[UploadForm]:
    """The form of a request, whose files are on disk until the block ends.

    Raises:
        UsageError: not a form, or one that breaks off.
        TooLarge: more files or longer fields than allowed.
    """
    workspace = service.workspace
    layout = FormLayout(file_field, LONGEST_TEXT)
    with workspace.images.uploads.scratch() as folder:
        form = await receive_form(request, folder, workspace.settings.limits, layout)
        form.files = [(name or DEFAULT_NAME, path) for name, path in form.files]
        yield form


def file_response(path: Path) -> Response:
    """A file with its name."""
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)


def can_send(stored: StoredImage) -> bool:
    """Whether an image is one file, or a volume that can be sent as one."""
    return stored.path.is_file() or fits_nifti(stored.image)


def download_name(stored: StoredImage) -> str:
    """The name under which an image is sent; its ending tells clients the format."""
    if stored.path.is_file():
        return stored.image.name
    return f"{stored.image.name}.nii.gz"


def image_response(service: MonaiLabelService, stored: StoredImage) -> Response:
    """An image as one file: its own, or a NIfTI file of a volume that is a folder.

    Raises:
        NotFound: the image is a folder of other files.
    """
    if stored.path.is_file():
        return file_response(stored.path)
    if not can_send(stored):
        raise NotFound(
            "this image is a folder of files; the MONAI Label interface sends only files, and "
            "volumes as NIfTI"
        )
    stack = service.workspace.images.stack(stored.image.image_id)
    folder = tempfile.TemporaryDirectory(prefix="segscope-")
    path = Path(folder.name) / safe_name(download_name(stored))
    try:
        write_nifti(stack, path)
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        path,
        media_type="application/octet-stream",
        filename=path.name,
        background=BackgroundTask(folder.cleanup),
    )

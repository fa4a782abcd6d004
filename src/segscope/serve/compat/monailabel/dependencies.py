"""What the routes of MONAI Label's protocol share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Form, Query, Request, Response, UploadFile
from starlette.responses import FileResponse

from segscope.serve.compat.monailabel.service import MonaiLabelService
from segscope.serve.errors import NotFound
from segscope.serve.json_object import JsonObject, parse_object
from segscope.serve.project.uploads import UploadedFile

_CHUNK = 2**20


def get_service(request: Request) -> MonaiLabelService:
    """The service of the running server."""
    service: MonaiLabelService = request.app.state.monailabel
    return service


Service = Annotated[MonaiLabelService, Depends(get_service)]
Name = Annotated[str, Query(max_length=300)]
Text = Annotated[str | None, Form(max_length=2**24)]


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
            saved.append((upload.filename or "image.nii.gz", target))
        yield saved


def file_response(path: Path) -> Response:
    """A file with its name.

    Raises:
        NotFound: the path is a folder, such as that of a DICOM series.
    """
    if not path.is_file():
        raise NotFound(
            "this image is a folder of files; the MONAI Label interface sends only files"
        )
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)

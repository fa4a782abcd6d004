"""What the routes of MONAI Label's protocol share."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Form, Query, Request, Response, UploadFile
from starlette.responses import FileResponse

from segscope.errors import UsageError
from segscope.serve.compat.monailabel.service import Desk
from segscope.serve.errors import NotFound


def desk(request: Request) -> Desk:
    """The clients of the server."""
    found: Desk = request.app.state.monailabel
    return found


At = Annotated[Desk, Depends(desk)]
Name = Annotated[str, Query(max_length=300)]
Text = Annotated[str | None, Form(max_length=2**24)]


def said(text: str | None) -> dict[str, Any]:
    """A JSON object in a form field."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"params are no JSON: {type(error).__name__}") from None
    if not isinstance(found, dict):
        raise UsageError("params are a JSON object")
    return found


@contextmanager
def saved(at: Desk, files: list[UploadFile]) -> Iterator[list[tuple[str, Path]]]:
    """Uploaded files on disk, inside the block."""
    with tempfile.TemporaryDirectory(
        prefix="incoming-", dir=at.workspace.settings.project / "uploads"
    ) as folder:
        found = []
        for number, part in enumerate(files):
            target = Path(folder) / str(number)
            with target.open("wb") as out:
                shutil.copyfileobj(part.file, out, 2**20)
            found.append((part.filename or "image.nii.gz", target))
        yield found


def file_answer(path: Path) -> Response:
    """A file with its name; folders (series) as a zip are not sent."""
    if not path.is_file():
        raise NotFound("this image is a folder of files, which is not sent through this door")
    return FileResponse(path, media_type="application/octet-stream", filename=path.name)

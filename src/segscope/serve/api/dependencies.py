"""What routes share: the workspace, the lease, arrays as bodies."""

from __future__ import annotations

import gzip
import json
from typing import Annotated, Any

import numpy as np
from fastapi import Depends, Header, Request, Response
from numpy.typing import NDArray

from segscope.errors import UsageError
from segscope.serve.api.schemas import Problem, Reference
from segscope.serve.project.image_records import Image, ReadChoice
from segscope.serve.project.workspace import Workspace
from segscope.serve.security import is_loopback

MIN_PACKED_BYTES = 4096  # smaller bodies are not worth compressing

_MEANINGS = {
    400: "not a request for this server",
    401: "the token is missing or wrong",
    403: "from another origin, or outside the roots",
    404: "nothing has this name",
    409: "busy, in use, accepted or locked",
    410: "the lease has ended",
    413: "too large",
    422: "the request is malformed or cannot be done",
    429: "too many wrong tokens",
    501: "an optional package is missing",
    502: "the DICOMweb archive does not answer, or refuses",
    503: "all leases are in use",
    507: "the disk or the memory of the server is full",
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": meaning} for status, meaning in _MEANINGS.items()
}


async def get_workspace(request: Request) -> Workspace:
    """The workspace of the server; asynchronous because it does not need a thread."""
    workspace: Workspace = request.app.state.workspace
    return workspace


ServedWorkspace = Annotated[Workspace, Depends(get_workspace)]


def check_lease(
    session_id: str, workspace: ServedWorkspace, x_lease: Annotated[str | None, Header()] = None
) -> str:
    """The session of a path, if the request has its lease."""
    workspace.sessions.row(session_id)
    workspace.sessions.leases.check(session_id, x_lease)
    return session_id


Leased = Annotated[str, Depends(check_lease)]


def resolve_reference(workspace: Workspace, reference: Reference) -> Image:
    """The image that a reference names, added to the project if it is new."""
    if (reference.path is None) == (reference.dicomweb is None):
        raise UsageError("a reference names an image by `path` or by `dicomweb`, one of the two")
    if reference.dicomweb is not None:
        return workspace.archives.fetch(reference.root, reference.dicomweb)
    choice = ReadChoice(reference.series, reference.volume, reference.channel)
    return workspace.images.resolve(reference.root, reference.path or "", choice)


def array_response(
    values: NDArray[np.generic], request: Request, cache: str = "no-store", **more: int
) -> Response:
    """An array as the body of a response: little-endian numbers in C order.

    The header X-Array has their type and shape, and `more`.
    """
    values = np.ascontiguousarray(values)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    about = {"dtype": str(values.dtype.newbyteorder("=")), "shape": list(values.shape), **more}
    headers = {"X-Array": json.dumps(about), "Cache-Control": cache, "Vary": "Accept-Encoding"}
    body = values.tobytes()
    if len(body) > MIN_PACKED_BYTES and _should_compress(request):
        body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/octet-stream", headers=headers)


def _should_compress(request: Request) -> bool:
    """Whether a client accepts gzip and is on another machine.

    On this machine, compressing takes longer than sending; a proxy here sends to other machines.
    """
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return False
    proxied = {"forwarded", "x-forwarded-for", "via"} & set(request.headers)
    local = request.client is not None and is_loopback(request.client.host)
    return bool(proxied) or not local

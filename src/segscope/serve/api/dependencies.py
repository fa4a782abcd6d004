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

PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in (
        (400, "not a request to this server"),
        (401, "no token, or a wrong one"),
        (403, "from another origin, or outside the roots"),
        (404, "nothing of that name"),
        (409, "busy, in use, accepted or locked"),
        (410, "the lease has ended"),
        (413, "too large"),
        (422, "a wrong request"),
        (429, "too many wrong tokens"),
        (501, "an optional package is missing"),
        (502, "the DICOMweb archive does not answer, or refuses"),
        (503, "full"),
        (507, "the disk refuses"),
    )
}


def workspace(request: Request) -> Workspace:
    """The workspace of the server."""
    found: Workspace = request.app.state.workspace
    return found


Space = Annotated[Workspace, Depends(workspace)]


def leased(session_id: str, space: Space, x_lease: Annotated[str | None, Header()] = None) -> str:
    """The session of a path, after a look at the lease of the request."""
    space.sessions.row(session_id)
    space.sessions.leases.check(session_id, x_lease)
    return session_id


Leased = Annotated[str, Depends(leased)]


def resolve_reference(workspace: Workspace, reference: Reference) -> Image:
    """The image that a reference names, added to the project if it is new."""
    if (reference.path is None) == (reference.dicomweb is None):
        raise UsageError("a reference names an image by `path` or by `dicomweb`, one of the two")
    if reference.dicomweb is not None:
        return workspace.archives.fetch(reference.root, reference.dicomweb)
    choice = ReadChoice(reference.series, reference.volume, reference.channel)
    return workspace.images.resolve(reference.root, reference.path or "", choice)


def array(values: NDArray[Any], request: Request, cache: str = "no-store", **more: Any) -> Response:
    """An array as the body of an answer: little-endian numbers, C order, described in the header
    X-Array.
    """
    values = np.ascontiguousarray(values)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    about = {"dtype": str(values.dtype.newbyteorder("=")), "shape": list(values.shape), **more}
    headers = {"X-Array": json.dumps(about), "Cache-Control": cache, "Vary": "Accept-Encoding"}
    body = values.tobytes()
    if (
        "gzip" in request.headers.get("accept-encoding", "")
        and len(body) > 4096
        and not _is_near(request)
    ):
        body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/octet-stream", headers=headers)


def _is_near(request: Request) -> bool:
    """Whether the client is on this machine, so that packing takes longer than sending; a proxy
    speaks for others.
    """
    proxied = {"forwarded", "x-forwarded-for", "via"} & set(request.headers)
    return request.client is not None and is_loopback(request.client.host) and not proxied

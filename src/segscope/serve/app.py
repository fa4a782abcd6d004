"""The app: a workspace behind HTTP and sockets, guarded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from segscope._version import __version__
from segscope.serve.api import (
    dependencies,
    error_responses,
    routes_commands,
    routes_dicomweb,
    routes_images,
    routes_project,
    routes_sessions,
    websocket,
)
from segscope.serve.compat.monailabel import routes_infer
from segscope.serve.compat.nninteractive import routes
from segscope.serve.project.workspace import Workspace
from segscope.serve.security import Guard

STATIC = Path(__file__).with_name("static")

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>segscope</title>
<body><h1>segscope is running</h1>
<p>This installation comes without the web page for annotating. Other programs reach the server below
<code>/v1/</code>; <code>/v1/openapi.json</code> describes how.</p></body></html>
"""


def create_app(workspace: Workspace) -> Guard:
    """The ASGI app of a workspace; closing it closes the workspace.

    Example:
        >>> import uvicorn  # doctest: +SKIP
        >>> uvicorn.run(create_app(Workspace(settings)), host="127.0.0.1", port=8484)  # doctest: +SKIP
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workspace.close()

    app = FastAPI(
        title="segscope",
        version=__version__,
        summary="Promptable segmentation of biomedical images, volumes and videos.",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.workspace = workspace
    api = APIRouter(prefix="/v1", responses=dependencies.PROBLEMS)
    for part in (routes_project, routes_images, routes_sessions, routes_commands, routes_dicomweb):
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(websocket.router, prefix="/v1")
    _add_facades(app, workspace)
    _add_page(app)
    error_responses.install(app)
    guard = Guard(app, workspace.settings)
    app.state.failures = guard.failures
    return guard


def _add_facades(app: FastAPI, workspace: Workspace) -> None:
    if "monailabel" in workspace.settings.facades:
        app.state.monailabel = routes_infer.Desk(workspace)
        app.include_router(routes_infer.router, prefix="/monailabel")
    if "nninteractive" in workspace.settings.facades:
        app.state.nninteractive = routes.Desk(workspace)
        app.include_router(routes.router, prefix="/nninteractive")


def _add_page(app: FastAPI) -> None:
    """The web page, where it was built in; every path that is no file is the page itself."""

    @app.get("/{path:path}", include_in_schema=False, response_model=None)
    def page(path: str) -> Response:
        root = STATIC.resolve()
        file = (root / path).resolve()
        if path.startswith("v1/"):
            return _nothing()
        if file.is_file() and file.is_relative_to(root):
            lasting = path.startswith("assets/")  # their names hold a hash of their content
            cache = "no-cache"
            if lasting:
                cache = "public, max-age=31536000, immutable"
            return FileResponse(file, headers={"Cache-Control": cache})
        if path.startswith("assets/") or "." in path.rpartition("/")[2]:
            return _nothing()
        index = root / "index.html"
        if index.is_file():
            return FileResponse(index, headers={"Cache-Control": "no-cache"})
        return HTMLResponse(PAGE)


def _nothing() -> Response:
    return JSONResponse({"detail": "nothing is served at this path", "kind": "NotFound"}, 404)

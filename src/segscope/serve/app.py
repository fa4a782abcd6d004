"""The ASGI app: the API, compatibility interfaces and web page of a workspace, behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from anyio import to_thread
from fastapi import APIRouter, FastAPI
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response

from segscope._version import __version__
from segscope.serve.api import (
    dependencies,
    error_responses,
    routes_commands,
    routes_dicomweb,
    routes_examples,
    routes_images,
    routes_project,
    routes_sessions,
    websocket,
)
from segscope.serve.compat.cvat import routes as cvat_routes
from segscope.serve.compat.monailabel import routes_infer as monailabel_routes
from segscope.serve.compat.monailabel.service import MonaiLabelService
from segscope.serve.compat.nninteractive import routes as nninteractive_routes
from segscope.serve.compat.nninteractive.service import NnInteractiveService
from segscope.serve.compat.pictures import Pictures
from segscope.serve.compat.qupath import routes as qupath_routes
from segscope.serve.compat.qupath.service import QuPathService
from segscope.serve.project.workspace import Workspace
from segscope.serve.security import Guard

STATIC = Path(__file__).with_name("static")

FALLBACK_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>segscope</title>
<body><h1>segscope is running</h1>
<p>This installation does not include the annotation page. Other programs reach the server below
<code>/v1/</code>, which <code>/v1/openapi.json</code> describes.</p></body></html>
"""


def create_app(workspace: Workspace) -> Guard:
    """The ASGI app of a workspace; closing it closes the workspace.

    Example:
        >>> import uvicorn  # doctest: +SKIP
        >>> app = create_app(Workspace(settings))  # doctest: +SKIP
        >>> uvicorn.run(app, host="127.0.0.1", port=8484)  # doctest: +SKIP
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # requests that wait for archives take no thread from the others
        threads = to_thread.current_default_thread_limiter()
        threads.total_tokens += workspace.archives.most_waiting
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
    parts = (
        routes_project,
        routes_images,
        routes_sessions,
        routes_commands,
        routes_examples,
        routes_dicomweb,
    )
    for part in parts:
        api.include_router(part.router)
    app.include_router(api)
    app.include_router(websocket.router, prefix="/v1")
    _add_compat(app, workspace)
    _add_page(app)
    error_responses.install(app)
    guard = Guard(app, workspace.settings)
    app.state.failures = guard.failures
    app.state.logins = guard.logins
    return guard


def _add_compat(app: FastAPI, workspace: Workspace) -> None:
    """The interfaces of other servers that the settings name."""
    if "qupath" in workspace.settings.compat:
        app.state.qupath = QuPathService(workspace)
        app.include_router(qupath_routes.router, prefix="/qupath")
    if "cvat" in workspace.settings.compat:
        app.state.cvat = Pictures(workspace)
        app.include_router(cvat_routes.router, prefix="/cvat")
    if "monailabel" in workspace.settings.compat:
        app.state.monailabel = MonaiLabelService(workspace)
        app.include_router(monailabel_routes.router, prefix="/monailabel")
    if "nninteractive" in workspace.settings.compat:
        app.state.nninteractive = NnInteractiveService(workspace)
        app.include_router(nninteractive_routes.router, prefix="/nninteractive")


def _add_page(app: FastAPI) -> None:
    """The web page and its files."""

    @app.get("/{path:path}", include_in_schema=False, response_model=None)
    def page(path: str) -> Response:
        root = STATIC.resolve()
        file = (root / (path or "index.html")).resolve()
        if file.is_file() and file.is_relative_to(root):
            return FileResponse(file, headers={"Cache-Control": _cache_control(path)})
        if not path:
            return HTMLResponse(FALLBACK_PAGE)
        return _not_found()


def _cache_control(path: str) -> str:
    """How long browsers may keep a file; the names of assets contain a hash of their content."""
    if path.startswith("assets/"):
        return "public, max-age=31536000, immutable"
    return "no-cache"


def _not_found() -> Response:
    return JSONResponse({"detail": "this server has nothing at this path", "kind": "NotFound"}, 404)

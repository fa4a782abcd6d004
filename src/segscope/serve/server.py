"""Run a server: open the listening socket, start uvicorn, serve until interrupted."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from segscope._optional import require
from segscope.errors import UsageError
from segscope.serve.access_log import access_log
from segscope.serve.addresses import reachable_addresses
from segscope.serve.connections import BACKLOG, Connections, raise_descriptor_limit
from segscope.serve.project.project_folder import PRIVATE_UMASK, SHARED_UMASK

if TYPE_CHECKING:
    import uvicorn

    from segscope.serve.project.workspace import Workspace
    from segscope.serve.settings import ServerSettings

ANY_PORT = 0  # the operating system picks a free one


@dataclass(frozen=True)
class ListenAddress:
    """Where a server listens.

    Attributes:
        host, port: address; port 0 takes a free one.
        certificate, key: PEM files for TLS, or None.
        preferred_port: tried first when `port` is 0.
    """

    host: str = "127.0.0.1"
    port: int = ANY_PORT
    certificate: Path | None = None
    key: Path | None = None
    preferred_port: int = ANY_PORT

    def urls(self, bound_port: int) -> tuple[str, ...]:
        """The base URLs that work once a port is bound, the most useful one first."""
        scheme = "http"
        if self.certificate is not None:
            scheme = "https"
        urls = []
        for host in reachable_addresses(self.host):
            if ":" in host:
                host = f"[{host}]"
            urls.append(f"{scheme}://{host}:{bound_port}/")
        return tuple(urls)


def run_server(
    settings: ServerSettings,
    address: ListenAddress,
    on_ready: Callable[[Sequence[str]], None],
    *,
    prepare: Callable[[Workspace], None] = lambda _: None,
) -> None:
    """Serve until a signal ends it.

    Args:
        settings: what is served.
        address: where the server listens.
        on_ready: called with the base URLs, see `ListenAddress.urls`, once connections are
            accepted.
        prepare: called with the workspace before that.

    Raises:
        MissingExtra: FastAPI or uvicorn is not installed.
        UsageError: the address cannot be listened on.
        KeyboardInterrupt: it was interrupted (SIGINT); after SIGTERM the function returns.
    """
    for package in ("uvicorn", "fastapi", "python_multipart", "websockets"):
        require(package, "serve", "run the annotation server")
    from segscope.serve.project.workspace import Workspace
    from segscope.serve.protocol import GuardedServer

    connections = Connections(settings.limits.connections_per_address, raise_descriptor_limit())
    listener = open_listener(address)
    with (
        listener,
        _umask(settings),
        Workspace(settings) as workspace,
        temporary_files(workspace.temporary_folder),
        access_log(settings.project),
    ):
        prepare(workspace)
        workspace.engines.get(None)  # load the default model before the first session needs it
        config = _uvicorn_config(workspace, address)
        server = GuardedServer(config, connections, on_shutdown=workspace.stop_waiting)
        bound_port = listener.getsockname()[1]
        on_ready(address.urls(bound_port))
        server.run(sockets=[listener])
    if server.stop_signal == signal.SIGINT:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _umask(settings: ServerSettings) -> Iterator[None]:
    """Keep other users of the machine from files that are created inside the block."""
    umask = PRIVATE_UMASK
    if settings.group_access:
        umask = SHARED_UMASK
    before = os.umask(umask)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def temporary_files(folder: Path) -> Iterator[None]:
    """Place temporary files of this process in a folder.

    The system's folder is often small, readable by all, and not emptied when a server is killed.
    """
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _uvicorn_config(workspace: Workspace, address: ListenAddress) -> uvicorn.Config:
    import uvicorn

    from segscope.serve.app import create_app

    certificate = None
    if address.certificate is not None:
        certificate = str(address.certificate)
    key = None
    if address.key is not None:
        key = str(address.key)
    return uvicorn.Config(
        create_app(workspace),
        log_config=None,
        access_log=False,  # paths may contain names; the guard logs routes instead
        server_header=False,
        http="h11",
        loop="asyncio",
        ws="websockets-sansio",
        ws_max_size=workspace.settings.limits.socket_bytes,
        ws_per_message_deflate=False,  # masks are already deflated
        timeout_graceful_shutdown=3,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


def open_listener(address: ListenAddress) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        UsageError: the address is in use or does not belong to this machine.
    """
    if address.port == ANY_PORT != address.preferred_port:
        with contextlib.suppress(UsageError):
            return open_listener(replace(address, port=address.preferred_port))
    family = socket.AF_INET
    if ":" in address.host:
        family = socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {address.host} port {address.port}: {error.strerror or error}. "
            "Choose another --port, or 0 for a free one."
        ) from error
    return listener

"""Running a server: the socket, the threads of torch, what is printed, and a lock so that a project
has one server.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from segscope._optional import require
from segscope.errors import UsageError
from segscope.serve.errors import Busy

if TYPE_CHECKING:
    from segscope.serve.project.workspace import Workspace
    from segscope.serve.settings import Settings

log = logging.getLogger("segscope.serve")

FREE = 0  # port number that lets the system choose


@dataclass(frozen=True)
class Door:
    """Where a server listens.

    Attributes:
        host, port: address; port 0 takes a free one.
        certificate, key: PEM files for TLS, or None.
        usual: where port 0 is looked for first.
    """

    host: str = "127.0.0.1"
    port: int = FREE
    certificate: Path | None = None
    key: Path | None = None
    usual: int = FREE


def lock(project: Path) -> IO[str]:
    """Keep other servers out of a project, for as long as the file stays open.

    Raises:
        Busy: another server has it.
    """
    file = (project / "lock").open("a+")
    try:
        import fcntl
    except ImportError:  # no such locks on Windows
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise Busy(
            f"another segscope server works in {project}; use the one that runs, or end it, or name another --project"
        ) from error
    return file


@dataclass(frozen=True)
class Known:
    """What an open page of a project knows its server by; kept, so that it finds the next one, too."""

    token: str
    port: int = FREE

    @classmethod
    def of(cls, project: Path) -> Known:
        """What was kept in a project, or a new token where others could have read that one."""
        path = project / "door.json"
        try:
            others = 0
            if os.name == "posix":
                others = stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)
            found = json.loads(path.read_text(encoding="utf-8"))
            token = str(found["token"])
            port = int(found["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(secrets.token_urlsafe(24))
        if len(token) >= 32 and not others:
            return cls(token, port)
        return cls(secrets.token_urlsafe(24), port)

    def keep(self, project: Path) -> None:
        """Write it into the project, for its owner's eyes only."""
        path = project / "door.json"
        part = project / f"door.json.{secrets.token_hex(4)}"
        try:
            with open(
                os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
            ) as file:
                json.dump({"token": self.token, "port": self.port}, file)
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            log.warning("the page will not find the next server by itself: %s", error.strerror)


def run(
    settings: Settings,
    door: Door,
    ready: Callable[[str], None],
    *,
    prepare: Callable[[Workspace], None] = lambda _: None,
) -> None:
    """Serve until interrupted.

    Args:
        settings, door: what, and where.
        ready: told the base URL once connections are taken.
        prepare: called with the workspace before that.

    Raises:
        MissingExtra: FastAPI or uvicorn is not installed.
        UsageError: the address cannot be listened on.
    """
    uvicorn = require("uvicorn", "serve", "run the annotation server")
    require("fastapi", "serve", "run the annotation server")
    require("python_multipart", "serve", "run the annotation server")
    require("websockets", "serve", "run the annotation server")
    from segscope.serve.app import create_app
    from segscope.serve.project.workspace import Workspace

    listening = _listen(door)
    with listening, Workspace(settings) as workspace:
        prepare(workspace)
        workspace.engines.get(None)  # the first session should not wait for it
        config = uvicorn.Config(
            create_app(workspace),
            log_config=None,
            access_log=False,  # paths may hold names; the guard logs routes
            server_header=False,
            ws="websockets-sansio",
            ws_max_size=settings.limits.socket_bytes,
            ws_per_message_deflate=False,  # masks come deflated
            timeout_graceful_shutdown=3,
            ssl_certfile=None if door.certificate is None else str(door.certificate),
            ssl_keyfile=None if door.key is None else str(door.key),
        )
        server = uvicorn.Server(config)
        scheme = "http"
        if door.certificate is not None:
            scheme = "https"
        host, port = listening.getsockname()[:2]
        shown = host
        if ":" in host:
            shown = f"[{host}]"
        log.info("serving")
        ready(f"{scheme}://{shown}:{port}/")
        server.run(sockets=[listening])


def _listen(door: Door) -> socket.socket:
    if door.port == FREE != door.usual:
        with contextlib.suppress(UsageError):
            return _listen(replace(door, port=door.usual))
    if ":" in door.host:
        family = socket.AF_INET6
    else:
        family = socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((door.host, door.port))
        made.listen(128)
    except OSError as error:
        made.close()
        raise UsageError(
            f"cannot listen on {door.host} port {door.port}: {error.strerror or error}. Choose another --port, or 0 "
            "for a free one."
        ) from error
    return made

"""The token and port of a project's page, stored so that an open page finds a restarted server."""

from __future__ import annotations

import json
import logging
import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from segscope.errors import UsageError, WriteError
from segscope.files import atomic

log = logging.getLogger("segscope.serve")

ANY_PORT = 0  # the operating system picks a free one
SHORTEST = 32  # characters; a shorter token was not generated here
_FILE = "page_token.json"


@dataclass(frozen=True)
class PageToken:
    """The credentials by which an open page recognises its server after a restart."""

    token: str
    port: int = ANY_PORT

    @classmethod
    def load(cls, project: Path) -> PageToken:
        """The stored token, or a new one if none is stored or other users could have read it."""
        path = project / _FILE
        try:
            private = _is_private(path)
            stored = json.loads(path.read_text(encoding="utf-8"))
            token = str(stored["token"])
            port = int(stored["port"])
        except (OSError, ValueError, KeyError, TypeError):
            return cls(_new_token())
        if len(token) >= SHORTEST and private:
            return cls(token, port)
        return cls(_new_token(), port)

    def save(self, project: Path) -> None:
        """Store the token in the project, readable by its owner only."""
        content = json.dumps({"token": self.token, "port": self.port})
        try:
            with atomic(project / _FILE) as part:
                # created with its final mode: nobody else can open it, not even for an instant
                descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with open(descriptor, "w", encoding="utf-8") as file:
                    file.write(content)
        except (OSError, UsageError, WriteError) as error:
            log.warning("an open page will not find the next server by itself: %s", error)


def _is_private(path: Path) -> bool:
    """Whether only the owner may read or write a file; other systems have no such modes."""
    if os.name != "posix":
        return True
    return not stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


def _new_token() -> str:
    return secrets.token_urlsafe(24)

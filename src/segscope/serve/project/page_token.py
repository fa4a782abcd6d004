"""The token and port of a project's page, stored so that an open page finds a restarted server."""

from __future__ import annotations

import html
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
_REDIRECT = "open_page.html"
PRIVATE_FILES = (_FILE, _REDIRECT)  # of a project, for its owner only
_REDIRECT_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>segscope</title>
<meta name="referrer" content="no-referrer"><meta http-equiv="refresh" content="0; url={page}">
<p><a href="{page}">Open the annotation page</a></p></html>
"""


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

    def renew(self) -> PageToken:
        """Another token for the same port: cookies and copies of the old one are worthless."""
        return PageToken(_new_token(), self.port)

    def save(self, project: Path) -> None:
        """Store the token in the project, readable by its owner only."""
        content = json.dumps({"token": self.token, "port": self.port})
        try:
            _write_private(project / _FILE, content)
        except (OSError, UsageError, WriteError) as error:
            log.warning("an open page will not find the next server by itself: %s", error)


def write_redirect(project: Path, page: str) -> Path:
    """A file that takes a browser to a page whose URL is secret, readable by its owner only.

    Raises:
        WriteError: it cannot be written.
    """
    path = (project / _REDIRECT).resolve()
    _write_private(path, _REDIRECT_HTML.format(page=html.escape(page)))
    return path


def _write_private(path: Path, content: str) -> None:
    with atomic(path) as part:
        # created with its final mode: nobody else can open it, not even for an instant
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)


def _is_private(path: Path) -> bool:
    """Whether only the owner may read or write a file; other systems have no such modes."""
    if os.name != "posix":
        return True
    return not stat.S_IMODE(path.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)


def _new_token() -> str:
    return secrets.token_urlsafe(24)

"""A server on this machine, started and ended with the plug-in."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path


class NoServer(Exception):
    """It cannot be started; the message says what to do."""


class LocalServer:
    """`segscope serve` as a process of its own, so that torch never enters napari."""

    def __init__(self, project: Path | None = None, program: list[str] | None = None) -> None:
        """Start it and wait until it listens.

        Raises:
            NoServer: segscope is not installed here, or ended at once.
        """
        argv = [*(program or _program()), "serve", "--port", "0", "--compat", "none", "--json"]
        if project is not None:
            argv += ["--project", str(project)]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - not a pipe: nobody reads it, it would fill up
        self._process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        said = ""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said += line
            if line == "}\n":
                break
        try:
            told = json.loads(said)
            self.url, self.token = str(told["url"]), told["token"]
        except (ValueError, KeyError):
            self.end()
            raise NoServer(
                f"the server did not start: {self._complaint or said.strip() or 'it said nothing'}"
            ) from None

    def end(self) -> None:
        """End it; the work is in its project."""
        if self._errors.closed:
            return
        self._process.terminate()
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.seek(0)
        self._complaint = self._errors.read().strip()[-500:]
        self._errors.close()


def _program() -> list[str]:
    if find_spec("segscope") is not None:
        return [sys.executable, "-m", "segscope"]
    found = shutil.which("segscope")
    if found is None:
        raise NoServer(
            "segscope is not installed here: pip install 'segscope[serve]', or connect to a server elsewhere"
        )
    return [found]
